import Base
import ClusterModel
import ContainerRuntime
import EventLoop
import Foundation
import Glibc
import HostPlan
import Testing

/// What is read from outside: records, process tables, monitors' words, images' user tables.
@Suite("Readings of the container runtime")
struct ReadingTests {
    @Test(
        "a process is known by number and start, whatever its name",
        arguments: [
            ("7 (sh) S 1 7 7 0 -1 4 6 9 0 1 0 0 1 1 20 0 1 0 159232 94", 159_232, true),
            ("7 (a) b) Z (c) S 1 7 7 0 -1 4 6 9 0 1 0 0 1 1 20 0 1 0 12 94", 12, true),
            ("7 (sh) Z 1 7 7 0 -1 4 6 9 0 1 0 0 1 1 20 0 1 0 12 94", 12, false),
        ])
    func stat(text: String, ticks: UInt64, isLiving: Bool) throws {
        let parsed = try #require(ProcessIdentity.parse(stat: text))
        #expect(parsed.startTicks == ticks && parsed.isLiving == isLiving)
    }

    @Test("a number that another process got is not the one recorded")
    func reuse() throws {
        let own = try #require(ProcessIdentity(living: getpid()))
        #expect(own.isLiving)
        #expect(!ProcessIdentity(pid: own.pid, startTicks: own.startTicks &+ 1).isLiving)
        #expect(ProcessIdentity.parse(stat: "7 (sh) S 1 2") == nil)
        #expect(ProcessIdentity.parse(stat: "") == nil)
        #expect(ProcessIdentity(living: 0) == nil)
        #expect(ProcessIdentity(living: -1) == nil)
    }

    private var record: ContainerRecord {
        ContainerRecord(
            id: "i-web.3-app", slot: SlotID(service: "web", ordinal: 3), container: "app",
            placementIndex: LogIndex(.max), rootPath: "/a b/c", cgroupsPath: "/s/w",
            stopSignal: "SIGQUIT", bootID: "b", stage: .started,
            process: ProcessIdentity(pid: 12, startTicks: .max),
            monitor: ProcessIdentity(pid: 13, startTicks: 4), cgroupParents: ["/x", "/y z"],
            runtime: "runc", capabilities: ["MKNOD", "NET_RAW"])
    }

    @Test("a runtime that has no command line is told by its version, others are fine")
    func runtimeVersions() {
        for text in ["crun version 1.8.1\ncommit: x\n", "runc version 1.1.5\n", "", "kata"] {
            #expect(RuntimeDetection.problem(inVersion: text) == nil)
        }
        #expect(RuntimeDetection.problem(inVersion: "kata-runtime  : 1.13.0\n   commit : x") == nil)
        #expect(
            RuntimeDetection.problem(inVersion: "kata-runtime  : 3.2.0\n   commit : x")?
                .contains("Kata Containers 3.2.0") == true)
    }

    @Test("programs that answer are found by name; what is configured and does not is told")
    func runtimesFound() async throws {
        let folder = "/tmp/shoalt-runtimes-\(getpid())"
        mkdir(folder, 0o755)
        defer { try? FileManager.default.removeItem(atPath: folder) }
        for (name, text) in [
            ("good", "echo runsc version release-20240101"), ("broken", "exit 3"),
            ("kata", "echo 'kata-runtime  : 3.2.0'"),
        ] {
            try Data("#!/bin/sh\n\(text)\n".utf8).write(
                to: URL(fileURLWithPath: "\(folder)/\(name)"))
            chmod("\(folder)/\(name)", 0o755)
        }
        let loop = try EventLoop(name: "test")
        defer { loop.stop() }
        let found = await RuntimeDetection.find(
            configured: [
                "runsc": "\(folder)/good", "broken": "\(folder)/broken",
                "kata": "\(folder)/kata", "gone": "\(folder)/gone",
            ], commands: CommandRunner(loop: loop))
        #expect(found.runtimes["runsc"] == "\(folder)/good")
        for name in ["broken", "kata", "gone"] {
            #expect(found.runtimes[name] == nil)
            #expect(found.notices.contains { $0.hasPrefix("runtimes: \(name) is not offered") })
        }
        #expect(found.notices.count == 3)
        // What is installed is found without being named.
        let crun = FileManager.default.isExecutableFile(atPath: "/usr/bin/crun")
        #expect(!crun || found.runtimes["crun"] != nil)
    }

    @Test("a record reads back as written; any part of it is none")
    func recordRoundTrip() {
        #expect(ContainerRecord(text: record.text) == record)
        let bytes = Array(record.text.utf8)
        for count in 0..<bytes.count - 1 {
            #expect(ContainerRecord(text: String(decoding: bytes[..<count], as: UTF8.self)) == nil)
        }
    }

    @Test("changed bytes of any reading never crash")
    func fuzz() {
        var random = RandomSource(seed: 4)
        let samples = [
            record.text, "{\"data\": -1, \"message\": \"a\\n\\u00e9\\\"\"}\n",
            "2026-01-01T00:00:00.000000000+00:00 stdout P a\n2026-01-01T00:00:00 stderr F b\n",
            "root:x:0:0:root:/root:/bin/sh\nweb:x:1000:100::/home/web:/bin/sh\n",
        ].map { Array($0.utf8) }
        for round in 0..<4_000 {
            var bytes = samples[round % samples.count]
            for _ in 0..<Int.random(in: 1...4, using: &random) {
                bytes[Int.random(in: 0..<bytes.count, using: &random)] =
                    UInt8.random(in: 0...255, using: &random)
            }
            bytes = Array(bytes.prefix(Int.random(in: 0...bytes.count, using: &random)))
            let text = String(decoding: bytes, as: UTF8.self)
            _ = ContainerRecord(text: text)
            _ = MonitorReport(bytes)
            _ = ProcessIdentity.parse(stat: text)
            var decoder = LogDecoder()
            #expect(decoder.decode(bytes).count + decoder.rest().count < 8)
            _ = try? ContainerUser.resolve("web:\(text.prefix(9))", passwd: text, group: text)
        }
    }

    @Test("the monitor's words are read with their escapes")
    func report() throws {
        let failed = try #require(
            MonitorReport(Array("{\"data\": -1, \"message\": \"no `x`\\n\\u00e9 \\\"\"}\n".utf8)))
        #expect(failed.data == -1 && failed.message == "no `x`\né \"")
        #expect(MonitorReport(Array("{\"data\": 14769}\n".utf8))?.data == 14_769)
        for text in ["", "{}", "{\"data\"", "{\"data\": 1", "{\"data\": 99999999999999999999}"] {
            #expect(MonitorReport(Array(text.utf8)) == nil)
        }
    }

    private let passwd = """
        root:x:0:0:root:/root:/bin/sh
        web:x:1000:100:Web:/home/web:/bin/sh
        odd:x:nonsense:1
        """
    private let group = "root:x:0:\nusers:x:100:web\nmail:x:8:root,web\n"

    @Test(
        "users resolve by the container's own tables",
        arguments: [
            ("", 0, 0, [0, 8], "/root"), ("web", 1_000, 100, [100, 8], "/home/web"),
            ("1000", 1_000, 100, [100, 8], "/home/web"), ("web:mail", 1_000, 8, [8], "/home/web"),
            ("4711", 4_711, 0, [0], "/"), ("4711:12", 4_711, 12, [12], "/"),
            ("0:users", 0, 100, [100], "/root"),
        ] as [(String, UInt32, UInt32, [UInt32], String)])
    func user(text: String, uid: UInt32, gid: UInt32, groups: [UInt32], home: String) throws {
        let found = try ContainerUser.resolve(text, passwd: passwd, group: group)
        #expect(found.user == .init(uid: uid, gid: gid, additionalGids: groups))
        #expect(found.home == home)
    }

    @Test(
        "unknown and senseless users are refused by name",
        arguments: [
            "nobody", "web:", "web:none", "-1", "+0", "4294967295", "a:b:c", "odd", "ro\not",
        ])
    func badUser(text: String) {
        #expect {
            try ContainerUser.resolve(text, passwd: passwd, group: group)
        } throws: { error in
            (error as? RuntimeError)?.kind == .badLaunch && "\(error)".contains("find the user")
        }
    }

    @Test("broken launches are refused whole, each with its rule")
    func launchProblems() {
        let launch = ContainerLaunch(
            id: "../x", slot: SlotID(service: "web", ordinal: 3), container: "app",
            placementIndex: LogIndex(1), rootPath: "/a/../b", arguments: [],
            environment: ["=x", "y"], workingDirectory: "z", networkNamespacePath: "",
            cgroupsPath: "relative", limits: RuntimeLimits(pidsMax: 0), stopSignal: "-9",
            address: "no address")
        #expect(launch.problems.count == 9)
        var mounted = launch
        mounted.volumes = ["/data", "/a\tb", "/proc/x", "/a\nb", "/a/"].map {
            .init(source: "/volumes/v", destination: $0)
        }
        let found = mounted.problems.filter { $0.hasPrefix("the mount") }
        #expect(found.count == 4)
        for volume in mounted.volumes {
            let isRefused = VolumeSpec.problem(inMount: volume.destination) != nil
            #expect(isRefused == (volume.destination != "/data"), "the spec's own rule")
        }
    }
}
