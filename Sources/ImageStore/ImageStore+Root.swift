extension ImageStore {
    /// Mounts a root file system for a container and returns its path.
    ///
    /// The image's layers are below, read-only; what the container writes goes to a folder of its
    /// own. Idempotent while mounted; a root that an earlier run left unmounted starts empty
    /// again. Refused with `.inUse` when the id has a mounted root of another image.
    package func mountRoot(container id: String, image manifest: Digest) async throws -> String {
        throw ImageError(.unsupported, "could not mount \(id)")
    }

    /// Unmounts a container's root and removes what the container wrote. Idempotent.
    ///
    /// The caller has stopped the container. Refused with `.inUse` while a process of this mount
    /// namespace still has a file in the root open.
    package func unmountRoot(container id: String) async throws {
    }

    /// The containers whose roots are mounted in this mount namespace, sorted.
    package nonisolated func mountedRoots() -> [String] {
        []
    }

    /// The containers that have a folder here, mounted or not, sorted: what a crash or a reboot
    /// left behind is among them, and `unmountRoot` removes it.
    package nonisolated func knownRoots() -> [String] {
        []
    }
}
