import Foundation
import ImageStore
import Testing

/// What may happen while an image is loaded, and what it must not do to it.
@Suite(.enabled(if: canMount, "mounting needs root and overlayfs"))
struct MeanwhileTests {
    /// A store with image 0 under the name `a`, and a gate for its long work.
    private struct Scene {
        let folder: TestFolder
        let pool: ImagePool
        let gate: StepGate
        let store: ImageStore

        init(holding isChosen: @escaping @Sendable (ImageStep) -> Bool = { _ in true }) async throws
        {
            folder = try TestFolder()
            let pool = try ImagePool(in: folder)
            let gate = StepGate(isChosen)
            let store = try ImageStore(root: folder.storePath) { gate.hold($0) }
            (self.pool, self.gate, self.store) = (pool, gate, store)
            let loaded = try await gate.drive {
                try await store.load(archive: pool.archives[0], references: ["a"])
            } atEachStep: { _ in
            }
            #expect(try loaded.get().count == 1)
        }
    }

    /// Does something to a fresh scene at each single step of a piece of work, one after another,
    /// and once after the end; returns how many steps there were.
    private func atEveryStep(
        of work: @escaping @Sendable (ImageStore, ImagePool) async throws -> Void,
        _ disturb: (Scene) async throws -> Void,
        check: (Scene, _ wasDisturbed: Bool) async throws -> Void
    ) async throws -> Int {
        var chosen = 0
        while true {
            let scene = try await Scene()
            var step = 0
            let result = try await scene.gate.drive { [store = scene.store, pool = scene.pool] in
                try await work(store, pool)
            } atEachStep: { _ in
                if step == chosen { try await disturb(scene) }
                step += 1
            }
            try result.get()
            try await check(scene, chosen < step)
            guard chosen < step else { return step }
            chosen += 1
        }
    }

    @Test("roots and names come and go at every step of a load", .timeLimit(.minutes(5)))
    func rootsMeanwhile() async throws {
        let scene = try await Scene()
        let (store, pool) = (scene.store, scene.pool)
        var steps: [ImageStep] = []
        let loaded = try await scene.gate.drive {
            try await store.load(archive: pool.archives[2], references: ["b"])
        } atEachStep: { step in
            steps.append(step)
            #expect(store.image(reference: "b") == nil)
            let id = "c\(steps.count)"
            let root = try await store.mountRoot(container: id, image: pool.manifest(0))
            #expect(pool.isWhole(root: root, 0))
            try await store.tag(reference: "more", manifest: pool.manifest(0))
            try await store.remove(reference: "more")
            try await store.unmountRoot(container: id)
            #expect(store.knownRoots() == [])
            try await pool.checkListed(store)
        }
        #expect(try loaded.get().map(\.reference) == ["b:latest"])
        // Layer 1 is listed with image 0, which proves that its blob gives it.
        let unpacked: [ImageStep] = pool.builders[2].layers.dropFirst().map {
            .unpacking(layer: Digest(of: $0))
        }
        #expect(steps.suffix(5) == unpacked + [.synchronizing, .placing, .listing])
        try await pool.checkAll(store)
    }

    @Test(
        "an image stays whole when another that shares its layers is removed in its load",
        .timeLimit(.minutes(5)))
    func removalMeanwhile() async throws {
        let steps = try await atEveryStep { store, pool in
            let loaded = try await store.load(archive: pool.archives[3], references: ["b"])
            #expect(loaded.map(\.reference) == ["b:latest"])
        } _: { scene in
            try await scene.store.remove(reference: "a")
            #expect(scene.store.images() == [])
        } check: { scene, wasDisturbed in
            let (store, pool) = (scene.store, scene.pool)
            #expect(store.images().count == (wasDisturbed ? 1 : 2))
            try await pool.checkAll(store)
            let root = try await store.mountRoot(container: "one", image: pool.manifest(3))
            #expect(pool.isWhole(root: root, 3))
            try await store.remove(reference: "b")
            try await pool.checkAll(store, roots: ["one": 3])
            try await store.unmountRoot(container: "one")
            try await pool.checkAll(store)
        }
        #expect(steps > 8)
    }

    @Test("an image that is removed while it is loaded again is there", .timeLimit(.minutes(5)))
    func reloadMeanwhile() async throws {
        let steps = try await atEveryStep { store, pool in
            _ = try await store.load(archive: pool.archives[0], references: ["a"])
        } _: { scene in
            try await scene.store.remove(reference: "a")
        } check: { scene, _ in
            #expect(scene.store.images().map(\.reference) == ["a:latest"])
            try await scene.pool.checkAll(scene.store)
        }
        #expect(steps > 5)
    }

    @Test("an image from a peer stays whole when another is removed", .timeLimit(.minutes(5)))
    func adoptionMeanwhile() async throws {
        let steps = try await atEveryStep { store, pool in
            try await pool.send(3, to: store, lackingOnly: true)
            let image = try await store.adopt(manifest: pool.manifest(3), reference: "b")
            #expect(image.manifestDigest == pool.manifest(3))
        } _: { scene in
            try await scene.store.remove(reference: "a")
        } check: { scene, wasDisturbed in
            #expect(scene.store.images().count == (wasDisturbed ? 1 : 2))
            try await scene.pool.checkAll(scene.store)
        }
        #expect(steps >= 3)
    }

    @Test("what a peer has sent outlives the image that had it too")
    func receivedStays() async throws {
        let scene = try await Scene { _ in false }
        let (store, pool) = (scene.store, scene.pool)
        try await pool.send(3, to: store)
        try await store.remove(reference: "a")
        // An archive of the same blobs that cannot be used takes nothing of them along.
        var broken = pool.builders[3]
        broken.plain[2] = tar([.file("another")])
        let archive = try scene.folder.write(folder: "broken", broken.layout)
        await #expect(throws: ImageError.self) { try await store.load(archive: archive) }
        _ = try await store.adopt(manifest: pool.manifest(3), reference: "b")
        try await pool.checkAll(store)
    }

    @Test("a load that fails when all is in its place takes back what it brought")
    func lateFailure() async throws {
        let scene = try await Scene { $0 == .listing }
        let (store, pool) = (scene.store, scene.pool)
        let index = "\(scene.folder.storePath)/index.json"
        let kept = "\(scene.folder.path)/index.json"
        let result = try await scene.gate.drive {
            try await store.load(archive: pool.archives[3], references: ["b"])
        } atEachStep: { _ in
            #expect(pool.blobs(3).allSatisfy { store.hasBlob(Digest(of: $0)) })
            // No file can take a folder's place.
            try FileManager.default.moveItem(atPath: index, toPath: kept)
            try FileManager.default.createDirectory(
                atPath: index, withIntermediateDirectories: false)
        }
        #expect(throws: ImageError.self) { try result.get() }
        try FileManager.default.removeItem(atPath: index)
        try FileManager.default.moveItem(atPath: kept, toPath: index)
        #expect(store.images().map(\.reference) == ["a:latest"])
        try await pool.checkAll(store)
    }

    @Test("what only a failing load kept goes with it", .timeLimit(.minutes(5)))
    func failureMeanwhile() async throws {
        let good = try ImagePool(in: TestFolder()).builders[3]
        let third = Digest(of: good.layers[2])
        let scene = try await Scene { $0 == .unpacking(layer: third) }
        let (store, pool) = (scene.store, scene.pool)
        var broken = good
        broken.plain[2] = tar([.file("another")])
        let archive = try scene.folder.write(folder: "broken", broken.layout)
        var isHeld = false
        let result = try await scene.gate.drive {
            try await store.load(archive: archive, references: ["b"])
        } atEachStep: { _ in
            isHeld = true
            try await store.remove(reference: "a")
            // The load has found these and counts on them.
            #expect(good.layers[..<2].allSatisfy { store.hasBlob(Digest(of: $0)) })
        }
        #expect(throws: ImageError.self) { try result.get() }
        #expect(isHeld && store.images() == [])
        try await pool.checkAll(store)
    }

    @Test("loads of the same archive at the same time bring one image")
    func sameArchive() async throws {
        let folder = try TestFolder()
        let pool = try ImagePool(in: folder)
        let store = try folder.store()
        try await withThrowingTaskGroup(of: [StoredImage].self) { group in
            for number in 0..<9 {
                group.addTask {
                    try await store.load(
                        archive: pool.archives[2], references: ["name\(number % 3)"])
                }
            }
            for try await images in group {
                #expect(images.map(\.manifestDigest) == [pool.manifest(2)])
            }
        }
        #expect(store.images().map(\.reference) == (0..<3).map { "name\($0):latest" })
        try await pool.checkAll(store)
    }

    @Test("a root that was left unmounted gives way, and the layers that only it used")
    func leftRoot() async throws {
        let scene = try await Scene { _ in false }
        let (store, pool) = (scene.store, scene.pool)
        let left = try await store.mountRoot(container: "one", image: pool.manifest(0))
        try Data("written".utf8).write(to: URL(fileURLWithPath: "\(left)/written"))
        #expect(umount2(left, 0) == 0)
        try await store.remove(reference: "a")
        _ = try await store.load(archive: pool.archives[4], references: ["b"])
        let root = try await store.mountRoot(container: "one", image: pool.manifest(4))
        #expect(pool.isWhole(root: root, 4))
        #expect(!FileManager.default.fileExists(atPath: "\(root)/written"))
        let layers = try FileManager.default.contentsOfDirectory(
            atPath: "\(scene.folder.storePath)/layers")
        #expect(layers == [Digest(of: pool.builders[4].plain[0]).hexadecimal])
        try await store.unmountRoot(container: "one")
    }

    // MARK: A layer that was lost

    /// A scene whose image 0 lacks layer 1, held when it is about to be unpacked again.
    private func sceneWithLoss() async throws -> Scene {
        let builder = try ImagePool(in: TestFolder()).builders[0]
        let lost = Digest(of: builder.layers[1])
        let scene = try await Scene { $0 == .unpacking(layer: lost) }
        let layer = Digest(of: builder.plain[1]).hexadecimal
        try FileManager.default.removeItem(atPath: "\(scene.folder.storePath)/layers/\(layer)")
        return scene
    }

    @Test("a root that waits for a lost layer holds up no other", .timeLimit(.minutes(5)))
    func lossHoldsUpNothing() async throws {
        let scene = try await sceneWithLoss()
        let (store, pool) = (scene.store, scene.pool)
        try await pool.send(4, to: store)
        var roots: [String: Int] = ["one": 0]
        let path = try await scene.gate.drive {
            _ = try await store.adopt(manifest: pool.manifest(4), reference: "small")
            return try await store.mountRoot(container: "one", image: pool.manifest(0))
        } atEachStep: { _ in
            let other = try await store.mountRoot(container: "two", image: pool.manifest(4))
            #expect(pool.isWhole(root: other, 4))
            roots["two"] = 4
        }
        #expect(try pool.isWhole(root: path.get(), 0))
        #expect(roots.count == 2)
        try await pool.checkAll(store, roots: roots)
        for id in roots.keys { try await store.unmountRoot(container: id) }
    }

    @Test("an unmount ends the wait for a lost layer", .timeLimit(.minutes(5)))
    func unmountEndsWait() async throws {
        let scene = try await sceneWithLoss()
        let (store, pool) = (scene.store, scene.pool)
        let path = try await scene.gate.drive {
            try await store.mountRoot(container: "one", image: pool.manifest(0))
        } atEachStep: { _ in
            try await store.unmountRoot(container: "one")
        }
        let error = #expect(throws: ImageError.self) { try path.get() }
        #expect(error?.reason == .notFound)
        try await pool.checkAll(store)
        let root = try await store.mountRoot(container: "one", image: pool.manifest(0))
        #expect(pool.isWhole(root: root, 0))
        try await store.unmountRoot(container: "one")
    }

    @Test(
        "an image that is removed while its lost layer is made leaves nothing",
        .timeLimit(.minutes(5)))
    func removalEndsWait() async throws {
        let scene = try await sceneWithLoss()
        let (store, pool) = (scene.store, scene.pool)
        let path = try await scene.gate.drive {
            try await store.mountRoot(container: "one", image: pool.manifest(0))
        } atEachStep: { _ in
            try await store.remove(reference: "a")
        }
        let error = #expect(throws: ImageError.self) { try path.get() }
        #expect(error?.reason == .notFound)
        try await pool.checkAll(store)
    }
}
