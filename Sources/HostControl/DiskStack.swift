import Glibc
import HostPlan

/// The devices that what is written at a path passes, by what the kernel says of them.
///
/// Caps are set on two of them: on the file system's own device, and on the whole disks that it lies on
/// in the end. The kernel charges a request where it passes, to the group that it carries along. Linear
/// and thin volumes, mirrors and loop devices hand that group down, so the disk holds what all
/// volumes on it take together. Encryption and RAID 4 to 6 make requests of their own, in nobody's
/// name: then the upper device holds. Requests that wait above a thin pool also keep nothing waiting in
/// it. Sources: drivers/md/dm-crypt.c, drivers/md/raid5.c, drivers/block/loop.c, block/blk-throttle.c.
struct DiskStack: Equatable, Sendable {
    /// The file system's own device: of a partition its whole disk, since the kernel limits those alone.
    var top: BlockDevice
    /// The whole disks at the bottom, sorted; the file system's own device when nothing is below it.
    var bottoms: [BlockDevice]

    /// Both, each once.
    var devices: [BlockDevice] { bottoms.contains(top) ? bottoms : [top] + bottoms }

    /// Why there is no disk to cap, as the second half of a sentence.
    struct NoDisk: Error {
        let sentence: String
        /// The file system, by its number; nil when it is not known.
        var fileSystem: BlockDevice?
    }

    /// More devices than any machine stacks, against rings of loop devices.
    private static let devicesMax = 64

    /// The devices below a path.
    static func of(path: String, sys: String = "/sys/dev/block") -> Result<DiskStack, NoDisk> {
        var facts = stat()
        guard stat(path, &facts) == 0 else {
            return .failure(NoDisk(sentence: "\(String(cString: strerror(errno)))"))
        }
        let device = BlockDevice(number: UInt64(facts.st_dev))
        guard device.major != 0, KernelFile.exists("\(sys)/\(device)") else {
            return .failure(
                NoDisk(
                    sentence:
                        "its file system is not on one disk (such as overlay, tmpfs, btrfs or "
                        + "a network's)", fileSystem: device))
        }
        guard let top = whole(device, sys) else {
            return .failure(NoDisk(sentence: "the disk of the partition \(device) is not known"))
        }
        return .success(DiskStack(top: top, sys: sys))
    }

    /// The devices below a whole device.
    init(top: BlockDevice, sys: String) {
        self.top = top
        var seen = [top]
        var next = 0
        bottoms = []
        while next < seen.count {
            let below = DiskStack.below(seen[next], sys)
            if below.isEmpty { bottoms.append(seen[next]) }
            for device in below where !seen.contains(device) {
                guard seen.count < DiskStack.devicesMax else { break }
                seen.append(device)
            }
            next += 1
        }
        // A ring has no bottom.
        if bottoms.isEmpty { bottoms = [top] }
        bottoms.sort()
    }

    /// What a device lies on, as whole disks: of a volume its parts, of a loop device its file's disk.
    private static func below(_ device: BlockDevice, _ sys: String) -> [BlockDevice] {
        let folder = "\(sys)/\(device)"
        var found = KernelFile.names(in: "\(folder)/slaves", foldersOnly: false)
            .prefix(devicesMax)
            .compactMap { KernelFile.line("\(folder)/slaves/\($0)/dev") }
            .compactMap { BlockDevice(text: $0) }
        if let file = KernelFile.line("\(folder)/loop/backing_file") {
            var facts = stat()
            let device = stat(file, &facts) == 0 ? BlockDevice(number: UInt64(facts.st_dev)) : nil
            if let device, device.major != 0, KernelFile.exists("\(sys)/\(device)") {
                found.append(device)
            }
        }
        var disks: [BlockDevice] = []
        for disk in found.compactMap({ whole($0, sys) }) where !disks.contains(disk) {
            disks.append(disk)
        }
        return disks
    }

    /// The disk of a partition; another device itself.
    private static func whole(_ device: BlockDevice, _ sys: String) -> BlockDevice? {
        guard KernelFile.exists("\(sys)/\(device)/partition") else { return device }
        return KernelFile.line("\(sys)/\(device)/../dev").flatMap { BlockDevice(text: $0) }
    }

    /// The disks below, without those on which the kernel heeds weights: by its scheduler, or by the
    /// model of its cost.
    ///
    /// A scheduler of a device above that weighs itself is as good.
    static func unweighed(
        _ device: BlockDevice, layout: CgroupLayout, sys: String = "/sys/dev/block"
    ) -> [BlockDevice] {
        if weighs(device, layout: layout, sys: sys) { return [] }
        return DiskStack(top: device, sys: sys).bottoms.filter {
            !weighs($0, layout: layout, sys: sys)
        }
    }

    private static func weighs(_ device: BlockDevice, layout: CgroupLayout, sys: String) -> Bool {
        if layout.version == .two, let mount = layout.unifiedMount,
            let costs = try? KernelFile.readIfPresent("\(mount)/io.cost.qos")
        {
            let entry = CgroupEntry(file: "", key: "\(device)", value: "", none: "")
            if entry.former(in: costs).hasPrefix("enable=1") { return true }
        }
        return (KernelFile.line("\(sys)/\(device)/queue/scheduler") ?? "").contains("[bfq]")
    }

    /// The lines of a file with lines for each device, without those of devices that pass everything on
    /// to others in it: what goes to a volume counts there and on the disk below.
    static func countedOnce(_ text: String, sys: String = "/sys/dev/block") -> String {
        func device(_ line: Substring) -> BlockDevice? {
            line.split(separator: " ", maxSplits: 1).first.flatMap { BlockDevice(text: String($0)) }
        }
        let lines = text.split(separator: "\n")
        let listed = Set(lines.compactMap(device))
        guard listed.count > 1 else { return text }
        let passing = listed.filter { top in
            DiskStack(top: top, sys: sys).bottoms.contains { $0 != top && listed.contains($0) }
        }
        return lines.filter { line in device(line).map { !passing.contains($0) } ?? true }
            .joined(separator: "\n")
    }

    /// What people call a device: `sda`, or of a volume its name, such as `vg0-data`.
    static func name(of device: BlockDevice, sys: String = "/sys/dev/block") -> String {
        if let name = KernelFile.line("\(sys)/\(device)/dm/name"), !name.isEmpty { return name }
        let events = (try? KernelFile.readIfPresent("\(sys)/\(device)/uevent")) ?? ""
        let mark = "DEVNAME="
        let line = events.split(separator: "\n").first { $0.hasPrefix(mark) }
        return line.map { String($0.dropFirst(mark.count)) } ?? "\(device)"
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
