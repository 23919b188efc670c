import Base
import Foundation
import Testing
import Wire

@testable import ClusterModel

/// The rules of a spec, and its binary form.
@Suite struct SpecTests {
    static let good = ServiceSpec(
        name: "web", sets: 6,
        containers: [
            ContainerSpec(
                name: "app", image: "demo/web:1", command: ["httpd", "-f"],
                environment: [
                    EnvironmentVariable(name: "Z", value: "1"),
                    EnvironmentVariable(name: "GREETING", value: "hello"),
                ].sorted { $0.name < $1.name },
                cpu: CPUSpec(requestMillicores: 250, limitMillicores: 500)),
            ContainerSpec(name: "log", image: "localhost:5000/log@sha256:" + digits),
        ],
        network: NetworkSpec(
            egressBitsPerSecond: 50_000_000,
            publish: [PublishedPort(port: 8_080, hostPort: 18_080)]),
        placement: PlacementSpec(datacenters: ["dc1"], apartFrom: ["batch"]))

    static let digits = String(repeating: "0a", count: 32)

    /// One broken rule: what to break, and where it must be reported.
    struct Broken: Sendable, CustomTestStringConvertible {
        let path: String
        let change: @Sendable (inout ServiceSpec) -> Void
        var testDescription: String { path }

        init(_ path: String, _ change: @escaping @Sendable (inout ServiceSpec) -> Void) {
            self.path = path
            self.change = change
        }
    }

    static let broken: [Broken] = [
        Broken("service") { $0.name = "" },
        Broken("service") { $0.name = "Web" },
        Broken("service") { $0.name = "1web" },
        Broken("service") { $0.name = "web-" },
        Broken("service") { $0.name = String(repeating: "a", count: 41) },
        Broken("service") { $0.name = "wéb" },
        Broken("pool") { $0.pool = "a b" },
        Broken("sets") { $0.sets = -1 },
        Broken("sets") { $0.sets = 100_001 },
        Broken("priority") { $0.priority = 101 },
        Broken("containers") { $0.containers = [] },
        Broken("containers") { spec in
            spec.containers = (0..<17).map { ContainerSpec(name: "c\($0)", image: "a") }
        },
        Broken("containers") { spec in
            spec.containers[0].command = Array(
                repeating: String(repeating: "x", count: 4_096), count: 40)
        },
        Broken("containers[1].name") { $0.containers[1].name = "app" },
        Broken("containers[0].name") { $0.containers[0].name = "APP" },
        Broken("containers[0].image") { $0.containers[0].image = "Demo" },
        Broken("containers[0].command[0]") { $0.containers[0].command = [""] },
        Broken("containers[0].command[1]") { $0.containers[0].command = ["a", "b\0"] },
        Broken("containers[0].command") {
            $0.containers[0].command = Array(repeating: "a", count: 257)
        },
        Broken("containers[0].env.A=B") {
            $0.containers[0].environment = [EnvironmentVariable(name: "A=B", value: "")]
        },
        Broken("containers[0].env.") {
            $0.containers[0].environment = [EnvironmentVariable(name: "", value: "")]
        },
        Broken("containers[0].env.A") {
            $0.containers[0].environment = [EnvironmentVariable(name: "A", value: "\0")]
        },
        Broken("containers[0].env.A") { spec in
            spec.containers[0].environment = ["A", "A"].map {
                EnvironmentVariable(name: $0, value: "")
            }
        },
        Broken("containers[0].cpu.limit") { $0.containers[0].cpu.limitMillicores = 0 },
        Broken("containers[0].cpu.request") { $0.containers[0].cpu.requestMillicores = 501 },
        Broken("containers[0].cpu.request") { $0.containers[0].cpu.requestMillicores = -1 },
        Broken("containers[0].memory.limit") {
            $0.containers[0].memory = MemorySpec(requestBytes: 1, limitBytes: (4 << 20) - 1)
        },
        Broken("containers[0].memory.limit") { $0.containers[0].memory.limitBytes = Int.max },
        Broken("containers[0].memory.request") { $0.containers[0].memory.requestBytes = -1 },
        Broken("containers[0].memory.request") { $0.containers[0].memory.requestBytes = 1 << 30 },
        Broken("containers[0].pids") { $0.containers[0].pidsMax = 0 },
        Broken("containers[0].cpu.burst") { $0.containers[0].cpu.burstMillicores = 501 },
        Broken("containers[0].cpu.burst") { $0.containers[0].cpu.burstMillicores = -1 },
        Broken("containers[0].cpu.limit") { $0.containers[0].cpu.cores = .dedicated },
        Broken("containers[0].cpu.request") {
            $0.containers[0].cpu = CPUSpec(
                requestMillicores: 1_999, limitMillicores: 2_000, cores: .dedicated)
        },
        Broken("containers[0].memory.soft") { $0.containers[0].memory.softBytes = 1 << 30 },
        Broken("containers[0].memory.soft") { $0.containers[0].memory.softBytes = 0 },
        Broken("containers[0].memory.soft") { $0.containers[0].memory.softBytes = Int.max },
        Broken("containers[0].memory.swap") { $0.containers[0].memory.swapBytes = -1 },
        Broken("containers[0].memory.swap") { $0.containers[0].memory.swapBytes = Int.max },
        Broken("containers[0].io.weight") { $0.containers[0].io.weight = 0 },
        Broken("containers[0].io.weight") { $0.containers[0].io.weight = 1_001 },
        Broken("containers[0].io.read") { $0.containers[0].io.readBytesPerSecond = 0 },
        Broken("containers[0].io.write") { $0.containers[0].io.writeBytesPerSecond = Int.max },
        Broken("containers[0].io.read-operations") {
            $0.containers[0].io.readOperationsPerSecond = 1
        },
        Broken("containers[0].io.write-operations") {
            $0.containers[0].io.writeOperationsPerSecond = -1
        },
        Broken("network.egress") { $0.network.egressBitsPerSecond = -1 },
        Broken("network.ingress") { $0.network.ingressBitsPerSecond = 999 },
        Broken("network.egress") { $0.network.egress = BandwidthSpec() },
        Broken("network.egress.rate") {
            $0.network.egress = BandwidthSpec(
                rateBitsPerSecond: 2_000, ceilingBitsPerSecond: 1_999)
        },
        Broken("network.ingress.outside") {
            $0.network.ingress = BandwidthSpec(
                ceilingBitsPerSecond: 2_000, outsideBitsPerSecond: 2_001)
        },
        Broken("network.ingress.outside") {
            $0.network.ingress = BandwidthSpec(outsideBitsPerSecond: 1)
        },
        Broken("network.ingress.ceiling") {
            $0.network.ingress = BandwidthSpec(ceilingBitsPerSecond: Int.max)
        },
        Broken("network.publish[0].port") { $0.network.publish[0].port = 0 },
        Broken("network.publish[0].host") { $0.network.publish[0].hostPort = 65_536 },
        Broken("network.publish[0].transport") { $0.network.publish[0].transport = "sctp" },
        Broken("network.publish[1].host") {
            $0.network.publish.append(PublishedPort(port: 1, hostPort: 18_080))
        },
        Broken("placement.datacenters[0]") { $0.placement.datacenters = [""] },
        Broken("placement.datacenters[1]") { $0.placement.datacenters = ["a", "a"] },
        Broken("placement.spread[1]") { $0.placement.spread = [.host, .host] },
        Broken("placement.apart-from[0]") { $0.placement.apartFrom = ["web"] },
    ]

    @Test("a broken rule is reported where it is broken, and only there", arguments: broken)
    func reportsBrokenRule(broken: Broken) {
        var spec = SpecTests.good
        broken.change(&spec)
        #expect(spec.problems().map(\.path) == [broken.path])
        #expect(spec.problems().allSatisfy { !$0.sentence.isEmpty })
    }

    @Test("a good spec has no problem, and demands the sum of its requests")
    func goodSpec() {
        #expect(SpecTests.good.problems() == [])
        #expect(
            SpecTests.good.demand
                == Resources(
                    millicores: 350, memoryBytes: 128 << 20, sets: 1,
                    egressBitsPerSecond: 50_000_000))
        var published = SpecTests.good
        published.network.publish.append(
            PublishedPort(port: 53, hostPort: 18_080, transport: "udp"))
        #expect(published.problems() == [])
    }

    @Test("the demand of a hostile spec does not trap")
    func hostileDemand() {
        var spec = SpecTests.good
        spec.containers[0].memory.requestBytes = Int.max
        spec.containers[1].memory.requestBytes = Int.max
        spec.containers[0].cpu.requestMillicores = Int.min
        spec.containers[1].cpu.requestMillicores = Int.min
        #expect(spec.demand.memoryBytes == Int.max)
        #expect(spec.demand.millicores == Int.min)
        #expect(!spec.problems().isEmpty)
    }

    @Test(
        "image references follow the distribution specification",
        arguments: [
            ("demo/web:1", true), ("busybox", true), ("x/a.b_c__d--e/f:V1.x-_", true),
            ("registry.example:5000/a/b:1", true), ("localhost/a", true),
            ("web@sha256:\(digits)", true), ("web:1@sha256:\(digits)", true),
            ("EXAMPLE.com/web", true),
            ("", false), ("Web", false), ("a//b", false), ("/a", false), ("a/", false),
            ("a:", false), ("a:-x", false), ("a@sha256:12", false), ("a@md5:\(digits)", false),
            ("a..b", false), ("-a", false), ("a b", false), ("a___b", false), (":1", false),
            ("host.x:0/a", false), ("host.x:99999/a", false), ("a:b:c", false), ("../x", false),
            (String(repeating: "a", count: 256), false),
        ])
    func imageReferences(text: String, isGood: Bool) {
        #expect((ImageReference.problem(in: text) == nil) == isGood)
    }

    @Test("a spec is read back as it was written")
    func specRoundTrip() throws {
        #expect(try ServiceSpec(decoding: SpecTests.good.encoded) == SpecTests.good)
        var odd = SpecTests.good
        odd.sets = Int.min
        odd.priority = Int.max
        #expect(try ServiceSpec(decoding: odd.encoded) == odd)
    }

    @Test("what a version without rate and ceiling wrote is read as both")
    func olderForms() throws {
        var writer = ByteWriter()
        writer.write(byte: 1)
        for text in ["web", "default"] { writer.write(text) }
        writer.write(1)
        writer.write(50)
        writer.write(UInt64(0))
        writer.write(true)
        writer.write(7_000)
        writer.write(false)
        writer.write(UInt64(0))
        for _ in 0..<3 { writer.write(UInt64(0)) }
        let read = try ServiceSpec(decoding: writer.bytes)
        let network = NetworkSpec(egressBitsPerSecond: 7_000)
        #expect(
            read
                == ServiceSpec(
                    name: "web", containers: [], network: network,
                    placement: PlacementSpec(spread: [])))
        #expect(try ServiceSpec(decoding: read.encoded) == read)
        let json = Data(#"{"egressBitsPerSecond":7000,"publish":[]}"#.utf8)
        #expect(try JSONDecoder().decode(NetworkSpec.self, from: json) == network)
        let split = NetworkSpec(
            egress: BandwidthSpec(rateBitsPerSecond: 1, outsideBitsPerSecond: 2),
            ingress: BandwidthSpec(ceilingBitsPerSecond: 3))
        #expect(
            try JSONDecoder().decode(NetworkSpec.self, from: JSONEncoder().encode(split)) == split)
        var spec = SpecTests.good
        spec.network = split
        #expect(try ServiceSpec(decoding: spec.encoded) == spec)
    }

    @Test("one number for a direction is rate and ceiling, and keeps what may leave")
    func singleNumbers() {
        var network = NetworkSpec(
            egress: BandwidthSpec(ceilingBitsPerSecond: 50_000, outsideBitsPerSecond: 20_000))
        #expect(network.egressBitsPerSecond == 50_000)
        network.egressBitsPerSecond = 10_000
        #expect(
            network.egress
                == BandwidthSpec(
                    rateBitsPerSecond: 10_000, ceilingBitsPerSecond: 10_000,
                    outsideBitsPerSecond: 10_000))
        network.egressBitsPerSecond = nil
        #expect(network.egress == nil)
        network.ingressBitsPerSecond = 7_000
        #expect(network.ingress == BandwidthSpec(bitsPerSecond: 7_000))
    }

    /// Every limit set to something of its own.
    static var limited: ServiceSpec {
        var spec = good
        spec.containers[0].cpu = CPUSpec(
            requestMillicores: 2_000, limitMillicores: 2_000, burstMillicores: 300,
            cores: .dedicated)
        spec.containers[0].memory = MemorySpec(
            requestBytes: 1 << 26, limitBytes: 1 << 27, softBytes: 3 << 25, swapBytes: 1 << 25)
        spec.containers[0].io = IOSpec(
            weight: 250, readBytesPerSecond: 1 << 20, writeBytesPerSecond: 1 << 21,
            readOperationsPerSecond: 100, writeOperationsPerSecond: 200)
        return spec
    }

    @Test("limits are read back as they were written, in both forms")
    func limitsRoundTrip() throws {
        #expect(SpecTests.limited.problems() == [])
        #expect(try ServiceSpec(decoding: SpecTests.limited.encoded) == SpecTests.limited)
        let json = try JSONEncoder().encode(SpecTests.limited)
        #expect(try JSONDecoder().decode(ServiceSpec.self, from: json) == SpecTests.limited)
    }

    @Test("where backups go is one of four forms, and never holds a password")
    func backupDestinations() {
        func problem(_ to: String) -> String? {
            var spec = SpecTests.good
            spec.volumes = [
                VolumeSpec(
                    name: "data", sizeBytes: 64 << 20, mount: "/data",
                    backup: BackupSpec(everySeconds: 3_600, to: to))
            ]
            return spec.problems().first.map(\.description)
        }
        for good in [
            "peers", "peers:1", "peers:5", "/mnt/backup", "s3:https://s3.example.org/bucket/a",
            "s3:s3.example.org/bucket", "rest:https://backup.example.org:8000/",
        ] {
            #expect(problem(good) == nil, "\(good)")
        }
        for bad in [
            "", "peer", "peers:", "peers:0", "peers:6", "peers:+2", "peers:999999999", "/", "/a//b",
            "/a/../b", "/a/", "s3:", "s3:bucket", "s3:https://host", "rest:host/", "rest:http://",
            "rest:https://user:secret@host/", "sftp:host:/a", "rest:https://host/a b",
            "/" + String(repeating: "a", count: 512),
        ] {
            #expect(problem(bad)?.hasPrefix("volumes[0].backup.to: ") == true, "\(bad)")
        }
    }

    @Test("a backup's times and counts are bounded; its binary form is read back")
    func backupRules() throws {
        var spec = SpecTests.good
        spec.volumes = [
            VolumeSpec(
                name: "data", sizeBytes: 64 << 20, mount: "/data",
                backup: BackupSpec(
                    everySeconds: 21_600, keep: BackupKeep(last: 4, daily: 7, weekly: 4),
                    to: "peers", drillSeconds: 604_800, restoreOnLossSeconds: 0))
        ]
        #expect(spec.problems().isEmpty)
        #expect(try ServiceSpec(decoding: spec.encoded) == spec)
        #expect(spec.withoutLimits == SpecTests.withoutBackup(spec).withoutLimits)
        func paths(_ change: (inout BackupSpec) -> Void) -> [String] {
            var broken = spec
            if var backup = broken.volumes[0].backup {
                change(&backup)
                broken.volumes[0].backup = backup
            }
            return broken.problems().map(\.path)
        }
        #expect(paths { $0.everySeconds = 9 } == ["volumes[0].backup.every"])
        #expect(paths { $0.keep = BackupKeep(last: 0) } == ["volumes[0].backup.keep"])
        #expect(paths { $0.keep = BackupKeep(last: 60, daily: 60) } == ["volumes[0].backup.keep"])
        #expect(paths { $0.keep.daily = -1 } == ["volumes[0].backup.keep.daily"])
        #expect(paths { $0.drillSeconds = 1 } == ["volumes[0].backup.drill"])
        #expect(
            paths { $0.restoreOnLossSeconds = -1 } == ["volumes[0].backup.restore-on-loss"])
    }

    private static func withoutBackup(_ spec: ServiceSpec) -> ServiceSpec {
        var spec = spec
        spec.volumes[0].backup = nil
        return spec
    }

    @Test("what version 1 wrote is read, and what it lacks has its default")
    func versionOne() throws {
        // Service "a": one container "b" of image "c", as the first version wrote it.
        var writer = ByteWriter()
        writer.write(byte: 1)
        writer.write("a")
        writer.write("default")
        for number in [3, 50] { writer.write(number) }
        writer.write(UInt64(1))
        writer.write("b")
        writer.write("c")
        for _ in 0..<2 { writer.write(UInt64(0)) }
        for number in [250, 500, 1 << 26, 1 << 27, 64] { writer.write(number) }
        for _ in 0..<2 { writer.write(false) }
        for _ in 0..<4 { writer.write(UInt64(0)) }
        let old = ServiceSpec(
            name: "a", sets: 3,
            containers: [
                ContainerSpec(
                    name: "b", image: "c",
                    cpu: CPUSpec(requestMillicores: 250, limitMillicores: 500),
                    memory: MemorySpec(requestBytes: 1 << 26, limitBytes: 1 << 27), pidsMax: 64)
            ], placement: PlacementSpec(spread: []))
        #expect(try ServiceSpec(decoding: writer.bytes) == old)
        for version in [0, 4, 255] as [UInt8] {
            var bytes = writer.bytes
            bytes[0] = version
            #expect(throws: WireError.self) { try ServiceSpec(decoding: bytes) }
        }
        let json = """
            {"name": "b", "image": "c", "command": [], "environment": [], "pidsMax": 64,
             "cpu": {"requestMillicores": 250, "limitMillicores": 500},
             "memory": {"requestBytes": 67108864, "limitBytes": 134217728}}
            """
        #expect(
            try JSONDecoder().decode(ContainerSpec.self, from: Data(json.utf8))
                == old.containers[0])
        let service = """
            {"name": "a", "pool": "default", "sets": 3, "priority": 50, "containers": [\(json)],
             "network": {"publish": []},
             "placement": {"datacenters": [], "spread": [], "apartFrom": []}}
            """
        #expect(try JSONDecoder().decode(ServiceSpec.self, from: Data(service.utf8)) == old)
    }

    @Test("how volumes are mounted is read back; what version 2 wrote has the defaults")
    func volumeOptions() throws {
        let plain = VolumeSpec(name: "data", sizeBytes: 1 << 30, mount: "/data")
        let spec = SpecTests.limited.with(volumes: [plain])
        var options = plain
        (options.readOnly, options.noExec, options.fileSystem) = (true, true, .xfs)
        for volume in [plain, options] {
            let one = spec.with(volumes: [volume])
            #expect(one.problems() == [])
            #expect(try ServiceSpec(decoding: one.encoded) == one)
            let json = try JSONEncoder().encode(one)
            #expect(try JSONDecoder().decode(ServiceSpec.self, from: json) == one)
        }
        // Version 2 ended with the class of the last volume, and each container with its disk limits.
        var bytes = spec.encoded
        bytes.removeLast(5)
        for position in spec.containers.indices.reversed() {
            var marked = spec
            marked.containers[position].devices = ["/dev/null"]
            let place = zip(spec.encoded, marked.encoded).enumerated().first { $1.0 != $1.1 }
            let offset = try #require(place?.offset)
            bytes.removeSubrange(offset..<offset + 2)
        }
        bytes[0] = 2
        #expect(try ServiceSpec(decoding: bytes) == spec)
        let json = #"{"name": "data", "sizeBytes": 64, "mount": "/d", "volumeClass": "loop"}"#
        #expect(
            try JSONDecoder().decode(VolumeSpec.self, from: Data(json.utf8))
                == VolumeSpec(name: "data", sizeBytes: 64, mount: "/d"))
        let problem = spec.with(volumes: [options]).problem(after: spec, held: [])
        #expect(problem?.contains("file system ext4") == true)
        var folder = plain
        (folder.volumeClass, folder.fileSystem) = (.directory, .ext4)
        #expect(
            spec.with(volumes: [folder]).problems().map(\.path) == ["volumes[0].file-system"])
        options.sizeBytes = 100 << 20
        #expect(spec.with(volumes: [options]).problems().map(\.path) == ["volumes[0].size"])
    }

    @Test("slots, placements, phases and exits are read back as they were written")
    func partsRoundTrip() throws {
        let slot = SlotID(service: "web", ordinal: 3)
        let placement = Placement(
            slot: slot, host: HostID(testing: 1), revision: 2, epoch: Epoch(3), index: LogIndex(4))
        #expect(try Placement(decoding: placement.encoded) == placement)
        for phase in SetPhase.allCases {
            #expect(try SetPhase(decoding: phase.encoded) == phase)
        }
        let exit = ContainerExit(code: 137, outOfMemory: true)
        #expect(try ContainerExit(decoding: exit.encoded) == exit)
        // What the first version wrote.
        #expect(try ContainerExit(decoding: [0x92, 0x02, 1]) == exit)
        let told = ContainerExit(
            code: 137, outOfMemory: true,
            memory: MemoryAtExit(peakBytes: 64 << 20, limitBytes: 65 << 20))
        #expect(try ContainerExit(decoding: told.encoded) == told)
        #expect(
            told.outOfMemoryReason
                == "it used more memory than its limit (used 64 MiB of limit 65 MiB)")
        let innocent = ContainerExit(
            code: 137, outOfMemory: true,
            memory: MemoryAtExit(peakBytes: 20 << 20, limitBytes: 64 << 20))
        #expect(
            innocent.outOfMemoryReason
                == "its host ran out of the memory that all sets share (used 20 MiB of limit 64 MiB)"
        )
        #expect(throws: WireError.self) { try ContainerExit(decoding: [0, 3]) }
    }

    @Test("damaged bytes are refused or read, and never crash", arguments: [1, 2, 3] as [UInt64])
    func damagedBytes(seed: UInt64) {
        var random = RandomSource(seed: seed)
        let good = SpecTests.limited.encoded
        for length in good.indices {
            #expect(throws: WireError.self) { try ServiceSpec(decoding: Array(good[..<length])) }
        }
        for _ in 0..<500 {
            var bytes = good
            for _ in 0..<Int.random(in: 1...8, using: &random) {
                bytes[Int.random(in: bytes.indices, using: &random)] = UInt8.random(
                    in: 0...255, using: &random)
            }
            if let spec = try? ServiceSpec(decoding: bytes) {
                _ = spec.problems()
                _ = spec.demand
            }
        }
    }
}

extension ServiceSpec {
    func with(volumes: [VolumeSpec]) -> ServiceSpec {
        var spec = self
        spec.volumes = volumes
        return spec
    }
}
