import HostPlan

/// Reads the machine's processors and how they share cores and memory (sysfs(5), cputopology.rst).
enum TopologyReader {
    /// The topology of the processors that are online and that `allowed` names, nil for all.
    ///
    /// Every file may be missing or odd: then the processor is a core of its own on node 0. Throws
    /// when it is not even said which processors there are.
    static func read(
        allowed: [Int]? = nil, system: String = "/sys/devices/system"
    ) throws(HostControlError) -> ProcessorTopology {
        guard let text = KernelFile.line("\(system)/cpu/online"),
            let online = ProcessorList.numbers(text), !online.isEmpty
        else {
            throw .kernelLacks(
                feature: "the list of processors", cause: "\(system)/cpu/online is not one")
        }
        let usable = allowed.map { Set($0) }
        let processors = online.filter { usable?.contains($0) ?? true }
        var siblings: [Int: [Int]] = [:]
        for processor in processors {
            let folder = "\(system)/cpu/cpu\(processor)/topology"
            // The second name is the newer one (Linux 5.3), the first on all.
            siblings[processor] =
                ["thread_siblings_list", "core_cpus_list"].lazy
                .compactMap { KernelFile.line("\(folder)/\($0)") }
                .compactMap { ProcessorList.numbers($0) }.first
        }
        var nodes: [Int: Int] = [:]
        for name in KernelFile.names(in: "\(system)/node", foldersOnly: true).prefix(1_024) {
            guard name.hasPrefix("node"), let node = Int(name.dropFirst(4)), node >= 0,
                let list = KernelFile.line("\(system)/node/\(name)/cpulist")
            else { continue }
            for processor in ProcessorList.numbers(list) ?? [] { nodes[processor] = node }
        }
        return ProcessorTopology(online: processors, siblings: siblings, nodes: nodes)
    }
}
