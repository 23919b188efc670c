import Base
import Foundation
import ImageStore
import Synchronization
import Testing

/// Random work on one store: whatever the order, all that is listed is whole, and in the end there
/// is nothing else.
@Suite(.enabled(if: canMount, "mounting needs root and overlayfs"))
struct InterleavingTests {
    static let names = ["a", "b", "c"]
    static let containers = ["one", "two", "three", "four"]

    /// Does one short thing; refusals that say that something is not there, or in use, are fine.
    private func doSomething(
        to store: ImageStore, _ pool: ImagePool, _ random: inout RandomSource,
        containers: ArraySlice<String> = containers[...]
    ) async throws {
        let name = names.randomElement(using: &random) ?? "a"
        let image = Int.random(in: pool.builders.indices, using: &random)
        let id = containers.randomElement(using: &random) ?? "one"
        do {
            switch Int.random(in: 0..<6, using: &random) {
            case 0: try await store.remove(reference: name)
            case 1: try await store.tag(reference: name, manifest: pool.manifest(image))
            case 2, 3:
                let root = try await store.mountRoot(container: id, image: pool.manifest(image))
                #expect(pool.isWhole(root: root, image))
            default: try await store.unmountRoot(container: id)
            }
        } catch let error as ImageError where [.notFound, .inUse].contains(error.reason) {
        }
    }

    private var names: [String] { InterleavingTests.names }

    /// Brings an image, from an archive or from a peer.
    private static func bring(
        _ image: Int, as name: String, byPeer: Bool, to store: ImageStore, _ pool: ImagePool
    ) async throws {
        guard byPeer else {
            _ = try await store.load(archive: pool.archives[image], references: [name])
            return
        }
        // A load of the same blobs makes them that image's, and its removal takes them away: who
        // gets an image from peers then asks them again.
        while true {
            try await pool.send(image, to: store)
            do {
                _ = try await store.adopt(manifest: pool.manifest(image), reference: name)
                return
            } catch let error as ImageError where error.reason == .notFound {
                continue
            }
        }
    }

    private func removeAll(from store: ImageStore, _ pool: ImagePool) async throws {
        for id in store.knownRoots() { try await store.unmountRoot(container: id) }
        try await pool.checkAll(store)
        for image in store.images() { try await store.remove(reference: image.reference) }
        try await pool.checkAll(store)
        #expect(store.images() == [])
    }

    @Test("short work at random steps of long work", .timeLimit(.minutes(5)), arguments: 0..<12)
    func stepped(_ seed: UInt64) async throws {
        var random = RandomSource(seed: seed)
        let folder = try TestFolder()
        let pool = try ImagePool(in: folder)
        let gate = StepGate()
        let store = try ImageStore(root: folder.storePath) { gate.hold($0) }
        for _ in 0..<8 {
            let image = Int.random(in: pool.builders.indices, using: &random)
            let name = names.randomElement(using: &random) ?? "a"
            let byPeer = Bool.random(using: &random)
            let result = try await gate.drive {
                try await InterleavingTests.bring(image, as: name, byPeer: byPeer, to: store, pool)
            } atEachStep: { _ in
                for _ in 0..<Int.random(in: 0...2, using: &random) {
                    try await doSomething(to: store, pool, &random)
                    try await pool.checkListed(store)
                }
            }
            try result.get()
            #expect(store.image(reference: name)?.manifestDigest == pool.manifest(image))
        }
        try await removeAll(from: store, pool)
    }

    @Test("short and long work on all threads at once", .timeLimit(.minutes(5)), arguments: 0..<6)
    func free(_ seed: UInt64) async throws {
        let folder = try TestFolder()
        let pool = try ImagePool(in: folder)
        let store = try folder.store()
        try await withThrowingTaskGroup(of: Void.self) { group in
            for worker in 0..<2 {
                group.addTask {
                    var random = RandomSource(seed: seed).fork("bring \(worker)")
                    for _ in 0..<12 {
                        try await InterleavingTests.bring(
                            Int.random(in: pool.builders.indices, using: &random),
                            as: InterleavingTests.names.randomElement(using: &random) ?? "a",
                            byPeer: Bool.random(using: &random), to: store, pool)
                    }
                }
            }
            // Each with containers of its own, as an agent starts and ends one from one place.
            for container in InterleavingTests.containers.indices {
                group.addTask {
                    var random = RandomSource(seed: seed).fork("container \(container)")
                    for _ in 0..<30 {
                        try await doSomething(
                            to: store, pool, &random,
                            containers: InterleavingTests.containers[container...container])
                    }
                }
            }
            try await group.waitForAll()
        }
        try await removeAll(from: store, pool)
    }
}
