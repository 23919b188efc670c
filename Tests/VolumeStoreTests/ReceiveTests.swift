import ClusterModel
import Foundation
import Testing
import VolumePlan

@testable import VolumeStore

/// Copies of volumes of other hosts.
@Suite("received copies", .serialized, .enabled(if: mountObstacle == nil))
struct ReceiveTests {
    private struct Pair {
        let fixture: VolumeFixture
        let store: VolumeStore
        let original: VolumeOriginal

        init(_ text: String = "one") async throws {
            fixture = try VolumeFixture()
            store = try await fixture.store()
            let name = try volume("web.0/data")
            let record = try await store.create(
                VolumeRequest(name: name, volumeClass: .loop, size: mebibytes(16)))
            let path = try await store.attach(name).path
            try VolumeFixture.write(text, to: "\(path)/file")
            try await store.detach(name)
            original = VolumeOriginal(
                name: try volume("web.1/data"), id: record.id, volumeClass: .loop,
                fileSystem: .ext4, size: record.size, owner: 7)
        }

        /// Copies what differs; how many pieces that were.
        func pass(_ copy: VolumeRecord) async throws -> Int {
            let target = try await store.openCopy(copy.id)
            let store = store
            let sent = try await store.atRest(try volume("web.0/data")) { source in
                var sent = 0
                for piece in 0..<source.count
                where try await store.digests(of: source, piece..<piece + 1)
                    != store.digests(of: target, piece..<piece + 1)
                {
                    try await store.write(
                        piece, try await store.read(piece, of: source), to: target)
                    sent += 1
                }
                return sent
            }
            try await store.settle(target)
            return sent
        }
    }

    @Test("a copy is nobody's until it is accepted; a second pass sends only what changed")
    func passes() async throws {
        let pair = try await Pair()
        let copy = try await pair.store.beginReceiving(pair.original)
        #expect(try await pair.store.beginReceiving(pair.original) == copy, "and once only")
        let first = try await pair.pass(copy)
        #expect(first > 0)
        #expect(try await pair.pass(copy) == 0)
        let none = try await failure { _ = try await pair.store.find(pair.original.name) }
        #expect("\(none)".contains("there is no volume"))
        let path = try await pair.store.attach(try volume("web.0/data")).path
        try VolumeFixture.write("two", to: "\(path)/file")
        // What is in use cannot be copied for the last time.
        let used = try await failure {
            try await pair.store.atRest(try volume("web.0/data")) { _ in }
        }
        #expect("\(used)".contains("is in use by"))
        try await pair.store.detach(try volume("web.0/data"))
        let second = try await pair.pass(copy)
        #expect(second > 0 && second < first + 4)
        let accepted = try await pair.store.acceptCopy(copy.id)
        #expect(accepted.owner == 7 && accepted.origin == pair.original.id)
        #expect(try await pair.store.acceptCopy(copy.id) == accepted)
        let moved = try await pair.store.attach(pair.original.name).path
        #expect(VolumeFixture.read("\(moved)/file") == "two")
        try await pair.store.detach(pair.original.name)
    }

    @Test("zeros are told by nothing, holes stay holes, and a piece of a wrong size is refused")
    func pieces() async throws {
        let pair = try await Pair()
        let copy = try await pair.store.beginReceiving(pair.original)
        let blocks = try await pair.store.openCopy(copy.id)
        #expect(try await pair.store.digests(of: blocks, 0..<1) == [.zeros])
        let piece = [UInt8](repeating: 7, count: VolumeBlocks.pieceBytes)
        try await pair.store.write(3, piece, to: blocks)
        #expect(try await pair.store.digests(of: blocks, 3..<4) == [PieceDigest(of: piece)])
        #expect(try await pair.store.read(3, of: blocks) == piece)
        try await pair.store.write(3, [], to: blocks)
        #expect(try await pair.store.digests(of: blocks, 2..<5) == [.zeros, .zeros, .zeros])
        let wrong = try await failure { try await pair.store.write(3, [1, 2], to: blocks) }
        #expect("\(wrong)".contains("has 2 bytes"))
        #expect(PieceDigest(bytes: []) == .zeros)
        #expect(PieceDigest(bytes: [1]) == nil)
        let chain = PieceDigest.chain([.zeros], after: .zeros)
        #expect(chain != .zeros && chain != PieceDigest.chain([], after: .zeros))
        #expect(chain != PieceDigest.chain([PieceDigest(of: piece)], after: .zeros))
    }

    @Test("a copy survives a restart, is discarded whole, and gives way to one of another volume")
    func lives() async throws {
        let pair = try await Pair()
        let copy = try await pair.store.beginReceiving(pair.original)
        var other = pair.original
        other.size = mebibytes(24)
        let larger = try await pair.store.beginReceiving(other)
        #expect(larger.id != copy.id)
        #expect(!pair.fixture.files().contains { $0.contains(copy.id.description) })
        #expect(try VolumeRecord(text: larger.text) == larger)
        #expect(RecoveryPlan.steps([larger]).isEmpty)
        try await pair.store.discardCopy(larger.id)
        try await pair.store.discardCopy(larger.id)
        #expect(try await pair.store.receivedCopies().isEmpty)
        #expect(!pair.fixture.files().contains { $0.contains(larger.id.description) })
        try await pair.store.create(
            VolumeRequest(name: pair.original.name, volumeClass: .loop, size: mebibytes(8)))
        let taken = try await failure { _ = try await pair.store.beginReceiving(pair.original) }
        #expect("\(taken)".contains("is there already"))
    }
}
