import Foundation
import Testing
import VolumePlan

@testable import VolumeStore

/// What the kernel has marked is looked at before it is mounted.
@Suite("marked", .serialized, .enabled(if: mountObstacle == nil && VictimOrder.own == nil))
struct MarkedTests {
    @Test(
        "an ext4 that the kernel has marked is checked before it is mounted; one beyond repair is refused"
    )
    func markedFileSystem() async throws {
        let fixture = try VolumeFixture()
        let store = try await fixture.store()
        let name = try volume("web.0/data")
        let record = try await store.create(
            VolumeRequest(name: name, volumeClass: .loop, size: mebibytes(16)))
        let point = try await store.attach(name).path
        try VolumeFixture.write("precious", to: "\(point)/file")
        try await store.detach(name)
        let image = "\(fixture.root)/data/\(record.id).image"
        let marks = ["-w", "-R", "set_super_value state 2", image]
        try #require(VolumeFixture.run(["debugfs"] + marks).code == 0)
        #expect(try VolumeStore.isMarked(image, attempt: "test"))
        _ = try await store.attach(name)
        #expect(try !VolumeStore.isMarked(image, attempt: "test"))
        #expect(VolumeFixture.read("\(point)/file") == "precious")
        try await store.detach(name)
        for command in ["set_super_value state 2", "clri <2>"] {
            try #require(VolumeFixture.run("debugfs", "-w", "-R", command, image).code == 0)
        }
        let refusal = try await failure { _ = try await store.attach(name) }
        #expect("\(refusal)".contains("restore a backup"), "\(refusal)")
        #expect(VolumeFixture.mountPoints(below: fixture.folder).isEmpty)
    }
}
