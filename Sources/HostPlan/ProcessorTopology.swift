/// One physical core: the processors that the kernel runs tasks on and that share it (SMT siblings).
package struct ProcessorCore: Hashable, Sendable {
    /// The processors' numbers, ascending.
    package var processors: [Int]
    /// The NUMA node.
    package var node: Int

    package init(processors: [Int], node: Int) {
        self.processors = processors
        self.node = node
    }
}

/// The cores of a machine.
package struct ProcessorTopology: Equatable, Sendable {
    /// The cores, by node and first processor; each has one processor at least.
    package let cores: [ProcessorCore]

    /// Puts the cores together from what the kernel says of each processor.
    ///
    /// `siblings` and `nodes` may lack processors or contradict themselves, as files of a machine do
    /// on which processors come and go: what is not said is a core of its own on node 0, and
    /// whoever is named as a sibling from either side is one. Processors that are not `online` do
    /// not count.
    package init(online: [Int], siblings: [Int: [Int]], nodes: [Int: Int]) {
        let known = Set(online)
        var leaders: [Int: Int] = [:]
        func leader(_ processor: Int) -> Int {
            var current = processor
            while let next = leaders[current], next != current { current = next }
            return current
        }
        for processor in known.sorted() {
            for sibling in (siblings[processor] ?? []).sorted() where known.contains(sibling) {
                let (first, second) = (leader(processor), leader(sibling))
                if first != second { leaders[max(first, second)] = min(first, second) }
            }
        }
        var groups: [Int: [Int]] = [:]
        for processor in known.sorted() { groups[leader(processor), default: []].append(processor) }
        cores = groups.map { ProcessorCore(processors: $0.value, node: nodes[$0.key] ?? 0) }
            .sorted { ($0.node, $0.processors[0]) < ($1.node, $1.processors[0]) }
    }

    /// How many processors there are.
    package var processorCount: Int { cores.reduce(0) { $0 + $1.processors.count } }
}

/// Lists of processors as the kernel writes them: `0-3,8` (Documentation/core-api/printk-formats).
package enum ProcessorList {
    /// The highest number there can be, with room to spare: kernels are built for 8,192.
    package static let numberMax = 65_535

    /// The numbers in a list, ascending, each once, none for no text; nil for what is no list.
    package static func numbers(_ text: String) -> [Int]? {
        guard text.utf8.count <= 1 << 20 else { return nil }
        var numbers: Set<Int> = []
        for part in text.filter({ !$0.isWhitespace }).split(separator: ",") {
            let ends = part.split(separator: "-", omittingEmptySubsequences: false)
            guard 1...2 ~= ends.count, let first = Int(ends[0]),
                let last = Int(ends[ends.count - 1]),
                0...numberMax ~= first, 0...numberMax ~= last, first <= last
            else { return nil }
            numbers.formUnion(first...last)
        }
        return numbers.sorted()
    }

    /// The list of ascending numbers.
    package static func text(_ numbers: [Int]) -> String {
        var parts: [String] = []
        var rest = numbers[...]
        while let first = rest.popFirst() {
            var last = first
            while let next = rest.first, next == last + 1 {
                last = next
                rest.removeFirst()
            }
            parts.append(first == last ? "\(first)" : "\(first)-\(last)")
        }
        return parts.joined(separator: ",")
    }
}
