import Base
import ClusterModel
import Foundation
import HostControl
import HostPlan
import VolumeStore
import Yams

/// How one host's agent is set up: every key of `Config/shoal.yaml`, read and checked.
package struct AgentConfiguration: Hashable, Sendable {
    /// The host's name, for people; its identity is its key.
    package var name: String
    /// Where everything that must survive is kept.
    package var dataFolder: String
    /// The local socket.
    package var socketPath: String
    /// What peers are told to connect to; nil: the first address of this host that is not loopback.
    package var address: String?
    /// Hosts to join through, `HOST:PORT`.
    package var join: [String]
    /// The join token; nil when the cluster's secret is in the data folder already.
    package var token: String?
    /// The host's datacentre and rack.
    package var zone: Zone
    /// The pool the host offers itself to.
    package var pool: String
    /// Millicores offered to sets; nil: all the host has.
    package var millicores: Int?
    /// Bytes of memory offered to sets; nil: what the host has less a reserve.
    package var memoryBytes: Int?
    /// Millicores kept for the host and the agent; nil: a share of what the host has.
    package var reserveMillicores: Int?
    /// Bytes of memory kept for the host and the agent; nil: a share of what the host has.
    package var reserveMemoryBytes: Int?
    /// What all sets together may send, and receive, beyond the host.
    package var bandwidth: UplinkSetting
    /// Groups beside ours and how many processors each has to itself.
    package var reservedCores: [CoreSetPlan.Reservation]
    /// The most sets at once.
    package var setsMax: Int
    /// The name of the agent's cgroup in every hierarchy.
    package var cgroupRoot: String
    /// The name of the sets' bridge.
    package var bridge: String
    /// The network of which every host takes a /24.
    package var clusterNetwork: String
    /// Networks that belong to the datacentre beside that one.
    package var datacenterNetworks: [IPv4Network]
    /// The OCI runtime.
    package var runtimePath: String
    /// Further OCI runtimes by name: absolute paths.
    package var runtimes: [String: String]
    /// Device files that containers may have.
    package var allowedDevices: [String]
    /// Capabilities that containers may have on top of the usual ones, without `CAP_`.
    package var allowedCapabilities: [String]
    /// The containers' monitor.
    package var monitorPath: String
    /// The thin pool of volumes of class `lvm`; nil when the host has none.
    package var thinPool: ThinPool?
    /// How long deleted volumes are kept, in seconds.
    package var trashSeconds: Int
    /// The most bytes of the disk that volumes of class `loop` and `directory` may be promised
    /// together; nil is as many as are free.
    package var volumeSpaceBytes: Int?
    /// The file with who this host is to the servers that backups go to; nil when there is none.
    package var backupCredentials: String?
    /// The most bytes of other hosts' backups that this host keeps; 0: none.
    package var backupQuotaBytes: Int
}

/// One key of the configuration: its name in the file and as a flag, and its default.
package struct ConfigurationKey: Sendable {
    /// The name, such as `cgroup-root`: also the flag `--cgroup-root`.
    package let name: String
    /// The text that stands for "not given".
    package let defaultText: String

    /// The environment variable, such as `SHOAL_CGROUP_ROOT`.
    package var variable: String {
        "SHOAL_" + name.uppercased().replacingOccurrences(of: "-", with: "_")
    }

    /// Every key there is.
    package static let all: [ConfigurationKey] = [
        ConfigurationKey(name: "name", defaultText: ""),
        ConfigurationKey(name: "data", defaultText: "/var/lib/shoal"),
        ConfigurationKey(name: "socket", defaultText: "/run/shoal/shoal.sock"),
        ConfigurationKey(name: "address", defaultText: ""),
        ConfigurationKey(name: "join", defaultText: ""),
        ConfigurationKey(name: "token", defaultText: ""),
        ConfigurationKey(name: "token-file", defaultText: ""),
        ConfigurationKey(name: "datacenter", defaultText: "default"),
        ConfigurationKey(name: "rack", defaultText: "default"),
        ConfigurationKey(name: "pool", defaultText: "default"),
        ConfigurationKey(name: "cpu", defaultText: ""),
        ConfigurationKey(name: "memory", defaultText: ""),
        ConfigurationKey(name: "reserve-cpu", defaultText: ""),
        ConfigurationKey(name: "reserve-memory", defaultText: ""),
        ConfigurationKey(name: "bandwidth", defaultText: ""),
        ConfigurationKey(name: "reserved-cores", defaultText: ""),
        ConfigurationKey(name: "sets-max", defaultText: "200"),
        ConfigurationKey(name: "cgroup-root", defaultText: "shoal"),
        ConfigurationKey(name: "bridge", defaultText: "shoal0"),
        ConfigurationKey(name: "cluster-network", defaultText: "10.64.0.0/10"),
        ConfigurationKey(name: "datacenter-networks", defaultText: ""),
        ConfigurationKey(name: "runtime", defaultText: "crun"),
        ConfigurationKey(name: "runtimes", defaultText: ""),
        ConfigurationKey(name: "allow-devices", defaultText: ""),
        ConfigurationKey(name: "allow-capabilities", defaultText: ""),
        ConfigurationKey(name: "monitor", defaultText: "conmon"),
        ConfigurationKey(name: "thin-pool", defaultText: ""),
        ConfigurationKey(name: "keep-deleted", defaultText: "7d"),
        ConfigurationKey(name: "volume-space", defaultText: ""),
        ConfigurationKey(name: "backup-credentials", defaultText: ""),
        ConfigurationKey(name: "backup-quota", defaultText: "20Gi"),
    ]
}

/// Why a configuration cannot be used.
package struct ConfigurationError: Error, CustomStringConvertible {
    /// What is wrong, where, and what to do.
    package let description: String

    package init(_ description: String) { self.description = description }
}

extension AgentConfiguration {
    /// The default place of the configuration file.
    package static let defaultFile = "/etc/shoal/shoal.yaml"

    /// Reads the configuration: a flag wins over its variable, that over the file, that over the
    /// default.
    ///
    /// `flags` is what was given on the command line, by key; a nil `file` reads the default file
    /// if there is one. Throws what cannot be used, with the key and what is allowed.
    package static func load(
        flags: [String: String], file: String?, environment: [String: String]
    ) throws(ConfigurationError) -> AgentConfiguration {
        var texts: [String: String] = [:]
        let fromFile = try fileTexts(file)
        for key in ConfigurationKey.all {
            texts[key.name] =
                flags[key.name] ?? environment[key.variable] ?? fromFile[key.name]
                ?? key.defaultText
        }
        return try AgentConfiguration(texts: texts)
    }

    private init(texts: [String: String]) throws(ConfigurationError) {
        func text(_ key: String) -> String { texts[key] ?? "" }
        func optional(_ key: String) -> String? { text(key).isEmpty ? nil : text(key) }
        name = optional("name") ?? ProcessInfo.processInfo.hostName
        guard Naming.isLabel(name) else {
            throw ConfigurationError(
                "name: must have 1 to 63 letters, digits, hyphens, underscores or dots, not `\(name.prefix(80))`"
            )
        }
        dataFolder = try AgentConfiguration.folder(text("data"), key: "data")
        socketPath = text("socket")
        address = optional("address")
        join = text("join").split(separator: ",").map {
            $0.trimmingCharacters(in: .whitespaces)
        }
        token = optional("token")
        if token == nil, let path = optional("token-file") {
            token = try AgentConfiguration.readToken(path)
        }
        zone = Zone(datacenter: text("datacenter"), rack: text("rack"))
        pool = text("pool")
        cgroupRoot = text("cgroup-root")
        bridge = text("bridge")
        clusterNetwork = text("cluster-network")
        datacenterNetworks = try AgentConfiguration.networks(text("datacenter-networks"))
        bandwidth = try AgentConfiguration.uplink(text("bandwidth"))
        runtimePath = text("runtime")
        runtimes = try AgentConfiguration.runtimes(text("runtimes"))
        allowedDevices = try AgentConfiguration.devices(text("allow-devices"))
        allowedCapabilities = try AgentConfiguration.capabilities(text("allow-capabilities"))
        monitorPath = text("monitor")
        thinPool = try optional("thin-pool").map(AgentConfiguration.thinPool)
        trashSeconds = try AgentConfiguration.seconds(text("keep-deleted"), key: "keep-deleted")
        backupCredentials = try AgentConfiguration.keyFile(optional("backup-credentials"))
        backupQuotaBytes = try AgentConfiguration.quota(text("backup-quota"))
        do {
            millicores = try optional("cpu").map { try Quantity.millicores($0) }
            memoryBytes = try optional("memory").map { try Quantity.bytes($0) }
            reserveMillicores = try optional("reserve-cpu").map { try Quantity.millicores($0) }
            reserveMemoryBytes = try optional("reserve-memory").map { try Quantity.bytes($0) }
        } catch {
            throw ConfigurationError("cpu or memory, or what is reserved of them: \(error)")
        }
        do { volumeSpaceBytes = try optional("volume-space").map { try Quantity.bytes($0) } } catch
        {
            throw ConfigurationError("volume-space: \(error)")
        }
        if let millicores, millicores < 10 {
            throw ConfigurationError("cpu: \(text("cpu")) is less than the 10m that any set needs")
        }
        if let memoryBytes, memoryBytes < 16 << 20 {
            throw ConfigurationError(
                "memory: \(text("memory")) is less than the 16Mi that any set needs")
        }
        reservedCores = try AgentConfiguration.reservedCores(text("reserved-cores"))
        guard let most = Int(text("sets-max")), (1...250).contains(most) else {
            throw ConfigurationError(
                "sets-max: \(text("sets-max")) is no number from 1 to 250 (a host's own network has room for 250)"
            )
        }
        setsMax = most
        for key in ["datacenter", "rack", "pool", "cgroup-root", "bridge"] {
            try AgentConfiguration.check(name: text(key), key: key)
        }
        guard bridge.utf8.count <= 15 else {
            throw ConfigurationError(
                "bridge: \(bridge) is longer than the 15 characters of an interface name")
        }
    }

    private static func keyFile(_ path: String?) throws(ConfigurationError) -> String? {
        if let path, !path.hasPrefix("/") {
            throw ConfigurationError("backup-credentials: \(path) must be an absolute path")
        }
        return path
    }

    private static func quota(_ text: String) throws(ConfigurationError) -> Int {
        do { return try Quantity.bytes(text) } catch {
            throw ConfigurationError("backup-quota: \(error)")
        }
    }

    private static func networks(_ text: String) throws(ConfigurationError) -> [IPv4Network] {
        var networks: [IPv4Network] = []
        for part in text.split(separator: ",") {
            let name = part.trimmingCharacters(in: .whitespaces)
            guard let network = IPv4Network(name) else {
                throw ConfigurationError(
                    "datacenter-networks: \(name) is no IPv4 network such as 192.168.0.0/16")
            }
            networks.append(network)
        }
        let most = HostControlSettings.datacenterNetworksMax
        guard networks.count <= most else {
            throw ConfigurationError(
                "datacenter-networks: \(networks.count) networks are given, \(most) are allowed: join some into larger ones"
            )
        }
        return networks
    }

    private static func uplink(_ text: String) throws(ConfigurationError) -> UplinkSetting {
        switch text {
        case "": return .link
        case "none": return .unlimited
        default: break
        }
        let rate: Int
        do { rate = try Quantity.bitsPerSecond(text) } catch {
            throw ConfigurationError("bandwidth: \(error), or none")
        }
        guard UplinkSetting.fixedRange.contains(rate) else {
            throw ConfigurationError("bandwidth: \(text) is not between 1Mbit and 1Tbit")
        }
        return .fixed(rate)
    }

    /// Reads `machine.slice=2,other.slice=1`; what the groups are named is checked where it matters.
    private static func reservedCores(
        _ text: String
    ) throws(ConfigurationError) -> [CoreSetPlan.Reservation] {
        var reserved: [CoreSetPlan.Reservation] = []
        for part in text.split(separator: ",") {
            let pair = part.split(separator: "=", omittingEmptySubsequences: false).map {
                $0.trimmingCharacters(in: .whitespaces)
            }
            guard pair.count == 2, !pair[0].isEmpty, let processors = Int(pair[1]), processors > 0
            else {
                throw ConfigurationError(
                    "reserved-cores: `\(part.prefix(60))` is no group and number such as machine.slice=2"
                )
            }
            reserved.append(.init(group: pair[0], processors: processors))
        }
        return reserved.sorted { $0.group < $1.group }
    }

    private static func folder(
        _ path: String, key: String
    ) throws(ConfigurationError) -> String {
        guard path.hasPrefix("/"), path.utf8.count <= 60 else {
            throw ConfigurationError(
                "\(key): \(path) must be an absolute path of at most 60 characters (socket paths below it have a limit of 107)"
            )
        }
        return path
    }

    /// `GROUP/POOL` of LVM.
    private static func thinPool(_ text: String) throws(ConfigurationError) -> ThinPool {
        let parts = text.split(separator: "/", omittingEmptySubsequences: false)
        guard parts.count == 2, parts.allSatisfy({ !$0.isEmpty }) else {
            throw ConfigurationError("thin-pool: \(text) must be GROUP/POOL, such as vg0/pool")
        }
        return ThinPool(group: String(parts[0]), pool: String(parts[1]))
    }

    /// A whole number of `s`, `m`, `h` or `d`.
    private static func seconds(_ text: String, key: String) throws(ConfigurationError) -> Int {
        let units: [Character: Int] = ["s": 1, "m": 60, "h": 3_600, "d": 86_400]
        guard let unit = text.last.flatMap({ units[$0] }), let count = Int(text.dropLast()),
            (0...36_500).contains(count * unit / 86_400), count >= 0
        else {
            throw ConfigurationError(
                "\(key): \(text) must be a time such as 90s, 30m, 12h or 7d, at most 100 years")
        }
        return count * unit
    }

    private static func check(name: String, key: String) throws(ConfigurationError) {
        let allowed = name.utf8.allSatisfy { byte in
            switch byte {
            case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
                UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "-"), UInt8(ascii: "_"):
                true
            default: false
            }
        }
        guard allowed, (1...63).contains(name.utf8.count) else {
            throw ConfigurationError(
                "\(key): \(name) must be 1 to 63 letters, digits, hyphens or underscores")
        }
    }

    private static func readToken(_ path: String) throws(ConfigurationError) -> String {
        guard let text = try? String(contentsOfFile: path, encoding: .utf8) else {
            throw ConfigurationError("token-file: cannot read \(path)")
        }
        return text.trimmingCharacters(in: .whitespacesAndNewlines)
    }

    /// The file's keys and values as text; an unknown key is refused with its line.
    private static func fileTexts(
        _ file: String?
    ) throws(ConfigurationError) -> [String: String] {
        let path = file ?? defaultFile
        guard let data = FileManager.default.contents(atPath: path) else {
            if file == nil { return [:] }
            throw ConfigurationError("cannot read the configuration file \(path)")
        }
        guard data.count <= 64 << 10, let text = String(data: data, encoding: .utf8) else {
            throw ConfigurationError("\(path): must be UTF-8 text of at most 64 KiB")
        }
        let node: Node?
        do { node = try Yams.compose(yaml: text) } catch {
            throw ConfigurationError("\(path): \(error)")
        }
        guard let node else { return [:] }
        guard let mapping = node.mapping else {
            throw ConfigurationError("\(path): must be a list of `key: value` lines")
        }
        var texts: [String: String] = [:]
        for (key, value) in mapping {
            let line = key.mark?.line ?? 0
            guard let name = key.string, ConfigurationKey.all.contains(where: { $0.name == name })
            else {
                throw ConfigurationError("\(path):\(line): unknown key `\(key.string ?? "?")`")
            }
            if let sequence = value.sequence {
                texts[name] = sequence.compactMap(\.string).joined(separator: ",")
            } else if ["reserved-cores", "runtimes"].contains(name), let pairs = value.mapping {
                texts[name] = pairs.map { "\($0.string ?? "")=\($1.string ?? "")" }
                    .joined(separator: ",")
            } else if let scalar = value.scalar {
                texts[name] = scalar.string == "null" || scalar.string == "~" ? "" : scalar.string
            } else {
                throw ConfigurationError("\(path):\(line): `\(name)` must be a single value")
            }
        }
        return texts
    }
}
