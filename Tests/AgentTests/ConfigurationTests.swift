import Foundation
import HostControl
import Testing

@testable import Agent
@testable import shoal

/// `Config/shoal.yaml`, flags and variables: three ways to the same keys.
@Suite("configuration")
struct ConfigurationTests {
    /// The file in the repository.
    private static let file = URL(fileURLWithPath: #filePath).resolvingSymlinksInPath()
        .deletingLastPathComponent().deletingLastPathComponent().deletingLastPathComponent()
        .appendingPathComponent("Config/shoal.yaml").path

    /// A value of every key that is not its default.
    private static let samples: [String: String] = [
        "name": "h7", "data": "/tmp/elsewhere", "socket": "/tmp/other.sock",
        "address": "10.9.8.7:7500", "join": "10.0.0.1:7400,h2", "token": "shoal1-token",
        "token-file": "", "datacenter": "dc2", "rack": "r9", "pool": "batch", "cpu": "1500m",
        "memory": "3Gi", "reserve-cpu": "300m", "reserve-memory": "1Gi",
        "reserved-cores": "machine.slice=2,vm.slice=1",
        "sets-max": "17", "cgroup-root": "other", "bridge": "br7",
        "bandwidth": "900Mbit",
        "cluster-network": "10.128.0.0/12", "datacenter-networks": "10.0.0.0/8,192.168.0.0/16",
        "runtime": "runc", "runtimes": "runsc=/opt/runsc,kata=/opt/kata",
        "allow-devices": "/dev/fuse,/dev/net/tun", "allow-capabilities": "NET_RAW,CAP_MKNOD",
        "monitor": "/opt/conmon",
        "thin-pool": "vg0/pool", "keep-deleted": "36h", "volume-space": "200GiB",
        "backup-credentials": "/etc/shoal/backup-keys.yaml", "backup-quota": "5Gi",
    ]

    /// The same, with a token file that is there.
    private static func sample(_ key: ConfigurationKey, in folder: borrowing TemporaryFolder) throws
        -> String
    {
        guard key.name == "token-file" else {
            return try #require(samples[key.name], "\(key.name)")
        }
        let path = "\(folder.path)/token"
        try Data("  shoal1-from-file\n".utf8).write(to: URL(fileURLWithPath: path))
        return path
    }

    /// Loads with an empty file unless another is given: never the file of this machine.
    private static func load(
        flags: [String: String] = [:], yaml: String = "", variables: [String: String] = [:],
        in folder: borrowing TemporaryFolder
    ) throws -> AgentConfiguration {
        let path = "\(folder.path)/config.yaml"
        try Data(yaml.utf8).write(to: URL(fileURLWithPath: path))
        return try AgentConfiguration.load(flags: flags, file: path, environment: variables)
    }

    @Test("the file names every key once, with its default and a comment, and no other")
    func fileIsComplete() throws {
        let text = try String(contentsOfFile: ConfigurationTests.file, encoding: .utf8)
        var values: [String: String] = [:]
        for block in text.split(separator: "\n\n") {
            let lines = block.split(separator: "\n")
            var hasComment = false
            for line in lines {
                if line.hasPrefix("#") {
                    hasComment = line.count > 20
                    continue
                }
                let halves = line.split(separator: ":", maxSplits: 1)
                let key = String(halves[0])
                #expect(values[key] == nil, "\(key) is there twice")
                #expect(hasComment, "no comment above \(key)")
                let value = halves.count > 1 ? halves[1].drop { $0 == " " } : ""
                values[key] = value == "\"\"" ? "" : String(value)
            }
        }
        let defaults = Dictionary(
            uniqueKeysWithValues: ConfigurationKey.all.map { ($0.name, $0.defaultText) })
        #expect(values == defaults)
    }

    @Test("the file changes nothing: it says what is so without it")
    func fileIsDefault() throws {
        let folder = try TemporaryFolder()
        let fromFile = try AgentConfiguration.load(
            flags: [:], file: ConfigurationTests.file, environment: [:])
        #expect(try ConfigurationTests.load(in: folder) == fromFile)
    }

    @Test("every key is the same as a flag, as a variable and in the file")
    func threeWays() throws {
        let folder = try TemporaryFolder()
        let standard = try ConfigurationTests.load(in: folder)
        for key in ConfigurationKey.all {
            let value = try ConfigurationTests.sample(key, in: folder)
            let command = try AgentCommand.parse(["--\(key.name)", value])
            #expect(command.given == [key.name: value])
            let byFlag = try ConfigurationTests.load(flags: command.given, in: folder)
            #expect(byFlag != standard, "\(key.name) changes nothing")
            #expect(key.variable == "SHOAL_" + key.variable.dropFirst(6).uppercased())
            #expect(!key.variable.contains("-"))
            let byVariable = try ConfigurationTests.load(
                variables: [key.variable: value], in: folder)
            #expect(byVariable == byFlag, "\(key.variable)")
            let byFile = try ConfigurationTests.load(yaml: "\(key.name): \(value)\n", in: folder)
            #expect(byFile == byFlag, "\(key.name) in the file")
        }
        #expect(Set(ConfigurationTests.samples.keys) == Set(ConfigurationKey.all.map(\.name)))
    }

    @Test("a flag wins over its variable, that over the file, that over the default")
    func precedence() throws {
        let folder = try TemporaryFolder()
        func rack(flag: Bool, variable: Bool, file: Bool) throws -> String {
            try ConfigurationTests.load(
                flags: flag ? ["rack": "flag"] : [:], yaml: file ? "rack: file\n" : "",
                variables: variable ? ["SHOAL_RACK": "variable"] : [:], in: folder
            ).zone.rack
        }
        #expect(try rack(flag: true, variable: true, file: true) == "flag")
        #expect(try rack(flag: false, variable: true, file: true) == "variable")
        #expect(try rack(flag: false, variable: false, file: true) == "file")
        #expect(try rack(flag: false, variable: false, file: false) == "default")
    }

    @Test("reserved cores are written as a mapping as well, in any order")
    func reservedCores() throws {
        let folder = try TemporaryFolder()
        let text = try ConfigurationTests.load(
            yaml: "reserved-cores: vm.slice=1, machine.slice=2\n", in: folder)
        let mapping = try ConfigurationTests.load(
            yaml: "reserved-cores: {machine.slice: 2, vm.slice: 1}\n", in: folder)
        #expect(mapping == text)
        #expect(mapping.reservedCores.map(\.group) == ["machine.slice", "vm.slice"])
        #expect(mapping.reservedCores.map(\.processors) == [2, 1])
    }

    @Test("the token of a file is taken without the white space around it")
    func tokenFile() throws {
        let folder = try TemporaryFolder()
        let key = try #require(ConfigurationKey.all.first { $0.name == "token-file" })
        let path = try ConfigurationTests.sample(key, in: folder)
        let loaded = try ConfigurationTests.load(flags: ["token-file": path], in: folder)
        #expect(loaded.token == "shoal1-from-file")
        let joined = try AgentCommand.parse(["--join", "a:1", "--join", "b:2"])
        #expect(
            try ConfigurationTests.load(flags: joined.given, in: folder).join == ["a:1", "b:2"])
    }

    @Test(
        "what cannot be used is refused with its key, and its line in a file",
        arguments: [
            ("sets-max: 0", "sets-max: 0 is no number from 1 to 250"),
            ("sets-max: many", "sets-max: many"), ("cpu: two", "cpu or memory"),
            ("memory: -1", "cpu or memory"), ("data: relative", "data: relative must be"),
            ("rack: a b", "rack: a b must be"), ("bridge: a-bridge-of-twenty", "bridge:"),
            ("cgroup-root: ../x", "cgroup-root: ../x must be"), ("pool: \"\"", "pool:"),
            ("name: " + String(repeating: "x", count: 64), "name: must have 1 to 63"),
            ("name: ../x", "name: must have"), ("cpu: 0", "cpu: 0 is less than"),
            ("memory: 1", "memory: 1 is less than"),
            ("bandwidth: fast", "bandwidth: 'fast'"),
            ("bandwidth: 1kbit", "bandwidth: 1kbit is not"),
            ("bandwidth: 2Tbit", "bandwidth: 2Tbit is not"),
            ("datacenter-networks: 10.0.0.1/8", "datacenter-networks: 10.0.0.1/8 is no"),
            (
                "datacenter-networks: ["
                    + (0..<33).map { "10.\($0).0.0/16" }.joined(separator: ", ") + "]",
                "33 networks are given, 32 are allowed"
            ),
            ("reserved-cores: machine.slice", "reserved-cores: `machine.slice` is no group"),
            ("reserved-cores: {machine.slice: 0}", "reserved-cores: `machine.slice=0`"),
            ("reserved-cores: {a: [1]}", "reserved-cores: `a=`"),
            ("token-file: /nowhere/token", "token-file: cannot read /nowhere/token"),
            ("rack: r1\nrak: r2", ":2: unknown key `rak`"), ("- rack", "must be a list of"),
            ("rack: {a: b}", ":1: `rack` must be a single value"), ("rack: [", "config.yaml"),
            ("rack: r1\nrack: r2", "config.yaml"), ("\u{0}\u{1}", "config.yaml"),
            (String(repeating: "#", count: 70_000), "at most 64 KiB"),
        ])
    func refusals(yaml: String, words: String) throws {
        let folder = try TemporaryFolder()
        #expect {
            try ConfigurationTests.load(yaml: yaml, in: folder)
        } throws: { error in
            error is ConfigurationError && "\(error)".contains(words)
        }
    }

    @Test("the bandwidth is that of the link, a rate, or none")
    func bandwidth() throws {
        let folder = try TemporaryFolder()
        for (text, expected) in [
            ("\"\"", UplinkSetting.link), ("none", .unlimited), ("2.5Gbit", .fixed(2_500_000_000)),
        ] {
            let loaded = try ConfigurationTests.load(yaml: "bandwidth: \(text)\n", in: folder)
            #expect(loaded.bandwidth == expected)
        }
        let list = try ConfigurationTests.load(
            yaml: "datacenter-networks: [10.0.0.0/8, 192.168.0.0/16]\n", in: folder)
        #expect(list.datacenterNetworks.map(\.description) == ["10.0.0.0/8", "192.168.0.0/16"])
    }

    @Test("a file that was named must be there; the default one need not")
    func missingFile() {
        #expect {
            try AgentConfiguration.load(flags: [:], file: "/nowhere/shoal.yaml", environment: [:])
        } throws: {
            "\($0)".contains("cannot read the configuration file /nowhere/shoal.yaml")
        }
    }
}
