import Glibc
import Synchronization

/// What the store has, who counts on it, and the only way by which anything of it goes.
///
/// Several threads work on one store: one loads and unpacks for minutes, one mounts and unmounts
/// meanwhile, one receives blobs. What makes that safe is one rule:
///
/// *A blob or a layer that is in its place is whole. It stays there as long as it is in use, and
/// it is in use while an image in the catalog names it, a container's record names it (layers
/// only), it was received for an image that is not adopted yet (blobs only), or work in progress
/// has pinned it.*
///
/// Three things keep the rule, and all of them are done under the one lock of this object:
/// - The catalog and index.json change together, read and written in one hold of the lock. Who
///   lists an image has pinned all its blobs and layers; then they are used by the image.
/// - Work that counts on something being there asks and pins in one hold (`Hold`). What it
///   brings itself it pins before it puts it in its place.
/// - Nothing is taken away but by `discard`, which looks at all uses and moves what has none to
///   `staging/` in one hold. What only a pin saves is remembered, and goes with its last pin,
///   unless it has got another use by then. Folders of containers go in the same hold as their
///   records' uses.
///
/// The lock is held for a few small files at most: nobody reads an archive, unpacks, removes a
/// tree or waits for syncfs(2) under it. Who only wants to know what is listed does not need it.
final class Inventory: Sendable {
    let folders: StoreFolders
    private let ledger = Mutex(Ledger())
    /// Changed only under the ledger's lock; its own is for readers, who need not wait for disks.
    private let catalog: Mutex<ImageCatalog>

    private struct Ledger {
        var blobs = Pins()
        var layers = Pins()
        /// Blobs that a peer sent and that no image has named yet.
        var received: Set<Digest> = []
        /// The blobs that images of the catalog name.
        var listed: Set<Digest> = []

        /// True for a blob that has a use, and so is whole and durable when it is there.
        func uses(_ digest: Digest) -> Bool {
            blobs.has(digest) || received.contains(digest) || listed.contains(digest)
        }
    }

    init(folders: StoreFolders, catalog: ImageCatalog) {
        self.folders = folders
        self.catalog = Mutex(catalog)
        ledger.withLock { $0.listed = Inventory.blobs(of: catalog) }
    }

    private static func blobs(of catalog: ImageCatalog) -> Set<Digest> {
        Set(catalog.images.flatMap(\.blobDigests))
    }

    /// Looks into the catalog; at any time, from any thread.
    func read<Result: Sendable>(_ body: (ImageCatalog) -> Result) -> Result {
        catalog.withLock { body($0) }
    }

    // MARK: Changing the catalog

    /// Lists images and writes the index; on failure nothing has changed.
    ///
    /// The caller has pinned all that they name.
    func list(_ images: [StoredImage]) throws {
        try ledger.withLock { ledger in
            try change(&ledger) { catalog in
                for image in images { catalog.insert(image) }
            }
            ledger.received.subtract(images.flatMap(\.blobDigests))
        }
    }

    /// Gives a listed image a further name; false when it is not listed.
    func tag(_ name: String, manifest: Digest) throws -> Bool {
        try ledger.withLock { ledger in
            guard let image = read({ $0.image(manifest: manifest) }) else { return false }
            try change(&ledger) { $0.insert(image.named(name)) }
            return true
        }
    }

    /// Takes a name away and discards what nothing uses any more; nil when there is no such name.
    func unlist(_ reference: String) throws -> Discarded? {
        try ledger.withLock { ledger in
            let before = read { $0 }
            var wasThere = false
            try change(&ledger) { wasThere = $0.remove(reference: reference) }
            guard wasThere else { return nil }
            let now = Set(read { $0.images }.map(\.manifestDigest))
            let gone = before.images.filter { !now.contains($0.manifestDigest) }
            return discard(
                blobs: Set(gone.flatMap(\.blobDigests)),
                layers: Set(gone.flatMap { $0.layers.map(\.diffID) }), &ledger)
        }
    }

    /// Edits the catalog, on the disk first; under the ledger's lock.
    private func change(_ ledger: inout Ledger, _ edit: (inout ImageCatalog) -> Void) throws {
        let before = read { $0 }
        var changed = before
        edit(&changed)
        guard !changed.hasSameIndex(as: before) else { return }
        try changed.write(to: folders)
        catalog.withLock { $0 = changed }
        ledger.listed = Inventory.blobs(of: changed)
    }

    // MARK: Counting on what is there

    /// Pins a blob if it is in use already, and so whole and durable; false when it is not.
    func pinUsed(blob digest: Digest) -> Bool {
        ledger.withLock { ledger in
            guard ledger.uses(digest), folders.blobSize(digest) != nil else { return false }
            ledger.blobs.add(digest)
            return true
        }
    }

    /// Pins a blob, whether it is there or not.
    func pin(blob digest: Digest) {
        ledger.withLock { $0.blobs.add(digest) }
    }

    /// Pins a layer, whether it is there or not; true when it is.
    func pin(layer diffID: Digest) -> Bool {
        ledger.withLock { ledger in
            ledger.layers.add(diffID)
            return folders.hasLayer(diffID)
        }
    }

    /// Gives up pins, and discards what only they kept, and what was brought and got no use.
    func unpin(
        blobs: Set<Digest>, layers: Set<Digest>, broughtBlobs: Set<Digest>,
        broughtLayers: Set<Digest>
    ) -> Discarded {
        ledger.withLock { ledger in
            let unusedBlobs = broughtBlobs.union(blobs.filter { ledger.blobs.remove($0) })
            let unusedLayers = broughtLayers.union(layers.filter { ledger.layers.remove($0) })
            return discard(blobs: unusedBlobs, layers: unusedLayers, &ledger)
        }
    }

    /// Puts a received and verified blob in its place, safe against a power cut.
    ///
    /// It stays until an image that names it is listed, and then as long as that image.
    func keep(_ file: StagedFile, asReceived digest: Digest) throws {
        let isFirst = ledger.withLock { $0.received.insert(digest).inserted }
        do {
            try folders.keep(file, asBlob: digest)
        } catch {
            // What an image gave up meanwhile is removed at the next start.
            if isFirst { ledger.withLock { _ = $0.received.remove(digest) } }
            throw error
        }
    }

    // MARK: Taking away

    /// Takes a container's folder away and discards the layers that only its record used;
    /// nothing happens when there is none.
    func removeRoot(_ id: String) throws -> Discarded {
        try ledger.withLock { ledger in
            // One that cannot be read: the next start removes what nothing names.
            let record = try? folders.rootRecord(id)
            var discarded = Discarded()
            guard let name = try folders.withdraw(id, from: folders.containersFolder) else {
                return discarded
            }
            discarded.names.append(name)
            discarded.add(discard(blobs: [], layers: Set(record?.layers ?? []), &ledger))
            return discarded
        }
    }

    /// Moves those of these that have no use to `staging/`; under the ledger's lock.
    private func discard(
        blobs: Set<Digest>, layers: Set<Digest>, _ ledger: inout Ledger
    ) -> Discarded {
        var discarded = Discarded()
        guard !blobs.isEmpty || !layers.isEmpty else { return discarded }
        let idle = blobs.subtracting(ledger.listed).subtracting(ledger.received)
        for digest in idle where !ledger.blobs.saves(digest) {
            discarded.attempt { try folders.withdraw(blob: digest) }
        }
        guard !layers.isEmpty, let used = folders.layersInUse(read { $0 }) else {
            return discarded
        }
        for digest in layers.subtracting(used) where !ledger.layers.saves(digest) {
            discarded.attempt { try folders.withdraw(layer: digest) }
        }
        return discarded
    }
}

/// How many pins each digest has, and which of them nothing but a pin keeps.
private struct Pins {
    private var counts: [Digest: Int] = [:]
    private var saved: Set<Digest> = []

    func has(_ digest: Digest) -> Bool { counts[digest] != nil }

    mutating func add(_ digest: Digest) {
        counts[digest, default: 0] += 1
    }

    /// Takes one pin away; true when it was the last and had saved the digest from going.
    mutating func remove(_ digest: Digest) -> Bool {
        guard let count = counts[digest], count == 1 else {
            counts[digest]? -= 1
            return false
        }
        counts[digest] = nil
        return saved.remove(digest) != nil
    }

    /// True when a pin keeps what would go now; it is remembered for the last pin's end.
    mutating func saves(_ digest: Digest) -> Bool {
        guard has(digest) else { return false }
        saved.insert(digest)
        return true
    }
}

/// What was taken away and lies in `staging/`: to be removed by who has the time.
///
/// After a crash the next start removes it.
struct Discarded: Sendable {
    /// Names in `staging/`.
    var names: [String] = []
    /// The first thing that could not be taken away; the next start tries again.
    private(set) var failure: (any Error)?

    /// True when there is nothing to remove and nothing failed.
    var isEmpty: Bool { names.isEmpty && failure == nil }

    /// Adds the name that a withdrawal gives, or remembers its failure.
    mutating func attempt(_ withdraw: () throws -> String?) {
        do {
            if let name = try withdraw() { names.append(name) }
        } catch {
            failure = failure ?? error
        }
    }

    /// Adds another's.
    mutating func add(_ other: Discarded) {
        names += other.names
        failure = failure ?? other.failure
    }

    /// Removes it for good, which may take long.
    ///
    /// Throws the first failure, after trying all.
    func remove(from folders: StoreFolders) throws {
        var failure = failure
        for name in names {
            do { try folders.removeStaged(name) } catch { failure = failure ?? error }
        }
        if let failure { throw failure }
    }
}
