import Base
import ClusterModel
import ControlAPI
import Testing

/// One file and the problems it must be refused with, as `line:column path message`.
struct BadFile: CustomTestStringConvertible, Sendable {
    let name: String
    let yaml: String
    let problems: [String]

    var testDescription: String { name }
}

private let container = "containers: [{name: app, image: demo/web:1}]\n"

private let badFiles: [BadFile] = [
    BadFile(
        name: "an unknown key names the nearest",
        yaml: "service: web\nreplicas: 3\nprioritty: 5\n" + container,
        problems: [
            "2:1 replicas unknown key 'replicas'; known here: containers, network, placement, pool, priority, runtime, service, sets, volumes",
            "3:1 prioritty unknown key 'prioritty'; did you mean 'priority'?",
        ]),
    BadFile(
        name: "an unknown key deep inside",
        yaml:
            "service: web\ncontainers:\n  - name: app\n    image: demo/web:1\n    memory:\n      limits: 64Mi\n",
        problems: [
            "6:7 containers[0].memory.limits unknown key 'limits'; did you mean 'limit'?"
        ]),
    BadFile(
        name: "a backup that says too little, or nonsense",
        yaml: "service: web\n" + container
            + "volumes: [{name: data, size: 64Mi, mount: /data, backup: {every: 6, keep: {}, too: peers}}]\n",
        problems: [
            "3:58 volumes[0].backup.to key 'to' is missing",
            "3:66 volumes[0].backup.every '6' has the unknown unit '': write a time like 90s, 30m, 6h or 7d",
            "3:75 volumes[0].backup.keep at least one backup must be kept",
            "3:79 volumes[0].backup.too unknown key 'too'; did you mean 'to'?",
        ]),
    BadFile(
        name: "keys of a later version",
        yaml: "service: web\nscaling: []\nupdate: {}\n"
            + "containers: [{name: app, image: a, health: {}}]\nplacement: {after: [db]}\n",
        problems: [
            "2:1 scaling 'scaling' is not supported by this version",
            "3:1 update 'update' is not supported by this version",
            "4:36 containers[0].health 'health' is not supported by this version",
            "5:13 placement.after 'after' is not supported by this version",
        ]),
    BadFile(
        name: "missing keys", yaml: "sets: 2\ncontainers: [{image: a}]\n",
        problems: [
            "1:1 service key 'service' is missing",
            "2:14 containers[0].name key 'name' is missing",
        ]),
    BadFile(
        name: "wrong kinds",
        yaml: "service: [web]\nsets: many\npriority: \"5\"\npool:\n"
            + "containers: app\nnetwork: 5\n",
        problems: [
            "1:10 service must be text, not a list", "2:7 sets 'many' is not a whole number",
            "3:11 priority '5' is text: write the number without quotes",
            "4:6 pool must be text, not nothing", "5:13 containers must be a list, not text",
            "6:10 network must be a mapping with keys such as egress, ingress, not text",
        ]),
    BadFile(
        name: "bandwidths",
        yaml: "service: web\ncontainers:\n- name: app\n  image: a\n"
            + "network:\n  egress: {rate: 5Mbit, ceiling: 4Mbit, burst: 1}\n  ingress: {}\n",
        problems: [
            "6:18 network.egress.rate 5Mbit is more than the ceiling, 4Mbit",
            "6:41 network.egress.burst unknown key 'burst'; known here: ceiling, outside, rate",
            "7:12 network.ingress a limit needs a rate, a ceiling or an outside rate",
        ]),
    BadFile(
        name: "amounts",
        yaml: "service: web\ncontainers:\n- name: app\n  image: a\n  cpu: {limit: -1}\n"
            + "  memory: {request: lots, limit: 64Mi}\n",
        problems: [
            "5:16 containers[0].cpu.limit '-1' is negative: write an amount of CPU like 250m, 0.5 or 2",
            "6:21 containers[0].memory.request 'lots' does not begin with a number: write an amount of bytes like 64Mi, 1Gi or 500M",
        ]),
    BadFile(
        name: "rules of the model at their place",
        yaml: "service: Web\nsets: -1\ncontainers:\n- name: app\n  image: a\n"
            + "  memory: {request: 64Mi, limit: 32Mi}\nnetwork: {publish: [{port: 0, host: 80}]}\n",
        problems: [
            "1:10 service 'Web' is not a name: 1 to 40 of a-z, 0-9 and -, a letter first, no hyphen last",
            "2:7 sets -1 is not allowed: from 0 to 100000",
            "6:21 containers[0].memory.request the request 64Mi is above the limit 32Mi",
            "7:28 network.publish[0].port 0 is not allowed: from 1 to 65535",
        ]),
    BadFile(
        name: "limits",
        yaml: "service: web\ncontainers:\n- name: app\n  image: a\n"
            + "  cpu: {limit: 500m, burst: 1, cores: pinned}\n"
            + "  memory: {limit: 64Mi, soft: 65Mi, swap: -1}\n"
            + "  io: {weight: 1.5, read: 20Mbit, write: 1kBps, writes: 5}\n",
        problems: [
            "5:29 containers[0].cpu.burst the burst 1 is not in 0 to the limit 500m, which is all the kernel saves up",
            "5:39 containers[0].cpu.cores 'pinned' is not one of shared, dedicated",
            "6:31 containers[0].memory.soft the soft limit 65Mi is above the limit 64Mi",
            "6:43 containers[0].memory.swap '-1' is negative: write an amount of bytes like 64Mi, 1Gi or 500M",
            "7:16 containers[0].io.weight '1.5' is not a whole number",
            "7:27 containers[0].io.read '20Mbit' has the unknown unit 'Mbit': write a rate like 20MBps or 4MiBps",
            "7:42 containers[0].io.write 1kBps is not allowed: from 64KiBps to 1024GiBps",
            "7:49 containers[0].io.writes unknown key 'writes'; did you mean 'write'?",
        ]),
    BadFile(
        name: "a failure domain",
        yaml: "service: web\nplacement: {spread: [racks, planet]}\n" + container,
        problems: [
            "2:22 placement.spread[0] 'racks' is not one of datacenter, rack, host; did you mean 'rack'?",
            "2:29 placement.spread[1] 'planet' is not one of datacenter, rack, host",
        ]),
    BadFile(
        name: "volumes",
        yaml: "service: web\nvolumes: [{name: a, size: 1Gi, mount: b, class: flash}, {size: -1}]\n"
            + container,
        problems: [
            "2:39 volumes[0].mount 'b' is not an absolute path of at most 1,024 bytes",
            "2:49 volumes[0].class 'flash' is not one of lvm, loop, directory",
            "2:57 volumes[1].name key 'name' is missing",
            "2:57 volumes[1].mount key 'mount' is missing",
            "2:64 volumes[1].size '-1' is negative: write an amount of bytes like 64Mi, 1Gi or 500M",
        ]),
    BadFile(
        name: "how a volume is mounted",
        yaml: "service: web\nvolumes: [{name: a, size: 1Gi, mount: /a, read-only: 1}, "
            + "{name: b, size: 1Gi, mount: /b, no-exec: 'true', file-system: zfs}]\n" + container,
        problems: [
            "2:54 volumes[0].read-only '1' is not true or false",
            "2:99 volumes[1].no-exec 'true' is not true or false",
            "2:120 volumes[1].file-system 'zfs' is not one of ext4, xfs; did you mean 'xfs'?",
        ]),
    BadFile(
        name: "a number too large", yaml: "service: web\nsets: 99999999999999999999\n" + container,
        problems: ["2:7 sets 99999999999999999999 is too large"]),
    BadFile(
        name: "a key twice", yaml: "service: web\nsets: 1\nsets: 2\n" + container,
        problems: ["3:1  key 'sets' is there twice; first on line 2"]),
    BadFile(
        name: "the same service twice",
        yaml: "service: web\n\(container)---\nservice: web\n\(container)",
        problems: ["4:10 service 'web' is there twice; first on line 1"]),
    BadFile(
        name: "an anchor", yaml: "service: &a web\n" + container,
        problems: ["1:10  anchors (&name) are not allowed"]),
    BadFile(
        name: "an alias", yaml: "service: *a\n" + container,
        problems: ["1:10  aliases (*name) are not allowed: write the value out"]),
    BadFile(
        name: "a tag", yaml: "service: !!binary aGk=\n",
        problems: ["1:10  tags (!name) are not allowed"]),
    BadFile(
        name: "a key that is a list", yaml: "? [a]\n: b\n",
        problems: ["1:3  a key must be text, not a list or mapping"]),
    BadFile(
        name: "broken YAML", yaml: "service: web\ncontainers: [{name: app\n",
        problems: [
            "3:1  not valid YAML: while parsing a flow mapping: did not find expected ',' or '}'"
        ]),
    BadFile(
        name: "a tab", yaml: "service: web\n\tsets: 1\n",
        problems: [
            "2:1  not valid YAML: while scanning a plain scalar: found a tab character that violates indentation"
        ]),
    BadFile(
        name: "a NUL", yaml: "service: web\nsets: \0 1\n",
        problems: ["2:7  control character 0x0 is not allowed"]),
    BadFile(
        name: "not a mapping", yaml: "- a\n- b\n",
        problems: ["1:1  must be a mapping with keys such as service, pool, not a list"]),
]

@Suite struct SpecFileTests {
    @Test("the whole form of the design is read, with its units")
    func wholeForm() throws {
        let yaml = """
            service: web
            pool: fast
            sets: 6
            priority: 70
            containers:
              - name: app
                image: demo/web:1
                command: [httpd, -f, -p, 8080]
                env: {GREETING: hello, ANSWER: 42, NONE: }
                cpu: {request: 250m, limit: 1.5, burst: 500m, cores: shared}
                memory: {request: 64Mi, soft: 96Mi, limit: 128Mi, swap: 32Mi}
                io: {weight: 200, read: 20MBps, write: 1MiBps, read-operations: 100, write-operations: 50}
                pids: 100
            network: {egress: 50Mbit, ingress: 1Gbit, publish: [{port: 8080, host: 18080}]}
            placement: {datacenters: [a], spread: [rack, host], apart-from: [batch]}
            volumes:
              - {name: data, size: 64Mi, mount: /data, no-exec: true}
              - {name: db, size: 1Gi, mount: /var/db, class: lvm, read-only: true, file-system: xfs, backup: {every: 6h, keep: {last: 4, daily: 7}, to: peers, drill: 7d, restore-on-loss: 30m}}
            """
        let expected = ServiceSpec(
            name: "web", pool: "fast", sets: 6, priority: 70,
            containers: [
                ContainerSpec(
                    name: "app", image: "demo/web:1", command: ["httpd", "-f", "-p", "8080"],
                    environment: [
                        EnvironmentVariable(name: "ANSWER", value: "42"),
                        EnvironmentVariable(name: "GREETING", value: "hello"),
                        EnvironmentVariable(name: "NONE", value: ""),
                    ],
                    cpu: CPUSpec(
                        requestMillicores: 250, limitMillicores: 1_500, burstMillicores: 500),
                    memory: MemorySpec(
                        requestBytes: 64 << 20, limitBytes: 128 << 20, softBytes: 96 << 20,
                        swapBytes: 32 << 20),
                    pidsMax: 100,
                    io: IOSpec(
                        weight: 200, readBytesPerSecond: 20_000_000,
                        writeBytesPerSecond: 1 << 20, readOperationsPerSecond: 100,
                        writeOperationsPerSecond: 50))
            ],
            network: NetworkSpec(
                egressBitsPerSecond: 50_000_000, ingressBitsPerSecond: 1_000_000_000,
                publish: [PublishedPort(port: 8_080, hostPort: 18_080)]),
            placement: PlacementSpec(
                datacenters: ["a"], spread: [.rack, .host], apartFrom: ["batch"]),
            volumes: [
                VolumeSpec(
                    name: "data", sizeBytes: 64 << 20, mount: "/data", volumeClass: .loop,
                    noExec: true),
                VolumeSpec(
                    name: "db", sizeBytes: 1 << 30, mount: "/var/db", volumeClass: .lvm,
                    readOnly: true, fileSystem: .xfs,
                    backup: BackupSpec(
                        everySeconds: 21_600, keep: BackupKeep(last: 4, daily: 7), to: "peers",
                        drillSeconds: 604_800, restoreOnLossSeconds: 1_800)),
            ])
        #expect(try SpecFile.parse(Array(yaml.utf8)) == [expected])
    }

    @Test(
        "a bandwidth is one amount, or what is sure, what is the most, and what may leave",
        arguments: [
            ("50Mbit", BandwidthSpec(bitsPerSecond: 50_000_000)),
            ("{rate: 50Mbit}", BandwidthSpec(bitsPerSecond: 50_000_000)),
            ("{ceiling: 1Gbit}", BandwidthSpec(ceilingBitsPerSecond: 1_000_000_000)),
            (
                "{rate: 50Mbit, ceiling: 100Mbit, outside: 20Mbit}",
                BandwidthSpec(
                    rateBitsPerSecond: 50_000_000, ceilingBitsPerSecond: 100_000_000,
                    outsideBitsPerSecond: 20_000_000)
            ),
            ("{outside: 2Mbit}", BandwidthSpec(outsideBitsPerSecond: 2_000_000)),
        ])
    func bandwidth(text: String, expected: BandwidthSpec) throws {
        let yaml = "service: web\n" + container + "network: {ingress: \(text)}\n"
        let specs = try SpecFile.parse(Array(yaml.utf8))
        #expect(specs.map(\.network.ingress) == [expected])
        #expect(specs.map(\.network.egress) == [nil])
    }

    @Test("what is not written keeps its default, and requests stay below limits")
    func defaults() throws {
        let yaml = """
            service: a
            containers:
              - {name: app, image: a, cpu: {limit: 50m}, memory: {request: 1Gi}}
              - {name: pinned, image: a, cpu: {limit: 2, cores: dedicated}}
            ---
            service: b
            containers: [{name: app, image: b}]
            ---
            """
        let specs = try SpecFile.parse(Array(yaml.utf8))
        #expect(specs.map(\.name) == ["a", "b"])
        let first = try #require(specs.first?.containers.first)
        #expect(first.cpu == CPUSpec(requestMillicores: 50, limitMillicores: 50))
        #expect(first.memory == MemorySpec(requestBytes: 1 << 30, limitBytes: 1 << 30))
        #expect(first.io == IOSpec())
        // Nobody else may use dedicated cores, so all of them are set aside.
        let pinned = try #require(specs.first?.containers.last).cpu
        #expect(pinned.requestMillicores == 2_000 && pinned.cores == .dedicated)
        #expect(
            specs.last
                == ServiceSpec(name: "b", containers: [ContainerSpec(name: "app", image: "b")]))
    }

    @Test("every problem is told, with line and column", arguments: badFiles)
    func badFile(_ file: BadFile) throws {
        let error = #expect(throws: ControlError.self) {
            try SpecFile.parse(Array(file.yaml.utf8))
        }
        let problems = try #require(error).problems.map {
            "\($0.line ?? 0):\($0.column ?? 0) \($0.path) \($0.message)"
        }
        #expect(problems == file.problems)
    }

    @Test("hostile files are refused quickly, with one clear sentence")
    func hostile() throws {
        func message(_ bytes: [UInt8]) -> String {
            let error = #expect(throws: ControlError.self) { try SpecFile.parse(bytes) }
            let problem = error?.problems.first?.message
            return problem ?? error?.message ?? ""
        }
        let deep = "nested deeper than 32 levels"
        #expect(message([UInt8](repeating: UInt8(ascii: "["), count: 500_000)) == deep)
        #expect(message(Array(String(repeating: "{a: ", count: 100_000).utf8)) == deep)
        #expect(message(Array(String(repeating: "- ", count: 100_000).utf8)) == deep)
        #expect(message(Array(String(repeating: "? ", count: 100_000).utf8)).contains("key must"))
        #expect(message([UInt8](repeating: 0x20, count: 10 << 20)).contains("above the limit"))
        #expect(
            message(Array(("a: [" + String(repeating: "1,", count: 200_000) + "]").utf8))
                .contains("more than 100000 values"))
        #expect(message([0x61, 0x3A, 0x20, 0xFF]) == "not valid UTF-8")
        #expect(message([]).contains("describes no service"))
        var bomb = "a: &a [x, x]\n"
        for letter in ["b", "c", "d"] { bomb += "\(letter): &\(letter) [*a, *a, *a, *a]\n" }
        #expect(message(Array(bomb.utf8)) == "anchors (&name) are not allowed")
    }

    @Test("broken UTF-8 is shown at its place")
    func brokenText() {
        let bytes = Array("service: wéb\nsets: ".utf8) + [0xC3, 0x28]
        let error = #expect(throws: ControlError.self) { try SpecFile.parse(bytes) }
        #expect(error?.problems.first?.line == 2)
        #expect(error?.problems.first?.column == 7)
    }

    @Test("no bytes crash the reader", arguments: 0..<20)
    func fuzz(seed: Int) throws {
        var random = RandomSource(seed: UInt64(seed))
        let good = Array(
            ("service: web\nsets: 2\n" + container + "network: {egress: 5Mbit}\n").utf8)
        let letters = Array("[]{}:,-?&*!|>'\"%@`#\n\t 0aé\u{0}".utf8)
        for _ in 0..<200 {
            var bytes = good
            for _ in 0..<Int.random(in: 1...8, using: &random) {
                let position = Int.random(in: 0..<bytes.count, using: &random)
                switch Int.random(in: 0..<4, using: &random) {
                case 0: bytes[position] = UInt8.random(in: 0...255, using: &random)
                case 1:
                    bytes.insert(letters.randomElement(using: &random) ?? 0, at: position)
                case 2 where bytes.count > 1: bytes.remove(at: position)
                default: bytes.removeSubrange(position...)
                }
                if bytes.isEmpty { break }
            }
            _ = try? SpecFile.parse(bytes)
        }
    }

    @Test("a file that is too large, a folder or absent is refused before it is read")
    func files() {
        for (path, part) in [("/tmp", "folder"), ("/nonexistent/x", "No such file")] {
            let error = #expect(throws: ControlError.self) { try SpecFile.read(path: path) }
            #expect(error?.message.contains(part) == true)
        }
    }
}
