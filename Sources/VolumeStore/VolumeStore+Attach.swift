import CLinux
import Glibc
import VolumePlan

/// Where a volume's content is in use.
enum VolumePresence: Sendable {
    /// Nowhere.
    case free
    /// Mounted here, at these places.
    case mounted([MountEntry])
    /// In use, but not by a mount that this process can see: the path of its device, and the
    /// numbers of all of its devices.
    case elsewhere(device: String, numbers: [String])
}

extension VolumeStore {
    /// How long to wait for the last user of a volume to go.
    private static let patience = 100
    private static let patienceStep = Duration.milliseconds(20)

    /// Mounts a volume at its stable path, and says where; fine when it is mounted there already,
    /// and then its options stay as they are.
    ///
    /// Throws `inUse` when the volume is mounted anywhere else: never twice. A snapshot is mounted
    /// read-only, whatever the options say.
    package func attach(
        _ name: VolumeName, options: VolumeMountOptions = VolumeMountOptions()
    ) async throws -> AttachedVolume {
        try await alone(with: name) {
            let record = try requireReady(name)
            guard !damaged.contains(record.id) else { throw VolumeError.notFound(name) }
            let target = mountPath(record)
            switch try presence(record) {
            case .mounted(let entries):
                guard entries.count == 1, let entry = entries.first, entry.mountPoint == target
                else {
                    throw VolumeError.inUse(
                        name, by: "a mount at \(entries.map(\.mountPoint).joined(separator: ", "))")
                }
                return attached(record, entry)
            case .elsewhere(let device, let numbers):
                throw VolumeStore.inUse(name, device, numbers)
            case .free: break
            }
            var options = options
            if name.snapshot != nil { options.isReadOnly = true }
            try makeMountFolder(name.folderName, in: folders.mounts, path: target)
            checkpoint("mount")
            try await mountBacking(record, at: target, options: options)
            checkpoint("mounted")
            guard case .mounted(let entries) = try presence(record), let entry = entries.first
            else {
                throw VolumeError.tool(
                    attempt: "attach \(name)", cause: "the kernel does not list the mount")
            }
            return attached(record, entry)
        }
    }

    /// Unmounts a volume; fine when it is not mounted.
    ///
    /// Throws `inUse` while files in it are open, or while a container still has it.
    package func detach(_ name: VolumeName) async throws {
        try await alone(with: name) { try await unmount(requireReady(name)) }
    }

    /// Where a volume is mounted when it is attached.
    package nonisolated func mountPath(_ record: VolumeRecord) -> String {
        "\(path)/mounts/\(record.name.folderName)"
    }

    // MARK: - Mounts

    /// Where a volume's content is in use now, as the kernel says.
    func presence(_ record: VolumeRecord) throws(VolumeError) -> VolumePresence {
        let table = try mountTable()
        switch record.volumeClass {
        case .loop:
            let folder = record.state.isTrashed ? folders.trash : folders.data
            let attempt = "look at the file of \(record.name)"
            guard let facts = try folder.status(of: backingName(record), attempt: attempt),
                isRegular(facts.st_mode)
            else { return .free }
            let file = try OpenFile(
                in: folder, backingName(record), flags: O_RDONLY | O_NONBLOCK, attempt: attempt)
            let devices = try LoopDevice.holding(file)
            guard !devices.isEmpty else { return .free }
            return presence(
                table, devices: devices.map { (device: "7:\($0)", path: "/dev/loop\($0)") })
        case .directory:
            let target = mountPath(record)
            let bound = table.entries.filter { $0.mountPoint == target && $0.kind != "overlay" }
            let entries = table.overlays(writingTo: contentPath(record)) + bound
            return entries.isEmpty ? .free : .mounted(entries)
        case .lvm: return try logicalVolumePresence(record, table)
        }
    }

    func presence(
        _ table: MountTable, devices: [(device: String, path: String)]
    ) -> VolumePresence {
        let mounts = devices.map { (path: $0.path, entries: table.mounts(of: $0.device)) }
        if let hidden = mounts.first(where: { $0.entries.isEmpty }) {
            return .elsewhere(device: hidden.path, numbers: devices.map(\.device))
        }
        return .mounted(mounts.flatMap(\.entries))
    }

    /// Mounts of this process as the kernel lists them.
    func mountTable() throws(VolumeError) -> MountTable {
        let attempt = "read /proc/self/mountinfo"
        let file = try OpenFile("/proc/self/mountinfo", flags: O_RDONLY, attempt: attempt)
        return MountTable(try file.readAll(maximum: 64 << 20, attempt: attempt))
    }

    /// The refusal for a volume that is in use elsewhere; looks for who uses it.
    static func inUse(
        _ name: VolumeName, _ device: String, _ numbers: [String]
    ) -> VolumeError {
        .inUse(name, by: user(ofDevice: device, numbers))
    }

    /// Who else has a device mounted: a process of another mount namespace, where one is found.
    private static func user(ofDevice path: String, _ devices: [String]) -> String {
        let attempt = "list processes"
        guard let proc = try? OpenFile("/proc", flags: O_RDONLY | O_DIRECTORY, attempt: attempt),
            let names = try? proc.names(attempt: attempt)
        else { return path }
        for name in names where Int32(name) != nil {
            guard
                let file = try? OpenFile(
                    "/proc/\(name)/mountinfo", flags: O_RDONLY, attempt: attempt),
                let bytes = try? file.readAll(maximum: 4 << 20, attempt: attempt)
            else { continue }
            let table = MountTable(bytes)
            if devices.contains(where: { !table.mounts(of: $0).isEmpty }) {
                return "process \(name), which has \(path) mounted in a mount namespace of its own"
            }
        }
        return "\(path), which something keeps open"
    }

    /// Mounts a volume's content somewhere; the folder exists.
    func mountBacking(
        _ record: VolumeRecord, at target: String, options: VolumeMountOptions
    ) async throws {
        let attempt = "mount \(record.name)"
        switch record.volumeClass {
        case .loop:
            let file = try openImageFile(record, attempt: attempt)
            try await repairMarked(record, path: imagePath(record), attempt: attempt)
            // The device lets go of the file by itself when nobody uses it: what a crash leaves
            // here is closed with the process.
            let (device, number) = try LoopDevice.attach(
                file, readOnly: false, attempt: attempt)
            checkpoint("loop device attached")
            try mountDevice(
                "/dev/loop\(number)", record, at: target, options: options, attempt: attempt)
            withExtendedLifetime(device) {}
        case .directory: try mountDirectory(record, at: target, options: options)
        case .lvm:
            let device = try await activateLogicalVolume(record, attempt: attempt)
            try await repairMarked(record, path: device, attempt: attempt)
            try mountDevice(device, record, at: target, options: options, attempt: attempt)
        }
    }

    private func mountDevice(
        _ device: String, _ record: VolumeRecord, at target: String, options: VolumeMountOptions,
        attempt: String
    ) throws(VolumeError) {
        // Copies have the identity of their origin, which xfs refuses to see twice.
        let text = record.fileSystem == .xfs ? "nouuid" : "errors=remount-ro"
        let status = clinux_volume_mount(
            device, target, record.fileSystem.rawValue, options.flags, text)
        guard status == 0 else {
            if status == -EUCLEAN || status == -EINVAL || status == -EIO {
                let check = record.fileSystem == .xfs ? "xfs_repair" : "e2fsck -f"
                throw .tool(
                    attempt: attempt,
                    cause: "the kernel refuses the file system "
                        + "(\(String(cString: strerror(-status)))); look into its log, make a copy "
                        + "of the volume, and try `\(check)` on the copy")
            }
            if status == -ENODEV {
                throw .kernelLacks(
                    feature: record.fileSystem.rawValue, cause: "the kernel does not know it",
                    advice: "load its module with `modprobe \(record.fileSystem.rawValue)`")
            }
            throw .system(attempt: attempt, code: -status)
        }
    }

    /// Makes the folder to mount on; what stands there must be an empty folder.
    func makeMountFolder(
        _ name: String, in folder: OpenFile, path: String
    ) throws(VolumeError) {
        let attempt = "make the folder \(path)"
        guard mkdirat(folder.descriptor, name, 0o755) != 0 else { return }
        guard errno == EEXIST else { throw .system(attempt: attempt, code: errno) }
        guard let facts = try folder.status(of: name, attempt: attempt), isFolder(facts.st_mode)
        else { throw .foreign(path: path, what: "a file or a symbolic link") }
        if try mountTable().mount(at: path) != nil {
            throw .foreign(path: path, what: "a mount of something else")
        }
        let inside = try OpenFile(
            in: folder, name, flags: O_RDONLY | O_DIRECTORY, attempt: attempt)
        guard try inside.names(attempt: attempt).isEmpty else {
            throw .foreign(path: path, what: "a folder with files in it")
        }
    }

    /// Unmounts a volume from its stable path, and waits until its content is free.
    func unmount(_ record: VolumeRecord) async throws {
        let target = mountPath(record)
        if try mountTable().mount(at: target) != nil {
            guard case .mounted(let entries) = try presence(record),
                entries.contains(where: { $0.mountPoint == target })
            else { throw VolumeError.foreign(path: target, what: "a mount of something else") }
            checkpoint("unmount")
            try await unmountPatiently(target, record: record)
            checkpoint("unmounted")
        }
        try await waitUntilFree(record)
        unlinkat(folders.mounts.descriptor, record.name.folderName, AT_REMOVEDIR)
    }

    /// Waits a little, also when the task is cancelled: cleaning up has to go on then.
    private func pause() async {
        await Task { try? await Task.sleep(for: VolumeStore.patienceStep) }.value
    }

    /// Unmounts; a child that is just being started may keep it busy for a moment.
    func unmountPatiently(_ target: String, record: VolumeRecord?) async throws {
        var status: Int32 = 0
        for _ in 0..<VolumeStore.patience {
            status = clinux_volume_unmount(target)
            if status == 0 || status == -EINVAL || status == -ENOENT { return }
            guard status == -EBUSY else { break }
            await pause()
        }
        guard status == -EBUSY, let record else {
            throw VolumeError.system(attempt: "unmount \(target)", code: -status)
        }
        throw VolumeError.inUse(record.name, by: try userOfFiles(at: target))
    }

    /// Waits until the kernel has let go of a volume that was unmounted.
    func waitUntilFree(_ record: VolumeRecord) async throws {
        for _ in 0..<VolumeStore.patience {
            if case .free = try presence(record) { return }
            await pause()
        }
        try requireUnused(record)
    }

    /// Throws while a volume's content is mounted or held anywhere.
    func requireUnused(_ record: VolumeRecord) throws(VolumeError) {
        switch try presence(record) {
        case .free: return
        case .mounted(let entries):
            throw .inUse(
                record.name,
                by: "a mount at \(entries.map(\.mountPoint).joined(separator: ", "))")
        case .elsewhere(let device, let numbers):
            throw VolumeStore.inUse(record.name, device, numbers)
        }
    }

    /// Who has files of a mounted volume open, in a few words.
    private func userOfFiles(at target: String) throws(VolumeError) -> String {
        let device = try mountTable().mount(at: target)?.device ?? ""
        let users = OpenFiles.users(ofDevice: device, writersOnly: false, maximum: 3)
        guard !users.isEmpty else { return "something below \(target)" }
        return users.map(\.description).joined(separator: ", ")
    }

    private func attached(_ record: VolumeRecord, _ entry: MountEntry) -> AttachedVolume {
        let isReadOnly =
            entry.options.contains("ro") || entry.fileSystemOptions.contains("ro")
        return AttachedVolume(id: record.id, path: entry.mountPoint, isReadOnly: isReadOnly)
    }

    // MARK: - Work

    /// Where a volume is mounted for the store's own work.
    nonisolated func workPath(_ id: VolumeID) -> String { "\(path)/working/\(id)" }

    /// Mounts a volume for the store's own work; nobody else may have it.
    func mountWork(_ record: VolumeRecord, isReadOnly: Bool) async throws {
        try requireUnused(record)
        try makeMountFolder(record.id.description, in: folders.work, path: workPath(record.id))
        checkpoint("mount for work")
        try await mountBacking(
            record, at: workPath(record.id),
            options: VolumeMountOptions(isReadOnly: isReadOnly, forbidsPrograms: true))
        checkpoint("mounted for work")
    }

    /// Unmounts what the store mounted for its own work; fine when there is nothing.
    func unmountWork(_ id: VolumeID) async throws {
        if try mountTable().mount(at: workPath(id)) != nil {
            checkpoint("unmount work")
            try await unmountPatiently(workPath(id), record: records[id])
        }
        unlinkat(folders.work.descriptor, id.description, AT_REMOVEDIR)
        if let record = records[id] {
            // Its own mount may be back; only work mounts must be gone.
            for _ in 0..<VolumeStore.patience {
                guard case .elsewhere = try presence(record) else { return }
                await pause()
            }
        }
    }
}

extension VolumeMountOptions {
    /// The MS_ flags of mount(2).
    var flags: UInt {
        var flags = UInt(MS_NOSUID | MS_NODEV)
        if isReadOnly { flags |= UInt(MS_RDONLY) }
        if forbidsPrograms { flags |= UInt(MS_NOEXEC) }
        if omitsAccessTimes { flags |= UInt(MS_NOATIME) }
        return flags
    }
}
