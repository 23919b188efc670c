import ClusterModel
import Glibc
import HostPlan

extension HostControl {
    /// The disks whose input and output a set's containers are capped on, and what of the caps has
    /// no effect there.
    ///
    /// Throws `kernelLacks` when rates are to be capped and the machine has no controller for that.
    func disks(
        for limits: [CgroupLimits]
    ) throws(HostControlError) -> (devices: [BlockDevice], notices: [String]) {
        let layout = capabilities.cgroups
        let isCapped = limits.contains { $0.io.hasCaps }
        guard layout.mountPoint(of: layout.ioController) != nil else {
            guard !isCapped else {
                throw .kernelLacks(
                    feature: "caps of input and output",
                    cause: "control groups have no `\(layout.ioController)` controller here")
            }
            return ([], [])
        }
        var devices: [BlockDevice] = []
        var notices: [String] = []
        for path in settings.diskPaths {
            switch DiskLookup.disk(of: path) {
            case .success(let device): if !devices.contains(device) { devices.append(device) }
            case .failure(let reason):
                guard isCapped else { continue }
                notices.append(
                    "caps of input and output have no effect on \(path): \(reason.sentence)")
            }
        }
        if isCapped, settings.diskPaths.isEmpty {
            notices.append("caps of input and output have no effect: no disk is configured")
        }
        return (devices.sorted(), notices)
    }

    /// The disks on which the kernel does not heed the weights that a set's containers ask for,
    /// though it has weights; the set's groups exist.
    func weightNotices(
        of limits: [CgroupLimits], on devices: [BlockDevice], slot: SlotID
    ) -> [String] {
        let layout = capabilities.cgroups
        guard limits.contains(where: { $0.io.weight != nil }),
            let mount = layout.mountPoint(of: layout.ioController)
        else { return [] }
        let folder = "\(mount)/\(settings.cgroupRoot)/\(slot)"
        let names = ["blkio.bfq.weight", "blkio.weight", "io.bfq.weight", "io.weight"]
        guard names.contains(where: { KernelFile.exists("\(folder)/\($0)") }) else { return [] }
        return devices.filter { !DiskLookup.weighs($0, layout: layout) }.map {
            "the weight of input and output has no effect on the disk \($0): its scheduler is not "
                + "bfq (`echo bfq > /sys/dev/block/\($0)/queue/scheduler` makes it so)"
        }
    }
}

/// Finds the whole disk under a path, by what the kernel says of devices.
enum DiskLookup {
    /// Why there is no disk to cap, as the second half of a sentence.
    struct NoDisk: Error {
        let sentence: String
    }

    /// The disk that holds what is at a path: of a partition its whole disk, since the kernel limits
    /// those alone; a logical volume or a loop device stays itself.
    static func disk(of path: String, sys: String = "/sys/dev/block") -> Result<BlockDevice, NoDisk>
    {
        var facts = stat()
        guard stat(path, &facts) == 0 else {
            return .failure(NoDisk(sentence: "\(String(cString: strerror(errno)))"))
        }
        let device = BlockDevice(number: UInt64(facts.st_dev))
        let folder = "\(sys)/\(device)"
        guard device.major != 0, KernelFile.exists(folder) else {
            return .failure(
                NoDisk(
                    sentence:
                        "its file system is not on one disk (such as overlay, tmpfs, btrfs or "
                        + "a network's)"))
        }
        guard KernelFile.exists("\(folder)/partition") else { return .success(device) }
        guard let whole = KernelFile.line("\(folder)/../dev").flatMap({ BlockDevice(text: $0) })
        else {
            return .failure(NoDisk(sentence: "the disk of the partition \(device) is not known"))
        }
        return .success(whole)
    }

    /// True when the kernel heeds weights on a disk: by its scheduler, or by the model of its cost.
    static func weighs(
        _ device: BlockDevice, layout: CgroupLayout, depth: Int = 0, sys: String = "/sys/dev/block"
    ) -> Bool {
        let folder = "\(sys)/\(device)"
        // What is stacked is weighed below, where the requests are queued.
        let below = KernelFile.names(in: "\(folder)/slaves", foldersOnly: false).prefix(64)
            .compactMap { KernelFile.line("\(folder)/slaves/\($0)/dev") }
            .compactMap { BlockDevice(text: $0) }
        if !below.isEmpty, depth < 4 {
            return below.allSatisfy { weighs($0, layout: layout, depth: depth + 1, sys: sys) }
        }
        if layout.version == .two, let mount = layout.unifiedMount,
            let costs = try? KernelFile.readIfPresent("\(mount)/io.cost.qos")
        {
            let entry = CgroupEntry(file: "", key: "\(device)", value: "", none: "")
            if entry.former(in: costs).hasPrefix("enable=1") { return true }
        }
        let queue = KernelFile.exists("\(folder)/queue") ? folder : "\(folder)/.."
        return (KernelFile.line("\(queue)/queue/scheduler") ?? "").contains("[bfq]")
    }
}

extension BlockDevice {
    /// Reads `8:0`; nil when it is something else.
    init?(text: String) {
        let parts = text.split(separator: ":", omittingEmptySubsequences: false)
        guard parts.count == 2, let major = Int(parts[0]), let minor = Int(parts[1]), major >= 0,
            minor >= 0
        else { return nil }
        self.init(major: major, minor: minor)
    }
}
