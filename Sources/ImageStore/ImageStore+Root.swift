import CLinux
import Glibc

extension ImageStore {
    /// Mounts a root file system for a container and returns its path.
    ///
    /// The image's layers are below, read-only; what the container writes goes to a folder of its
    /// own. Idempotent while mounted; a root that an earlier run left unmounted starts empty
    /// again. Refused with `.inUse` when the id has a mounted root of another image.
    ///
    /// Waits for no load, unless a layer of this very image was lost from the disk and must be
    /// unpacked again; `unmountRoot` ends that wait with `.notFound`.
    package func mountRoot(container id: String, image manifest: Digest) async throws -> String {
        let attempt = "mount the root of container \(printable(id.utf8))"
        guard StoreFolders.isContainerID(id) else {
            throw ImageError(
                .refused,
                "could not \(attempt): an id has 1 to 128 letters, digits, dots, hyphens and "
                    + "underscores")
        }
        return try await holding { hold in
            while true {
                if let path = try mountedRoot(id, image: manifest, attempt: attempt) {
                    return path
                }
                guard let image = image(manifest: manifest) else {
                    throw ImageError(
                        .notFound,
                        "could not \(attempt): no image with manifest \(manifest) is here")
                }
                let missing = image.layers.filter { !hold.finds(layer: $0.diffID) }
                if missing.isEmpty {
                    return try makeRoot(id, of: image, attempt: attempt)
                }
                try await restoreLayers(of: image, for: id, attempt: attempt)
            }
        }
    }

    /// The path of a root that is mounted; nil when none is.
    private func mountedRoot(_ id: String, image: Digest, attempt: String) throws -> String? {
        guard isMounted(id) else { return nil }
        guard try folders.rootRecord(id)?.manifest == image else {
            throw ImageError(
                .inUse,
                "could not \(attempt): it is mounted with another image; stop the container "
                    + "and unmount its root first")
        }
        return mergedPath(id)
    }

    /// Does something with pins of its own, and then removes what only they kept.
    private func holding<Result>(
        _ body: (Hold) async throws -> Result
    ) async throws -> Result {
        let hold = Hold(inventory)
        do {
            let result = try await body(hold)
            // Best effort: the next start removes what nothing names.
            try? await sweep(hold.release())
            return result
        } catch {
            try? await sweep(hold.release())
            throw error
        }
    }

    /// Waits until the layers are unpacked again; throws when the root is unmounted meanwhile.
    private func restoreLayers(
        of image: StoredImage, for id: String, attempt: String
    ) async throws {
        mountsBegun += 1
        let number = mountsBegun
        waitingMounts[id, default: []].insert(number)
        defer {
            waitingMounts[id]?.remove(number)
            if waitingMounts[id]?.isEmpty == true { waitingMounts[id] = nil }
        }
        try await loader.restoreLayers(of: image)
        guard waitingMounts[id]?.contains(number) == true else {
            throw ImageError(
                .notFound,
                "could not \(attempt): it was unmounted while its layers were unpacked again")
        }
    }

    /// Unmounts a container's root and removes what the container wrote; idempotent.
    ///
    /// The caller has stopped the container. Refused with `.inUse` while a process of this mount
    /// namespace still has a file in the root open.
    package func unmountRoot(container id: String) async throws {
        guard StoreFolders.isContainerID(id) else { return }
        waitingMounts[id] = nil
        // A child that is just being started has copies of this process's descriptors until its
        // exec, and keeps the root busy for that moment: hence the short patience.
        var patience = 50
        while isMounted(id) {
            let status = clinux_image_unmount(mergedPath(id))
            if status == -EBUSY, patience > 0 {
                patience -= 1
                usleep(20_000)
                continue
            }
            guard status == 0 else {
                throw ImageError(
                    attempt: "unmount the root of container \(id) (is it stopped?)", code: -status)
            }
        }
        try await sweep(inventory.removeRoot(id))
    }

    /// The containers whose roots are mounted in this mount namespace, sorted; empty when the
    /// kernel's table cannot be read.
    package nonisolated func mountedRoots() -> [String] {
        let mounted = Set((try? MountTable.current())?.overlays ?? [])
        return knownRoots().filter { mounted.contains(mergedPath($0)) }
    }

    /// The containers that have a folder here, mounted or not, sorted.
    ///
    /// What a crash or a reboot left behind is among them, and `unmountRoot` removes it.
    package nonisolated func knownRoots() -> [String] {
        (try? folders.containers()) ?? []
    }

    private nonisolated func isMounted(_ id: String) -> Bool { mountedRoots().contains(id) }

    private nonisolated func mergedPath(_ id: String) -> String {
        "\(root)/containers/\(id)/merged"
    }

    /// Mounts a root of layers that are there and pinned; nothing stays when it fails.
    private func makeRoot(_ id: String, of image: StoredImage, attempt: String) throws -> String {
        var discarded = try inventory.removeRoot(id)
        // A start need not wait until what the former root left is removed.
        defer {
            if !discarded.isEmpty {
                Task { [sweeper, discarded] in try? await sweeper.sweep(discarded) }
            }
        }
        do {
            try mountLayers(id, of: image, attempt: attempt)
        } catch {
            if let rest = try? inventory.removeRoot(id) { discarded.add(rest) }
            throw error
        }
        return mergedPath(id)
    }

    private func mountLayers(_ id: String, of image: StoredImage, attempt: String) throws {
        let layers = overlayOrder(image.layers)
        guard mkdirat(folders.containersFolder.descriptor, id, 0o700) == 0,
            let folder = try folders.containerFolder(id)
        else { throw ImageError(attempt: attempt, code: errno) }
        try folders.writeRecord(
            RootRecord(manifest: image.manifestDigest, layers: layers), in: folder)
        for name in ["upper", "work", "merged"] {
            guard mkdirat(folder.descriptor, name, 0o755) == 0 else {
                throw ImageError(attempt: attempt, code: errno)
            }
        }
        try copyRootMode(from: layers, to: folder, attempt: attempt)
        let lower = try layers.map { try folders.shortLink($0, making: true) ?? $0.hexadecimal }
        // Overlayfs's index would refuse layers that several roots share (EBUSY).
        let index = access("/sys/module/overlay/parameters/index", F_OK) == 0 ? ",index=off" : ""
        let options =
            "lowerdir=\(lower.joined(separator: ":")),upperdir=../containers/\(id)/upper,"
            + "workdir=../containers/\(id)/work\(index)"
        guard options.utf8.count < 4_096 else {
            throw ImageError(
                .refused,
                "could not \(attempt): the names of its \(layers.count) layers do not fit into one "
                    + "page; build the image with fewer layers")
        }
        // Only this thread's working folder: short names are the point.
        let before = try OpenFile(path: ".", flags: O_RDONLY | O_DIRECTORY, attempt: attempt)
        guard fchdir(folders.links.descriptor) == 0 else {
            throw ImageError(attempt: attempt, code: errno)
        }
        defer { _ = fchdir(before.descriptor) }
        let status = clinux_image_mount_overlay(mergedPath(id), options)
        guard status == 0 else { throw ImageError(attempt: attempt, code: -status) }
    }

    /// The layers from the top down, each once.
    ///
    /// Overlayfs refuses a folder that is there twice. Of a repeated layer the upper place counts:
    /// whatever the lower one adds, the upper one adds again.
    private func overlayOrder(_ layers: [StoredImage.Layer]) -> [Digest] {
        var seen: Set<Digest> = []
        return layers.reversed().map(\.diffID).filter { seen.insert($0).inserted }
    }

    /// The root of the mount has the owner and mode of the upper folder, so they are taken from
    /// the topmost layer.
    private func copyRootMode(
        from layers: [Digest], to folder: OpenFile, attempt: String
    ) throws {
        guard let top = layers.first else { return }
        let upper = try OpenFile(
            in: folder, "upper", flags: O_RDONLY | O_DIRECTORY, attempt: attempt)
        let facts = try OpenFile(
            in: folders.layers, top.hexadecimal, flags: O_RDONLY | O_DIRECTORY, attempt: attempt
        ).status(naming: "layer \(top)")
        guard
            fchown(upper.descriptor, facts.st_uid, facts.st_gid) == 0,
            fchmod(upper.descriptor, facts.st_mode & 0o7777) == 0
        else { throw ImageError(attempt: attempt, code: errno) }
    }
}
