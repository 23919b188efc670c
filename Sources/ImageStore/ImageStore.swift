import Base

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
/// on the disk; whatever fails before that leaves nothing behind.
///
/// Containers' roots and names of images are handled on the store's own thread, where nothing takes
/// long. Loading, adopting and unpacking run on a second thread, one piece after another; blobs are
/// read and received on a third; what was taken away is removed on a fourth. So a root is mounted
/// and unmounted also while an image of gigabytes is unpacked. What is listed can be asked at any
/// time from any thread. What makes it safe that one thread needs what another takes away is the
/// rule of `Inventory`.
package actor ImageStore {
    /// The store's folder, without symbolic links.
    package nonisolated let root: String
    /// The bounds in force.
    package nonisolated let limits: ImageLimits

    nonisolated let inventory: Inventory
    nonisolated let folders: StoreFolders
    nonisolated let blobs: BlobFolder
    nonisolated let loader: ImageLoader
    nonisolated let sweeper: Sweeper
    /// Numbers of the mounts that wait for layers, by container; an unmount ends them.
    var waitingMounts: [String: Set<Int>] = [:]
    var mountsBegun = 0
    private let executor: ThreadExecutor

    package nonisolated var unownedExecutor: UnownedSerialExecutor {
        executor.asUnownedSerialExecutor()
    }

    /// Opens the store in a folder, or makes one there (mode 0700).
    ///
    /// Removes what an earlier run left half-written or half-unpacked. Containers' roots are not
    /// touched: their containers may be running. Throws when the folder cannot be used, or when
    /// its index.json cannot be read; no blob is removed then.
    ///
    /// `onStep` hears what the work that takes long is about to do, on the thread that does it:
    /// the work waits until it returns.
    package init(
        root: String, limits: ImageLimits = ImageLimits(),
        onStep: @escaping @Sendable (ImageStep) -> Void = { _ in }
    ) throws {
        let folders = try StoreFolders(root: root, limits: limits)
        self.root = folders.path
        self.limits = limits
        self.folders = folders
        try folders.emptyStaging()
        let restored = try ImageCatalog(restoring: folders)
        inventory = Inventory(folders: folders, catalog: restored)
        blobs = try BlobFolder(inventory: inventory)
        loader = try ImageLoader(inventory: inventory, onStep: onStep)
        sweeper = try Sweeper(folders: folders)
        executor = try ThreadExecutor(name: "images")
        try ImageStore.discardStrays(folders, catalog: restored)
    }

    /// All images, sorted by reference; an image with two references is there twice.
    package nonisolated func images() -> [StoredImage] {
        inventory.read { $0.images }
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
        return inventory.read { $0.image(reference: name) }
    }

    /// The image with this manifest, under the first of its references.
    package nonisolated func image(manifest digest: Digest) -> StoredImage? {
        inventory.read { $0.image(manifest: digest) }
    }

    /// What was wrong with images that could not be opened at start, one sentence each.
    ///
    /// They are not listed; loading them again repairs them.
    package nonisolated func damages() -> [String] {
        inventory.read { $0.damages }
    }

    /// Loads the images of an archive: an OCI image layout or the output of `docker save`, as a
    /// folder, a tar, or a tar compressed with gzip, zstd, xz or bzip2.
    ///
    /// `references`, when given, replace the names that the archive gives; it must then hold one
    /// image. All or nothing: on failure nothing of the archive stays. Loading again what is here
    /// changes nothing.
    package nonisolated func load(
        archive path: String, references: [String] = []
    ) async throws -> [StoredImage] {
        try await loader.load(archive: path, references: references)
    }

    /// Gives an image a further name; one that another image had moves to this one.
    package func tag(reference: String, manifest: Digest) throws {
        let name = try ImageName.parse(reference).text
        guard try inventory.tag(name, manifest: manifest) else {
            throw ImageError(
                .notFound,
                "could not tag \(reference): no image with manifest \(manifest) is here; "
                    + "load it first")
        }
    }

    /// Takes a name away.
    ///
    /// With the last name of an image its blobs and layers go too, unless another image or a
    /// container's root still uses them. What a load counts on goes when the load has ended, unless
    /// the image it brings uses it.
    package func remove(reference: String) async throws {
        let name = try ImageName.listed(reference)
        guard let discarded = try inventory.unlist(name) else {
            throw ImageError(
                .notFound,
                "could not remove \(reference): no image of that name is here; "
                    + "`shoal images` lists them")
        }
        try await sweep(discarded)
    }

    /// Has what was discarded removed, in its turn; throws the first failure, after trying all.
    func sweep(_ discarded: Discarded) async throws {
        // Nothing must not wait behind a tree of a million files.
        if !discarded.isEmpty { try await sweeper.sweep(discarded) }
    }

    /// Removes blobs and layers that nothing names.
    ///
    /// A crash between two steps left them, or a transfer that was not completed. With a missing
    /// or damaged index nothing is removed.
    private static func discardStrays(_ folders: StoreFolders, catalog: ImageCatalog) throws {
        guard catalog.isComplete else { return }
        var strays = Discarded()
        let blobs = Set(catalog.images.flatMap(\.blobDigests))
        for name in try folders.blobs.names(naming: "the blob folder") {
            guard let digest = Digest(hexadecimal: name), !blobs.contains(digest) else { continue }
            strays.attempt { try folders.withdraw(blob: digest) }
        }
        if let layers = folders.layersInUse(catalog) {
            for name in try folders.layers.names(naming: "the layer folder") {
                guard
                    let digest = Digest(hexadecimal: name), !layers.contains(digest)
                else { continue }
                strays.attempt { try folders.withdraw(layer: digest) }
            }
        }
        try strays.remove(from: folders)
    }
}
