import Base
import ClusterModel
import Foundation
import Testing

@testable import Agent

/// What a host keeps of its sets.
@Suite("set records")
struct SetRecordTests {
    /// A record with every field in use.
    private static func record(_ service: String = "web", ordinal: Int = 3) -> SetRecord {
        SetRecord(
            slot: SlotID(service: service, ordinal: ordinal), placementIndex: .max,
            address: [10, 64, 0, 255],
            spec: ServiceSpec(
                name: service, pool: "p", sets: 7, priority: 90,
                containers: [
                    ContainerSpec(
                        name: "app", image: "demo/web:1",
                        command: ["sh", "-c", "echo \"ü\\\n\0\""],
                        environment: [EnvironmentVariable(name: "A", value: "b=c")],
                        cpu: CPUSpec(requestMillicores: 1, limitMillicores: 2),
                        memory: MemorySpec(requestBytes: 3, limitBytes: 4), pidsMax: 5),
                    ContainerSpec(name: "side", image: "demo/side@1"),
                ],
                network: NetworkSpec(
                    egressBitsPerSecond: 1_000, publish: [PublishedPort(port: 80, hostPort: 81)])),
            images: [
                "sha256:" + String(repeating: "ab", count: 32),
                "sha256:" + String(repeating: "01", count: 32),
            ], started: true)
    }

    @Test("a record comes back as it was written, also after another was written over it")
    func roundTrip() throws {
        let folder = try TemporaryFolder()
        let records = try SetRecords(folder: folder.path)
        var record = SetRecordTests.record()
        record.started = false
        record.images = []
        try records.write(record)
        #expect(records.all().records == [record])
        record = SetRecordTests.record()
        try records.write(record)
        let other = SetRecordTests.record("api", ordinal: 0)
        try records.write(other)
        // As after a restart of the agent.
        let again = try SetRecords(folder: folder.path).all()
        #expect(again.records == [other, record])
        #expect(again.unreadable.isEmpty)
        #expect(folder.names == ["api.0.json", "web.3.json"])
        records.remove(record.slot)
        records.remove(record.slot)
        #expect(records.all().records == [other])
    }

    @Test("a record cut at any byte is told apart from the whole, and spoils no other")
    func truncation() throws {
        let folder = try TemporaryFolder()
        let records = try SetRecords(folder: folder.path)
        let other = SetRecordTests.record("api", ordinal: 0)
        try records.write(other)
        try records.write(SetRecordTests.record())
        let path = URL(fileURLWithPath: "\(folder.path)/web.3.json")
        let whole = try Data(contentsOf: path)
        for count in whole.indices {
            try whole.prefix(count).write(to: path)
            let found = records.all()
            #expect(found.records == [other], "cut at \(count)")
            #expect(found.unreadable == ["web.3.json"], "cut at \(count)")
        }
    }

    @Test("damaged records are read as something consistent, or refused; never a crash")
    func damage() throws {
        let folder = try TemporaryFolder()
        let records = try SetRecords(folder: folder.path)
        let record = SetRecordTests.record()
        try records.write(record)
        let path = URL(fileURLWithPath: "\(folder.path)/web.3.json")
        let whole = try Data(contentsOf: path)
        var random = RandomSource(seed: 5)
        for _ in 0..<2_000 {
            var bytes = whole
            for _ in 0..<Int.random(in: 1...3, using: &random) {
                bytes[Int.random(in: bytes.indices, using: &random)] =
                    UInt8.random(in: 0...255, using: &random)
            }
            try bytes.write(to: path)
            let found = records.all()
            #expect(found.records.count + found.unreadable.count == 1)
            for read in found.records {
                #expect(read.slot == record.slot && read.isConsistent)
            }
        }
    }

    /// Changes that leave well-formed JSON, and a record that must not be acted on.
    private static let wrong: [@Sendable (inout SetRecord) -> Void] = [
        { $0.address = [10, 64, 0] }, { $0.address = [] }, { $0.spec.containers = [] },
        { $0.spec.containers[1].name = "app" }, { $0.images.append($0.images[0]) },
        { $0.images[0] = "../../etc" }, { $0.spec.name = "api" },
        { $0.slot = SlotID(service: "api", ordinal: 3) },
        { $0.slot = SlotID(service: "web", ordinal: 4) },
        { $0.slot = SlotID(service: "web", ordinal: -3) },
    ]

    @Test("a record whose parts do not belong together is refused", arguments: wrong.indices)
    func inconsistency(index: Int) throws {
        let folder = try TemporaryFolder()
        var record = SetRecordTests.record()
        SetRecordTests.wrong[index](&record)
        try JSONEncoder().encode(record).write(
            to: URL(fileURLWithPath: "\(folder.path)/web.3.json"))
        let found = try SetRecords(folder: folder.path).all()
        #expect(found.records.isEmpty)
        #expect(found.unreadable == ["web.3.json"])
    }

    @Test("what is no file of a record's size is refused unread")
    func strangers() throws {
        let folder = try TemporaryFolder()
        let large = "\(folder.path)/large.0.json"
        #expect(FileManager.default.createFile(atPath: large, contents: nil))
        truncate(large, off_t(1) << 40)
        try FileManager.default.createDirectory(
            atPath: "\(folder.path)/folder.0.json", withIntermediateDirectories: false)
        // Opened, it would wait for a writer that never comes.
        #expect(mkfifo("\(folder.path)/pipe.0.json", 0o600) == 0)
        try Data("half".utf8).write(to: URL(fileURLWithPath: "\(folder.path)/web.0.json.new"))
        let found = try SetRecords(folder: folder.path).all()
        #expect(found.records.isEmpty)
        #expect(found.unreadable == ["folder.0.json", "large.0.json", "pipe.0.json"])
    }
}
