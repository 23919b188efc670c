/// A folder of a set that outlives its containers: same for all containers of the set.
///
/// Volumes belong to the slot: `web.3` finds its own again after every restart and update, and runs
/// only where they are.
package struct VolumeSpec: Hashable, Sendable, Codable {
    /// The volume's name, unique in its service: same rule as a service's.
    package var name: String
    /// How much it holds, in bytes.
    package var sizeBytes: Int
    /// Where it is in every container: an absolute path.
    package var mount: String
    /// What it is made of, and so how hard its limit is.
    package var volumeClass: VolumeClass
    /// True when its containers may not write to it.
    package var readOnly: Bool
    /// True when no program in it may be started.
    package var noExec: Bool
    /// The file system inside; nil is the class's own: ext4, or the host's for `directory`.
    package var fileSystem: VolumeFileSystem?
    /// How it is backed up; nil when it is not.
    package var backup: BackupSpec?

    package init(
        name: String, sizeBytes: Int, mount: String, volumeClass: VolumeClass = .loop,
        readOnly: Bool = false, noExec: Bool = false, fileSystem: VolumeFileSystem? = nil,
        backup: BackupSpec? = nil
    ) {
        self.name = name
        self.sizeBytes = sizeBytes
        self.mount = mount
        self.volumeClass = volumeClass
        self.readOnly = readOnly
        self.noExec = noExec
        self.fileSystem = fileSystem
        self.backup = backup
    }
}

// Records of an earlier version lack what came later.
extension VolumeSpec {
    package init(from decoder: any Decoder) throws {
        let fields = try decoder.container(keyedBy: CodingKeys.self)
        self.init(
            name: try fields.decode(String.self, forKey: .name),
            sizeBytes: try fields.decode(Int.self, forKey: .sizeBytes),
            mount: try fields.decode(String.self, forKey: .mount),
            volumeClass: try fields.decode(VolumeClass.self, forKey: .volumeClass),
            readOnly: try fields.decodeIfPresent(Bool.self, forKey: .readOnly) ?? false,
            noExec: try fields.decodeIfPresent(Bool.self, forKey: .noExec) ?? false,
            fileSystem: try fields.decodeIfPresent(VolumeFileSystem.self, forKey: .fileSystem),
            backup: try fields.decodeIfPresent(BackupSpec.self, forKey: .backup))
    }
}

/// The file systems that a volume of class `loop` or `lvm` can have.
package enum VolumeFileSystem: String, Hashable, Sendable, Codable, CaseIterable {
    case ext4
    case xfs

    /// The smallest volume: mkfs.xfs 6.0 and newer refuses less than 300 MiB.
    package var smallestBytes: Int {
        switch self {
        case .ext4: SpecLimits.volumeBytes.lowerBound
        case .xfs: 300 << 20
        }
    }
}

/// What a volume is made of.
package enum VolumeClass: String, Hashable, Sendable, Codable, CaseIterable {
    /// A thin logical volume; its limit is hard.
    case lvm
    /// A file with a file system of its own; its limit is hard.
    case loop
    /// A folder; its limit is as hard as the file system below knows quotas, or watched.
    case directory
}

extension VolumeSpec {
    /// Adds every broken rule of one volume.
    func check(at path: String, into list: inout ProblemList) {
        list.check(name: name, at: "\(path).name")
        if name.utf8.count > SpecLimits.volumeNameBytes {
            list.add("\(path).name", "at most \(SpecLimits.volumeNameBytes) bytes are allowed")
        }
        list.check(
            sizeBytes, in: SpecLimits.volumeBytes, at: "\(path).size",
            text: Quantity.text(bytes:))
        if let problem = VolumeSpec.problem(inMount: mount) {
            list.add("\(path).mount", "'\(quoted(mount))' \(problem)")
        }
        backup?.check(at: "\(path).backup", into: &list)
        guard let fileSystem else { return }
        if volumeClass == .directory {
            list.add(
                "\(path).file-system",
                "a volume of class directory has the host's file system; leave the key out, or "
                    + "take class loop or lvm")
        } else if sizeBytes < fileSystem.smallestBytes,
            SpecLimits.volumeBytes.contains(sizeBytes)
        {
            list.add(
                "\(path).size",
                "\(Quantity.text(bytes: sizeBytes)) is too little for \(fileSystem.rawValue), "
                    + "which needs \(Quantity.text(bytes: fileSystem.smallestBytes))")
        }
    }

    /// What is wrong with a path inside containers; nil when it may be mounted at.
    package static func problem(inMount path: String) -> String? {
        guard path.utf8.first == UInt8(ascii: "/"), path.utf8.count <= 1_024 else {
            return "is not an absolute path of at most 1,024 bytes"
        }
        guard !path.utf8.contains(where: { $0 < 0x20 || $0 == 0x7F }) else {
            return "has a control character in it, such as a tab or the end of a line"
        }
        let parts = path.split(separator: "/", omittingEmptySubsequences: false).dropFirst()
        guard parts.allSatisfy({ !$0.isEmpty && $0 != "." && $0 != ".." }) else {
            return "must be plain: no '//', '.', '..' and no '/' at the end"
        }
        let kernel = ["proc", "sys", "dev"]
        guard let first = parts.first, !kernel.contains(String(first)) else {
            return "belongs to the kernel; choose another folder"
        }
        return nil
    }
}

extension ServiceSpec {
    /// Adds every broken rule of the volumes.
    func checkVolumes(into list: inout ProblemList) {
        if volumes.count > SpecLimits.volumes {
            list.add("volumes", "at most \(SpecLimits.volumes) volumes are allowed")
        }
        for (position, volume) in volumes.prefix(SpecLimits.volumes).enumerated() {
            volume.check(at: "volumes[\(position)]", into: &list)
        }
        list.check(unique: volumes.map(\.name)) { "volumes[\($0)].name" }
        list.check(unique: volumes.map(\.mount)) { "volumes[\($0)].mount" }
    }
}
