import Base
import Synchronization

/// Keeps images by digest, unpacks their layers once, and mounts a root for each container.
///
/// The folder is an OCI image layout (image-layout.md of the OCI image specification 1.1) with
/// three more folders:
///
/// ```
/// index.json  oci-layout  blobs/sha256/<digest>      the layout; index.json names the images
/// layers/<diffID>/                                   unpacked layers, in overlayfs's form
/// l/<short>                                          links to layers, short for mount(2)
/// containers/<id>/{image,upper,work,merged}          one container's root
/// staging/                                           what is half-written; emptied at start
/// ```
///
/// An image is listed only when all its blobs are verified, its layers unpacked, and all of it is
/// on the disk; whatever fails before that leaves nothing behind. Work that takes long runs on a
/// thread of its own, one piece after another; what is listed can be asked at any time from any
/// thread, and blobs are read and received on a second thread, also while an image is unpacked.
package actor ImageStore {
    /// The store's folder, without symbolic links.
    package nonisolated let root: String
    /// The bounds in force.
    package nonisolated let limits: ImageLimits

    nonisolated let catalog = Mutex(ImageCatalog())
    nonisolated let folders: StoreFolders
    nonisolated let blobs: BlobFolder
    private let executor: ThreadExecutor

    package nonisolated var unownedExecutor: UnownedSerialExecutor {
        executor.asUnownedSerialExecutor()
    }

    /// Opens the store in a folder, or makes one there (mode 0700).
    ///
    /// Removes what an earlier run left half-written or half-unpacked. Containers' roots are not
    /// touched: their containers may be running. Throws when the folder cannot be used, or when
    /// its index.json cannot be read; no blob is removed then.
    package init(root: String, limits: ImageLimits = ImageLimits()) throws {
        let folders = try StoreFolders(root: root, limits: limits)
        self.root = folders.path
        self.limits = limits
        self.folders = folders
        blobs = try BlobFolder(folders: folders)
        executor = try ThreadExecutor(name: "images")
        try folders.emptyStaging()
        let restored = try ImageCatalog(restoring: folders)
        catalog.withLock { $0 = restored }
        try ImageStore.discardStrays(folders, catalog: restored)
    }

    /// All images, sorted by reference; an image with two references is there twice.
    package nonisolated func images() -> [StoredImage] {
        catalog.withLock { $0.images }
    }

    /// The image a reference names.
    ///
    /// `web` means `web:latest`, and `docker.io/demo/web:1` is `demo/web:1`. A reference may also
    /// be `name@sha256:…` or the manifest digest alone.
    package nonisolated func image(reference: String) -> StoredImage? {
        if let at = reference.lastIndex(of: "@") {
            return Digest(reference[reference.index(after: at)...]).flatMap(image(manifest:))
        }
        if let digest = Digest(reference) { return image(manifest: digest) }
        guard let name = ImageName(reference)?.text else { return nil }
        return catalog.withLock { $0.image(reference: name) }
    }

    /// The image with this manifest, under the first of its references.
    package nonisolated func image(manifest digest: Digest) -> StoredImage? {
        catalog.withLock { $0.image(manifest: digest) }
    }

    /// What was wrong with images that could not be opened at start, one sentence each.
    ///
    /// They are not listed; loading them again repairs them.
    package nonisolated func damages() -> [String] {
        catalog.withLock { $0.damages }
    }

    /// Gives an image a further name; one that another image had moves to this one.
    package func tag(reference: String, manifest: Digest) throws {
        let name = try ImageName.parse(reference).text
        guard let image = image(manifest: manifest) else {
            throw ImageError(
                .notFound,
                "could not tag \(reference): no image with manifest \(manifest) is here; "
                    + "load it first")
        }
        try record([image.named(name)])
    }

    /// Takes a name away.
    ///
    /// With the last name of an image its blobs and layers go too, unless another image or a
    /// container's root still uses them.
    package func remove(reference: String) throws {
        let name = try ImageName.listed(reference)
        var changed = catalog.withLock { $0 }
        guard changed.remove(reference: name) else {
            throw ImageError(
                .notFound,
                "could not remove \(reference): no image of that name is here; "
                    + "`shoal images` lists them")
        }
        let before = catalog.withLock { $0 }
        try changed.write(to: folders)
        catalog.withLock { $0 = changed }
        try discardUnused(from: before)
    }

    /// Lists images and writes the index; on failure nothing has changed.
    func record(_ images: [StoredImage]) throws {
        let before = catalog.withLock { $0 }
        var changed = before
        for image in images { changed.insert(image) }
        guard changed.images != before.images else { return }
        try changed.write(to: folders)
        catalog.withLock { $0 = changed }
    }

    // MARK: Removing what nothing uses

    /// Removes blobs and layers that nothing names.
    ///
    /// A crash between two steps left them, or a transfer that was not completed. With a missing
    /// or damaged index nothing is removed.
    private static func discardStrays(_ folders: StoreFolders, catalog: ImageCatalog) throws {
        guard catalog.isComplete else { return }
        let blobs = Set(catalog.images.flatMap(\.blobDigests))
        for name in try folders.blobs.names(naming: "the blob folder") {
            guard let digest = Digest(hexadecimal: name), !blobs.contains(digest) else { continue }
            try folders.removeBlob(digest)
        }
        guard let layers = folders.layersInUse(catalog) else { return }
        for name in try folders.layers.names(naming: "the layer folder") {
            guard let digest = Digest(hexadecimal: name), !layers.contains(digest) else { continue }
            try folders.removeLayer(digest)
        }
    }

    /// Removes blobs and layers that the catalog `before` used and nothing uses any more.
    private func discardUnused(from before: ImageCatalog) throws {
        let now = catalog.withLock { $0 }
        let blobsKept = Set(now.images.flatMap(\.blobDigests))
        for digest in Set(before.images.flatMap(\.blobDigests)).subtracting(blobsKept) {
            try folders.removeBlob(digest)
        }
        try discardLayers(Set(before.images.flatMap { $0.layers.map(\.diffID) }))
    }

    /// Removes those of these unpacked layers that neither an image nor a container's root uses.
    func discardLayers(_ candidates: Set<Digest>) throws {
        guard let kept = folders.layersInUse(catalog.withLock { $0 }) else { return }
        for digest in candidates.subtracting(kept) { try folders.removeLayer(digest) }
    }
}
