import Glibc
import HostPlan

/// What a whole machine uses, all of its programs together.
package struct MachineUsage: Equatable, Sendable {
    /// Processor time that was not idle since the machine's start, over all processors.
    package var cpuMicroseconds: Int
    /// Memory in use: all but what could be had at once.
    package var memoryBytes: Int
    /// Memory there is.
    package var memoryTotalBytes: Int
    /// How its tasks waited; nil where the kernel does not say.
    package var pressure: CgroupPressure?
}

extension HostControl {
    /// What the machine uses now.
    package func machineUsage() throws(HostControlError) -> MachineUsage {
        let ticks = sysconf(Int32(_SC_CLK_TCK))
        guard
            let busy = MachineReadings.busyTicks(try KernelFile.read("/proc/stat")), ticks > 0,
            let memory = MachineReadings.memory(try KernelFile.read("/proc/meminfo"))
        else {
            throw .kernelLacks(
                feature: "figures of the machine", cause: "/proc/stat or /proc/meminfo is unusual")
        }
        let waiting = ["cpu", "memory", "io"].map {
            KernelFile.line("/proc/pressure/\($0)").flatMap { CgroupPressure.Waiting($0) }
        }
        var pressure: CgroupPressure?
        if let cpu = waiting[0], let memory = waiting[1], let io = waiting[2] {
            pressure = CgroupPressure(cpu: cpu, memory: memory, io: io)
        }
        return MachineUsage(
            cpuMicroseconds: busy * (1_000_000 / ticks),
            memoryBytes: max(0, memory.total - memory.available), memoryTotalBytes: memory.total,
            pressure: pressure)
    }
}
