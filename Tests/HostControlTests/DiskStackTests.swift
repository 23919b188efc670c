import Foundation
import HostPlan
import Testing

@testable import HostControl

/// A machine's devices as `/sys/dev/block` shows them, in a folder of the test's own.
private struct DeviceTree {
    let base: String
    var sys: String { "\(base)/block" }

    init() throws {
        base = NSTemporaryDirectory() + "shoalt-devices-\(UUID().uuidString)"
        try FileManager.default.createDirectory(
            atPath: "\(base)/block", withIntermediateDirectories: true)
    }

    func remove() { try? FileManager.default.removeItem(atPath: base) }

    /// Adds a device, such as `sda/sda3`, on others; a partition when it lies in its disk's folder.
    func add(_ path: String, _ numbers: String, on others: [String] = [], scheduler: String? = nil)
        throws
    {
        let folder = "\(base)/devices/\(path)"
        let manager = FileManager.default
        try manager.createDirectory(
            atPath: "\(folder)/slaves", withIntermediateDirectories: true)
        try "\(numbers)\n".write(toFile: "\(folder)/dev", atomically: false, encoding: .utf8)
        if path.contains("/") {
            try "3\n".write(toFile: "\(folder)/partition", atomically: false, encoding: .utf8)
        }
        if let scheduler {
            try manager.createDirectory(
                atPath: "\(folder)/queue", withIntermediateDirectories: true)
            try scheduler.write(
                toFile: "\(folder)/queue/scheduler", atomically: false, encoding: .utf8)
        }
        for other in others {
            try manager.createSymbolicLink(
                atPath: "\(folder)/slaves/\((other as NSString).lastPathComponent)",
                withDestinationPath: "\(base)/devices/\(other)")
        }
        try manager.createSymbolicLink(
            atPath: "\(base)/block/\(numbers)", withDestinationPath: folder)
    }
}

@Suite("The disks below a device")
struct DiskStackTests {
    private func with(_ body: (DeviceTree) throws -> Void) throws {
        let tree = try DeviceTree()
        defer { tree.remove() }
        try tree.add("sda", "8:0", scheduler: "mq-deadline kyber [bfq] none\n")
        try tree.add("sda/sda3", "8:3")
        try tree.add("sdb", "8:16", scheduler: "[none] mq-deadline bfq\n")
        try tree.add("dm-1", "253:1", on: ["sda/sda3"])
        try tree.add("dm-2", "253:2", on: ["sda/sda3", "sdb"])
        try tree.add("dm-3", "253:3", on: ["dm-1", "dm-2"])
        try tree.add("dm-5", "253:5", on: ["dm-3"])
        try body(tree)
    }

    /// Of text that is right.
    private func device(_ text: String) -> BlockDevice {
        BlockDevice(text: text) ?? BlockDevice(major: 0, minor: 0)
    }

    @Test("a thin volume is held on itself and on every whole disk of its pool")
    func thin() throws {
        try with { tree in
            let stack = DiskStack(top: device("253:5"), sys: tree.sys)
            #expect(stack.bottoms == [device("8:0"), device("8:16")])
            #expect(stack.devices == [device("253:5"), device("8:0"), device("8:16")])
            let disk = DiskStack(top: device("8:0"), sys: tree.sys)
            #expect(disk.devices == [device("8:0")])
        }
    }

    @Test("a pool that gets a further disk has it from then on")
    func growth() throws {
        try with { tree in
            try tree.add("sdc", "8:32")
            let before = DiskStack(top: device("253:5"), sys: tree.sys)
            try FileManager.default.createSymbolicLink(
                atPath: "\(tree.base)/devices/dm-2/slaves/sdc",
                withDestinationPath: "\(tree.base)/devices/sdc")
            let after = DiskStack(top: device("253:5"), sys: tree.sys)
            #expect(after.bottoms == before.bottoms + [device("8:32")])
        }
    }

    @Test("devices in a ring, without numbers, or too many end the search")
    func strange() throws {
        try with { tree in
            try tree.add("dm-8", "253:8")
            try tree.add("dm-9", "253:9", on: ["dm-8"])
            try FileManager.default.createSymbolicLink(
                atPath: "\(tree.base)/devices/dm-8/slaves/dm-9",
                withDestinationPath: "\(tree.base)/devices/dm-9")
            let ring = device("253:9")
            #expect(DiskStack(top: ring, sys: tree.sys).devices == [ring])
            try "no numbers".write(
                toFile: "\(tree.base)/devices/sdb/dev", atomically: false, encoding: .utf8)
            #expect(
                DiskStack(top: device("253:5"), sys: tree.sys).bottoms == [device("8:0")])
            let many = (0..<200).map { "many\($0)" }
            for (number, name) in many.enumerated() { try tree.add(name, "9:\(number)") }
            try tree.add("dm-10", "253:10", on: many)
            #expect(DiskStack(top: device("253:10"), sys: tree.sys).bottoms.count < 65)
        }
        for text in ["", "8", "8:", ":0", "8:0:1", "-1:0", "a:b", "8 : 0"] {
            #expect(BlockDevice(text: text) == nil, "\(text)")
        }
    }

    @Test("weights lack on those disks below a volume that have no scheduler for them")
    func weights() throws {
        let layout = try CgroupLayout.detect(
            mountInfo: "30 25 0:26 / /c rw - cgroup cgroup rw,cpu,memory,pids,blkio\n",
            v2Controllers: nil)
        try with { tree in
            func deaf(_ text: String) -> [BlockDevice] {
                DiskStack.unweighed(device(text), layout: layout, sys: tree.sys)
            }
            #expect(deaf("8:0") == [])
            #expect(deaf("253:1") == [])
            #expect(deaf("253:5") == [device("8:16")])
        }
    }

    @Test("what passes a volume and its disk counts once")
    func counting() throws {
        try with { tree in
            func counted(_ text: String) -> String { DiskStack.countedOnce(text, sys: tree.sys) }
            let two = "253:5 rbytes=1 wbytes=2\n8:0 rbytes=3 wbytes=4"
            #expect(counted(two) == "8:0 rbytes=3 wbytes=4")
            // Below encryption nothing is charged, and above it is.
            #expect(counted("253:5 rbytes=1 wbytes=2") == "253:5 rbytes=1 wbytes=2")
            let one = "253:1 Read 5\n8:0 Read 5\n8:16 Read 1\nTotal 11"
            #expect(counted(one) == "8:0 Read 5\n8:16 Read 1\nTotal 11")
            for text in ["", "\n", "x\ny", "8:0", "8:0 a\n8:0 b"] { #expect(counted(text) == text) }
        }
    }
}
