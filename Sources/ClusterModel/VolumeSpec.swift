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
    /// How it is backed up; nil when it is not.
    package var backup: BackupSpec?

    package init(
        name: String, sizeBytes: Int, mount: String, volumeClass: VolumeClass = .loop,
        backup: BackupSpec? = nil
    ) {
        self.name = name
        self.sizeBytes = sizeBytes
        self.mount = mount
        self.volumeClass = volumeClass
        self.backup = backup
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
    }

    /// What is wrong with a path inside containers; nil when it may be mounted at.
    private static func problem(inMount path: String) -> String? {
        guard path.utf8.first == UInt8(ascii: "/"), path.utf8.count <= 1_024,
            !path.utf8.contains(0)
        else { return "is not an absolute path of at most 1,024 bytes" }
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
