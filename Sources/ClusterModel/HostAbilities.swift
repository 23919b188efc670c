import Base
import Wire

/// What a host can do for containers beyond what every host does: its OCI runtimes, and what its
/// configuration allows.
package struct HostAbilities: Hashable, Sendable, Codable {
    /// The names of its OCI runtimes, sorted.
    package private(set) var runtimes: [String]
    /// Device files that containers may have, sorted.
    package private(set) var devices: [String]
    /// Capabilities that containers may have on top of the usual ones, without `CAP_`, sorted.
    package private(set) var capabilities: [String]

    package init(
        runtimes: [String] = [], devices: [String] = [], capabilities: [String] = []
    ) {
        self.runtimes = HostAbilities.sorted(runtimes)
        self.devices = HostAbilities.sorted(devices)
        self.capabilities = HostAbilities.sorted(capabilities)
    }

    /// True when it has nothing beyond what every host has.
    package var isEmpty: Bool { self == HostAbilities() }

    /// What is wrong with it, as the end of a sentence; nil when nothing: a host's word is bounded.
    package var problem: String? {
        let lists = [runtimes, devices, capabilities]
        guard lists.allSatisfy({ $0.count <= HostAbilities.listMax }) else {
            return "it has more than \(HostAbilities.listMax) runtimes, devices or capabilities"
        }
        guard runtimes.allSatisfy(Naming.isRuntime), devices.allSatisfy(Naming.isDevice),
            capabilities.allSatisfy({ LinuxCapability.names.contains($0) })
        else { return "a runtime, device or capability has no proper name" }
        return nil
    }

    /// The most names of each kind.
    package static let listMax = 64

    private static func sorted(_ names: [String]) -> [String] {
        var unique: [String] = []
        for name in names.sorted() where unique.last != name { unique.append(name) }
        return unique
    }
}

extension HostAbilities: WireCodable {
    private static let version: UInt8 = 1

    package func encode(into writer: inout ByteWriter) {
        writer.write(byte: HostAbilities.version)
        writer.write(list: runtimes)
        writer.write(list: devices)
        writer.write(list: capabilities)
    }

    package init(from reader: inout ByteReader) throws(WireError) {
        let version = try reader.readByte()
        guard version == HostAbilities.version else {
            throw .unknownCase(what: "abilities version", value: UInt64(version))
        }
        self.init(
            runtimes: try reader.readList(maximum: HostAbilities.listMax),
            devices: try reader.readList(maximum: HostAbilities.listMax),
            capabilities: try reader.readList(maximum: HostAbilities.listMax))
        guard problem == nil else { throw .invalid(what: "abilities of a host") }
    }
}

/// The capabilities that Linux 6.1 knows (capabilities(7)).
package enum LinuxCapability {
    /// Their names without `CAP_`, sorted.
    package static let names = [
        "AUDIT_CONTROL", "AUDIT_READ", "AUDIT_WRITE", "BLOCK_SUSPEND", "BPF",
        "CHECKPOINT_RESTORE", "CHOWN", "DAC_OVERRIDE", "DAC_READ_SEARCH", "FOWNER", "FSETID",
        "IPC_LOCK", "IPC_OWNER", "KILL", "LEASE", "LINUX_IMMUTABLE", "MAC_ADMIN", "MAC_OVERRIDE",
        "MKNOD", "NET_ADMIN", "NET_BIND_SERVICE", "NET_BROADCAST", "NET_RAW", "PERFMON", "SETFCAP",
        "SETGID", "SETPCAP", "SETUID", "SYSLOG", "SYS_ADMIN", "SYS_BOOT", "SYS_CHROOT",
        "SYS_MODULE", "SYS_NICE", "SYS_PACCT", "SYS_PTRACE", "SYS_RAWIO", "SYS_RESOURCE",
        "SYS_TIME", "SYS_TTY_CONFIG", "WAKE_ALARM",
    ]

    /// The name as it is kept: `net_raw` and `CAP_NET_RAW` are `NET_RAW`.
    package static func plain(_ text: String) -> String {
        let upper = text.uppercased()
        return upper.hasPrefix("CAP_") ? String(upper.dropFirst(4)) : upper
    }
}

extension Naming {
    /// A runtime's name: 1 to 32 of a label's characters.
    package static func isRuntime(_ text: String) -> Bool {
        text.utf8.count <= 32 && isLabel(text)
    }

    /// A device file: below `/dev`, at most 128 bytes, no way up and nothing that is no plain name.
    package static func isDevice(_ text: String) -> Bool {
        let parts = text.split(separator: "/", omittingEmptySubsequences: false)
        return text.utf8.count <= 128 && parts.count >= 3 && parts[0].isEmpty && parts[1] == "dev"
            && parts.dropFirst(2).allSatisfy { part in
                part.utf8.first.map { $0 != UInt8(ascii: ".") } == true
                    && part.utf8.allSatisfy { $0 > 0x20 && $0 < 0x7F && $0 != UInt8(ascii: ",") }
            }
    }
}

extension ContainerSpec {
    /// Adds what is wrong with devices and capabilities.
    func checkRights(at path: String, into list: inout ProblemList) {
        if devices.count > HostAbilities.listMax {
            list.add("\(path).devices", "at most \(HostAbilities.listMax) devices are allowed")
        }
        for (position, device) in devices.prefix(HostAbilities.listMax).enumerated()
        where !Naming.isDevice(device) {
            list.add(
                "\(path).devices[\(position)]",
                "'\(quoted(device))' is no device file below /dev, such as /dev/fuse")
        }
        list.check(unique: devices) { "\(path).devices[\($0)]" }
        if capabilities.count > HostAbilities.listMax {
            list.add(
                "\(path).capabilities",
                "at most \(HostAbilities.listMax) capabilities are allowed")
        }
        for (position, capability) in capabilities.prefix(HostAbilities.listMax).enumerated()
        where !LinuxCapability.names.contains(capability) {
            list.add(
                "\(path).capabilities[\(position)]",
                "'\(quoted(capability))' is no capability, such as NET_RAW (see capabilities(7))")
        }
        list.check(unique: capabilities) { "\(path).capabilities[\($0)]" }
    }
}
