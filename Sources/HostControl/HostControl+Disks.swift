import ClusterModel
import HostPlan

/// The disks that a set's containers are held on.
struct DiskSelection: Sendable {
    /// Every device that caps are set on, sorted.
    var devices: [BlockDevice] = []
    /// The devices of the file systems, sorted.
    var tops: [BlockDevice] = []
    /// The whole disks at the bottom, sorted.
    var bottoms: [BlockDevice] = []
    /// What of the caps has no effect, one sentence each.
    var notices: [String] = []
}

extension HostControl {
    /// The devices on which caps of input and output are set for a set that writes to these folders
    /// beside the host's own, as of now; empty where the machine cannot cap.
    ///
    /// They change while it runs: when a volume group gets a further disk, for one.
    package func cappedDevices(folders: [String]) -> [BlockDevice] {
        (try? disks(for: [], folders: folders))?.devices ?? []
    }

    /// The devices whose input and output a set's containers are capped on, and what of the caps has
    /// no effect there.
    ///
    /// `folders` are those of the set's volumes. Throws `kernelLacks` when rates are to be capped and
    /// the machine has no controller for that.
    func disks(
        for limits: [CgroupLimits], folders: [String]
    ) throws(HostControlError) -> DiskSelection {
        let layout = capabilities.cgroups
        let isCapped = limits.contains { $0.io.hasCaps }
        guard layout.mountPoint(of: layout.ioController) != nil else {
            guard !isCapped else {
                throw .kernelLacks(
                    feature: "caps of input and output",
                    cause: "control groups have no `\(layout.ioController)` controller here")
            }
            return DiskSelection()
        }
        var tops: Set<BlockDevice> = []
        var bottoms: Set<BlockDevice> = []
        var notices: [String] = []
        var lacking: [BlockDevice] = []
        for path in settings.diskPaths + folders {
            switch DiskStack.of(path: path) {
            case .success(let stack):
                tops.insert(stack.top)
                bottoms.formUnion(stack.bottoms)
            case .failure(let reason):
                guard isCapped else { continue }
                if let fileSystem = reason.fileSystem {
                    guard !lacking.contains(fileSystem) else { continue }
                    lacking.append(fileSystem)
                }
                notices.append(
                    "caps of input and output have no effect on \(path): \(reason.sentence)")
            }
        }
        if isCapped, settings.diskPaths.isEmpty, folders.isEmpty {
            notices.append("caps of input and output have no effect: no disk is configured")
        }
        return DiskSelection(
            devices: tops.union(bottoms).sorted(), tops: tops.sorted(), bottoms: bottoms.sorted(),
            notices: notices)
    }

    /// On which disks caps hold, as a sentence; empty without caps.
    func capNotes(of limits: [CgroupLimits], on disks: DiskSelection) -> [String] {
        guard limits.contains(where: { $0.io.hasCaps }), !disks.bottoms.isEmpty else { return [] }
        let names = disks.bottoms.map { DiskStack.name(of: $0) }.joined(separator: ", ")
        return [
            "caps of input and output hold for each container and each disk by itself, not for all "
                + "together; what this set uses lies on \(names)"
        ]
    }

    /// The disks on which the kernel does not heed the weights that a set's containers ask for,
    /// though it has weights; the set's groups exist.
    func weightNotices(
        of limits: [CgroupLimits], on disks: DiskSelection, slot: SlotID
    ) -> [String] {
        let layout = capabilities.cgroups
        guard limits.contains(where: { $0.io.weight != nil }),
            let mount = layout.mountPoint(of: layout.ioController)
        else { return [] }
        let folder = "\(mount)/\(settings.cgroupRoot)/\(slot)"
        let names = ["blkio.bfq.weight", "blkio.weight", "io.bfq.weight", "io.weight"]
        guard names.contains(where: { KernelFile.exists("\(folder)/\($0)") }) else { return [] }
        let deaf = Set(disks.tops.flatMap { DiskStack.unweighed($0, layout: layout) }).sorted()
        return deaf.map {
            "the weight of input and output has no effect on the disk \(DiskStack.name(of: $0)): its "
                + "scheduler is not bfq (`echo bfq > /sys/dev/block/\($0)/queue/scheduler` makes it "
                + "so)"
        }
    }
}
