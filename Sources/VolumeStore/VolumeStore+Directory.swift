import CLinux
import ClusterModel
import Glibc
import VolumePlan

/// Volumes of class `directory`: folders of the host's file system.
///
/// Where that counts by project, the kernel keeps the limit, and the folder is bound to its path.
/// Elsewhere it is mounted through an overlay of its own: a bind mount's read-only flag holds for
/// that mount alone, not for the container's copy of it, while an overlay is a file system that
/// turns read-only for everybody at once.
extension VolumeStore {
    /// The volume's own files.
    func contentPath(_ record: VolumeRecord) -> String { "\(directoryPath(record))/content" }

    private func directoryPath(_ record: VolumeRecord) -> String {
        "\(path)/\(record.state.isTrashed ? "trash" : "data")/\(record.id)"
    }

    /// A project for a new volume; 0 where the disk does not count by project, and for the other
    /// classes.
    func newProject(_ volumeClass: VolumeClass) throws(VolumeError) -> UInt32 {
        guard volumeClass == .directory,
            clinux_volume_has_project_quota(folders.data.descriptor) == 1
        else { return 0 }
        // High enough to stay clear of what administrators number by hand.
        var random = SystemRandomNumberGenerator()
        while true {
            let project = UInt32.random(in: 0x1000_0000...0x7FFF_FFFF, using: &random)
            if !records.values.contains(where: { $0.project == project }) { return project }
        }
    }

    /// Makes the folders of a volume that was just recorded.
    func makeDirectory(_ record: VolumeRecord, attempt: String) throws(VolumeError) {
        checkpoint("make folder")
        let name = backingName(record)
        guard mkdirat(folders.data.descriptor, name, 0o700) == 0 else {
            if errno == EEXIST {
                throw .foreign(
                    path: directoryPath(record), what: "a file, a folder or a symbolic link")
            }
            throw .system(attempt: attempt, code: errno)
        }
        let folder = try OpenFile(
            in: folders.data, name, flags: O_RDONLY | O_DIRECTORY, attempt: attempt)
        for name in ["content", "work", "empty"] {
            guard mkdirat(folder.descriptor, name, 0o755) == 0 else {
                throw .system(attempt: attempt, code: errno)
            }
        }
        checkpoint("limit folder")
        try limitDirectory(record, attempt: attempt)
        try folder.synchronize(attempt: attempt)
        try folders.data.synchronize(attempt: attempt)
    }

    /// What a volume may take: a copy that is under way twice its capacity, for what is replaced in
    /// it, and for an original that is above a soft limit.
    func limit(of record: VolumeRecord) -> Int {
        record.size * (record.state == .receiving ? 2 : 1)
    }

    /// Tells the kernel the limit of a volume that has a project.
    func limitDirectory(_ record: VolumeRecord, attempt: String) throws(VolumeError) {
        guard record.project != 0 else { return }
        let content = try openContent(record, attempt: attempt)
        var status = clinux_volume_set_project(content.descriptor, record.project)
        if status == 0 {
            status = clinux_volume_limit_project(
                content.descriptor, record.project, UInt64(limit(of: record)))
        }
        guard status == 0 else { throw .system(attempt: attempt, code: -status) }
    }

    /// Opens the volume's own files, and no others.
    func openContent(_ record: VolumeRecord, attempt: String) throws(VolumeError) -> OpenFile {
        let parent = record.state.isTrashed ? folders.trash : folders.data
        let folder = try OpenFile(
            in: parent, backingName(record), flags: O_RDONLY | O_DIRECTORY, attempt: attempt)
        return try OpenFile(
            in: folder, "content", flags: O_RDONLY | O_DIRECTORY, attempt: attempt)
    }

    func mountDirectory(
        _ record: VolumeRecord, at target: String, options: VolumeMountOptions
    ) throws(VolumeError) {
        let attempt = "mount \(record.name)"
        _ = try openContent(record, attempt: attempt)
        guard record.project == 0 else {
            return try bindDirectory(record, at: target, options: options, attempt: attempt)
        }
        let folder = directoryPath(record)
        // The index would tie the folders to each other, and refuse a restored copy.
        let index = access("/sys/module/overlay/parameters/index", F_OK) == 0 ? ",index=off" : ""
        let text =
            "lowerdir=\(folder)/empty,upperdir=\(folder)/content,workdir=\(folder)/work\(index)"
        let status = clinux_volume_mount("overlay", target, "overlay", options.flags, text)
        guard status != -ENODEV else {
            throw .kernelLacks(
                feature: "volumes of class directory", cause: "it does not know overlayfs",
                advice: "load the module with `modprobe overlay`")
        }
        guard status != -EINVAL else {
            throw .kernelLacks(
                feature: "volumes of class directory in \(path)",
                cause: "the file system there cannot carry an overlay",
                advice: "keep the volumes on ext4, xfs or btrfs")
        }
        guard status == 0 else { throw .system(attempt: attempt, code: -status) }
    }

    private func bindDirectory(
        _ record: VolumeRecord, at target: String, options: VolumeMountOptions, attempt: String
    ) throws(VolumeError) {
        var status = clinux_volume_mount(
            contentPath(record), target, "none", UInt(MS_BIND), nil)
        guard status == 0 else { throw .system(attempt: attempt, code: -status) }
        checkpoint("bound")
        let flags = options.flags | UInt(MS_BIND) | UInt(MS_REMOUNT)
        status = clinux_volume_mount("none", target, "none", flags, nil)
        guard status == 0 else {
            clinux_volume_unmount(target)
            throw .system(attempt: attempt, code: -status)
        }
    }

    /// Copies a detached volume's files into the new folder of another.
    func copyDirectory(
        _ origin: VolumeRecord, to copy: VolumeRecord, attempt: String,
        progress: VolumeProgressHandler?
    ) async throws {
        guard case .free = try presence(origin) else {
            throw VolumeError.attached(
                origin.name, attempt: "copy",
                cause: "the host's file system cannot hold its writers back; detach it first, or "
                    + "keep such data in a volume of class loop or lvm")
        }
        try makeDirectory(copy, attempt: attempt)
        let total = try await measure(origin).used
        try await copyTree(
            contentPath(origin), to: contentPath(copy), name: origin.name, total: total,
            progress: progress)
        try synchronizeFileSystem(at: contentPath(copy), attempt: attempt)
    }

    /// Removes a volume's folder with all that is in it.
    func removeDirectory(_ record: VolumeRecord) async throws {
        for (folder, name) in [(folders.data, "data"), (folders.trash, "trash")] {
            let attempt = "remove \(path)/\(name)/\(record.id)"
            guard let facts = try folder.status(of: backingName(record), attempt: attempt) else {
                continue
            }
            guard isFolder(facts.st_mode) else {
                throw VolumeError.foreign(
                    path: "\(path)/\(name)/\(record.id)", what: "no folder")
            }
            if record.project != 0 {
                // The number may be given out again.
                _ = clinux_volume_limit_project(folder.descriptor, record.project, 0)
            }
            try await unseal("\(path)/\(name)/\(record.id)/content", attempt: attempt)
            try await tools.check(
                ["rm", "-rf", "--one-file-system", "--", "\(path)/\(name)/\(record.id)"],
                attempt: attempt, diesWithUs: true)
            try folder.synchronize(attempt: attempt)
        }
        measured[record.id] = nil
    }

    // MARK: - How much

    /// Measures what a `directory` volume uses: asks the kernel where it counts, else looks at every
    /// file.
    @discardableResult
    func measure(_ record: VolumeRecord) async throws -> VolumeUsage {
        let attempt = "measure \(record.name)"
        let content = try openContent(record, attempt: attempt)
        let used: Int
        if record.project != 0 {
            let bytes = clinux_volume_project_usage(content.descriptor, record.project)
            guard bytes >= 0 else {
                throw VolumeError.system(attempt: attempt, code: Int32(-bytes))
            }
            used = Int(bytes)
        } else {
            // 1: a file went away while du looked, which happens to files in use.
            let result = try await tools.check(
                ["du", "-s", "-x", "--block-size=1", "--", contentPath(record)],
                attempt: attempt, accepted: [0, 1], diesWithUs: true)
            guard let bytes = Int(result.outputText.prefix { $0.isNumber }) else {
                throw VolumeError.tool(
                    attempt: attempt, cause: "du said `\(result.outputText.prefix(100))`")
            }
            used = bytes
        }
        let usage = VolumeUsage(used: used, capacity: record.size, allocated: used)
        measured[record.id] = usage
        return usage
    }

    // MARK: - Sealing

    /// Takes the right to write away from files that programs hold open, where the host's file
    /// system can do that: ext4 refuses writes to what is marked immutable, also through files that
    /// were opened before.
    func seal(_ record: VolumeRecord, inodes: [UInt64], attempt: String) async throws {
        let content = try openContent(record, attempt: attempt)
        guard clinux_volume_is_ext4(content.descriptor) == 1, !inodes.isEmpty else { return }
        var tests: [String] = []
        for inode in inodes.prefix(256) {
            tests += (tests.isEmpty ? [] : ["-o"]) + ["-inum", "\(inode)"]
        }
        try await tools.check(
            ["find", contentPath(record), "-xdev", "-type", "f", "("] + tests
                + [")", "-exec", "chattr", "+i", "--", "{}", "+"],
            attempt: attempt, diesWithUs: true)
    }

    /// Gives the right to write back to all files below a folder; fine when none had lost it.
    func unseal(_ content: String, attempt: String) async throws {
        guard let folder = try? OpenFile(content, flags: O_RDONLY | O_DIRECTORY, attempt: attempt),
            clinux_volume_is_ext4(folder.descriptor) == 1
        else { return }
        try await tools.check(
            ["find", content, "-xdev", "-type", "f", "-exec", "chattr", "-i", "--", "{}", "+"],
            attempt: attempt, diesWithUs: true)
    }
}
