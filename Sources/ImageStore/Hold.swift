/// The pins of one piece of work: what it has found and counts on, and what it has brought.
///
/// Not for use from two threads. Ends with `release`, on success as on failure; what an end
/// without it discards is removed at the next start.
final class Hold {
    private let inventory: Inventory
    private var blobs: Set<Digest> = []
    private var layers: Set<Digest> = []
    private var broughtBlobs: Set<Digest> = []
    private var broughtLayers: Set<Digest> = []

    init(_ inventory: Inventory) {
        self.inventory = inventory
    }

    deinit {
        _ = release()
    }

    /// True when a blob is in use and here; it then stays until `release`.
    func finds(blob digest: Digest) -> Bool {
        if blobs.contains(digest) { return inventory.folders.blobSize(digest) != nil }
        guard inventory.pinUsed(blob: digest) else { return false }
        blobs.insert(digest)
        return true
    }

    /// Lets a blob stay until `release`, if it is here.
    func keep(blob digest: Digest) {
        if blobs.insert(digest).inserted { inventory.pin(blob: digest) }
    }

    /// True when a layer is here; it then stays until `release`.
    func finds(layer diffID: Digest) -> Bool {
        guard layers.insert(diffID).inserted else { return inventory.folders.hasLayer(diffID) }
        return inventory.pin(layer: diffID)
    }

    /// Says that a blob is about to be put in its place; it goes at `release` if it has no use.
    func brings(blob digest: Digest) {
        keep(blob: digest)
        broughtBlobs.insert(digest)
    }

    /// Says that a layer is about to be put in its place; it goes at `release` if it has no use.
    func brings(layer diffID: Digest) {
        if layers.insert(diffID).inserted { _ = inventory.pin(layer: diffID) }
        broughtLayers.insert(diffID)
    }

    /// Gives up all pins, and discards what only they kept.
    func release() -> Discarded {
        defer { (blobs, layers, broughtBlobs, broughtLayers) = ([], [], [], []) }
        return inventory.unpin(
            blobs: blobs, layers: layers, broughtBlobs: broughtBlobs,
            broughtLayers: broughtLayers)
    }
}
