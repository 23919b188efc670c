import ClusterModel
import Foundation
import Testing
import VolumePlan

@testable import VolumeStore

/// What is wrong with a volume is said for as long as it is wrong, and no longer.
@Suite("conditions", .serialized, .enabled(if: mountObstacle == nil && VictimOrder.own == nil))
struct ConditionTests {
    private func request(_ name: VolumeName) -> VolumeRequest {
        VolumeRequest(name: name, volumeClass: .loop, size: mebibytes(16))
    }

    private func condition(_ store: VolumeStore) async throws -> VolumeCondition? {
        try await store.list().first?.condition
    }

    @Test("content that is gone is told, in use and at rest and after a start, until it is back")
    func gone() async throws {
        let fixture = try VolumeFixture()
        let name = try volume("web.0/data")
        let image: String
        do {
            let store = try await fixture.store()
            let record = try await store.create(request(name))
            image = "\(fixture.root)/data/\(record.id).image"
            #expect(try await condition(store)?.isWell == true)
            _ = try await store.attach(name)
            try FileManager.default.moveItem(atPath: image, toPath: "\(fixture.folder)/away")
            let inUse = try await condition(store)
            #expect(inUse?.trouble == .gone)
            #expect(inUse?.reason.contains("copy what is needed out of it") == true)
            // What is not measured is as it was.
            #expect(try await store.list(measuring: false).first?.condition == inUse)
            try FileManager.default.moveItem(atPath: "\(fixture.folder)/away", toPath: image)
            #expect(try await condition(store)?.isWell == true)
            try await store.detach(name)
            try FileManager.default.moveItem(atPath: image, toPath: "\(fixture.folder)/away")
        }
        let store = try VolumeStore(settings: fixture.settings())
        let said = try await store.recover()
        #expect(said.count == 1 && said[0].contains("is gone"), "\(said)")
        #expect(try await condition(store)?.trouble == .gone)
        #expect(
            try await condition(store)?.problem(of: "web.0/data")
                == "its content is gone: restore it from a backup with `shoal volume restore "
                + "web.0/data`")
        try FileManager.default.moveItem(atPath: "\(fixture.folder)/away", toPath: image)
        #expect(try await condition(store)?.isWell == true)
    }

    @Test("an ext4 that met an error is told while it is mounted, after that, and in the trash")
    func failed() async throws {
        let fixture = try VolumeFixture()
        let name = try volume("web.0/data")
        let store = try await fixture.store()
        let record = try await store.create(request(name))
        let path = try await store.attach(name).path
        let entry = try #require(try await store.mountTable().mount(at: path))
        let number = try #require(entry.device.split(separator: ":").last)
        try VolumeFixture.write("a test\n", to: "/sys/fs/ext4/loop\(number)/trigger_fs_error")
        let events = try await store.watch()
        #expect(events.count == 1 && "\(events)".contains("fails"), "\(events)")
        let status = try #require(try await store.list().first)
        #expect(status.condition.trouble == .failed)
        #expect(status.condition.reason.contains("start it again when the disk is right"))
        #expect(status.isReadOnly)
        #expect(try await store.watch().isEmpty)
        try await store.detach(name)
        _ = try await store.watch()
        #expect(try await condition(store)?.trouble == .failed)
        try await store.delete(name)
        #expect(try await condition(store)?.trouble == .failed)
        try await store.restore(record.id)
        _ = try await store.attach(name)
        #expect(try await store.watch().isEmpty)
        #expect(try await condition(store)?.isWell == true)
        try await store.detach(name)
    }
}
