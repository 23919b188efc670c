/// The shaping of what leaves through one network device: an HTB tree (tc-htb(8)) of one level of
/// leaves below a class that all of it shares.
package struct TrafficTree: Equatable, Sendable {
    /// One class that holds packets.
    package struct Leaf: Equatable, Sendable {
        /// Its number in the tree, not `rootMinor`.
        package var minor: Int
        /// What it has at any time, in bits per second.
        package var rate: Int
        /// What it never exceeds, in bits per second.
        package var ceiling: Int

        package init(minor: Int, rate: Int, ceiling: Int) {
            self.minor = minor
            self.rate = rate
            self.ceiling = ceiling
        }
    }

    /// The device.
    package var device: String
    /// What all leaves together never exceed, in bits per second, provided that their rates add up
    /// to no more.
    package var ceiling: Int
    /// The leaves; what no filter matches goes to `restMinor`.
    package var leaves: [Leaf]
    /// What leads packets to another leaf.
    package var filters: [TrafficFilter]

    package init(
        device: String, ceiling: Int, leaves: [Leaf], filters: [TrafficFilter] = []
    ) {
        self.device = device
        self.ceiling = ceiling
        self.leaves = leaves
        self.filters = filters
    }

    /// The class of the whole tree.
    package static let rootMinor = 1
    /// The leaf of what no filter matches.
    package static let restMinor = 0x10
    /// The leaf of what stays in the datacentre.
    package static let insideMinor = 0x20
    /// The handle of a set's tree.
    package static let handle = "1:"

    /// `tc` lines that bring the device to this tree, from what was found on it.
    ///
    /// A tree that is there is changed while packets flow; what is not this program's is replaced.
    package func commands(found: FoundTraffic) -> [String] {
        var lines: [String] = []
        let isOurs =
            found.root
            == .init(kind: "htb", handle: Self.handle, defaultMinor: Self.restMinor)
            && found.classes.allSatisfy { isExpected($0) }
        var filtersFound: [TrafficFilter] = []
        if isOurs {
            filtersFound = found.filters
        } else {
            if found.hasRoot { lines.append("qdisc del dev \(device) root") }
            lines.append(
                "qdisc add dev \(device) root handle \(Self.handle) htb default "
                    + Self.hex(Self.restMinor))
        }
        let isFiltered = filtersFound == filters
        if !isFiltered {
            for preference in Set(filtersFound.map(\.preference)).sorted() {
                lines.append(
                    "filter del dev \(device) parent \(Self.handle) pref \(preference)")
            }
        }
        lines += classCommands()
        let minors = leaves.map(\.minor) + [Self.rootMinor]
        for extra in isOurs ? found.classes.map(\.minor) : [] where !minors.contains(extra) {
            lines.append("class del dev \(device) classid \(Self.handle)\(Self.hex(extra))")
        }
        if !isFiltered {
            lines += filters.map { $0.addCommand(device: device, parent: Self.handle) }
        }
        return lines
    }

    /// `tc` lines that take everything off the device that leaves through it.
    package static func removalCommands(device: String, found: FoundTraffic) -> [String] {
        found.hasRoot ? ["qdisc del dev \(device) root"] : []
    }

    /// `tc` lines that change this tree, set earlier with `last`, while packets flow; nil when that
    /// had another shape.
    func changeCommands(from last: TrafficTree) -> [String]? {
        guard device == last.device, leaves.map(\.minor) == last.leaves.map(\.minor),
            filters == last.filters
        else { return nil }
        return classCommands()
    }

    private func classCommands() -> [String] {
        let root = "\(Self.handle)\(Self.hex(Self.rootMinor))"
        var lines = [
            Self.classCommand(
                device: device, parent: Self.handle, id: root, rate: ceiling, ceiling: ceiling)
        ]
        for leaf in leaves {
            let id = "\(Self.handle)\(Self.hex(leaf.minor))"
            lines.append(
                Self.classCommand(
                    device: device, parent: root, id: id, rate: leaf.rate, ceiling: leaf.ceiling))
            lines.append(
                Self.queueCommand(
                    device: device, parent: id, handle: Self.hex(leaf.minor) + ":",
                    ceiling: leaf.ceiling))
        }
        return lines
    }

    private func isExpected(_ found: FoundTraffic.Class) -> Bool {
        switch found.minor {
        case Self.rootMinor: found.parentMinor == nil
        case Self.restMinor, Self.insideMinor: found.parentMinor == Self.rootMinor
        default: false
        }
    }

    // MARK: - Lines of every tree

    /// The line that makes a class or changes it while packets flow.
    static func classCommand(
        device: String, parent: String, id: String, rate: Int, ceiling: Int
    ) -> String {
        "class replace dev \(device) parent \(parent) classid \(id) htb rate \(rate)bit "
            + "ceil \(ceiling)bit burst \(burst(rate))b cburst \(burst(ceiling))b quantum 60000"
    }

    /// The line that gives a class its queue, or changes the queue's length.
    ///
    /// The queue is counted in bytes and holds 100 ms (one segmentation-offload packet of 64 KiB and
    /// then some at the least): the default of 1,000 packets, of up to 64 KiB each, would add
    /// seconds of delay.
    static func queueCommand(
        device: String, parent: String, handle: String, ceiling: Int
    ) -> String {
        let bytes = min(max(ceiling / 8 / 10, 131_072), 64 << 20)
        return "qdisc replace dev \(device) parent \(parent) handle \(handle) bfifo limit \(bytes)"
    }

    /// Bytes that may go at once: 10 ms at the full rate, so that the timer's resolution costs
    /// nothing, and two full packets at the least; 16 MiB at the most.
    private static func burst(_ rate: Int) -> Int { min(max(rate / 8 / 100, 3_028), 16 << 20) }

    /// A number as tc reads and prints those of classes.
    static func hex(_ number: Int) -> String { String(number, radix: 16) }

    /// The rate that is set for a wish: 8 kbit (one full packet takes 1.5 s) to 1 Tbit.
    package static func bounded(_ bitsPerSecond: Int) -> Int {
        min(max(bitsPerSecond, bitsPerSecondMin), bitsPerSecondMax)
    }

    /// The least rate that is set.
    package static let bitsPerSecondMin = 8_000
    /// The highest rate that is set.
    package static let bitsPerSecondMax = 1_000_000_000_000
}

/// A rule that leads the packets of one network to a class (tc-u32(8)).
package struct TrafficFilter: Equatable, Sendable {
    /// The address of a packet that is looked at.
    package enum Field: Sendable {
        /// Where it comes from.
        case source
        /// Where it goes.
        case destination

        /// tc's word.
        var word: String { self == .source ? "src" : "dst" }
        /// Where the address begins in an IPv4 header.
        package var offset: Int { self == .source ? 12 : 16 }
    }

    /// tc's order of filters: the lowest is asked first.
    package var preference: Int
    /// The value, the bits of it that count, and where it is in the header.
    package var match: String
    /// The class, such as `1:20`.
    package var flow: String

    package init(preference: Int, match: String, flow: String) {
        self.preference = preference
        self.match = match
        self.flow = flow
    }

    /// Leads what goes to or comes from a network to the class of what stays in the datacentre.
    package static func inside(_ network: IPv4Network, _ field: Field) -> TrafficFilter {
        TrafficFilter(
            preference: 2, match: match(network, field),
            flow: "\(TrafficTree.handle)\(TrafficTree.hex(TrafficTree.insideMinor))")
    }

    /// A network as tc prints the match of one: value, mask, and offset.
    static func match(_ network: IPv4Network, _ field: Field) -> String {
        func digits(_ value: UInt32) -> String {
            let text = String(value, radix: 16)
            return String(repeating: "0", count: 8 - text.utf8.count) + text
        }
        let mask =
            network.prefixLength == 0 ? 0 : UInt32.max << UInt32(32 - network.prefixLength)
        return "\(digits(network.address.value))/\(digits(mask)) at \(field.offset)"
    }

    /// The line that adds it.
    func addCommand(device: String, parent: String) -> String {
        // `VALUE/MASK at OFFSET` as tc prints it is `VALUE MASK at OFFSET` as tc reads it.
        let words = match.split(separator: " ").flatMap { $0.split(separator: "/") }
        let key = words.count == 4 ? "0x\(words[0]) 0x\(words[1]) at \(words[3])" : "0 0"
        return "filter add dev \(device) parent \(parent) protocol ip pref \(preference) "
            + "u32 match u32 \(key) flowid \(flow)"
    }
}

/// The way by which what comes in through a device is shaped like what goes out of another: an
/// `ifb` (Intermediate Functional Block), the kernel's only means to hold back what it receives.
package enum TrafficRedirect {
    /// `tc` lines that lead all that comes in through `device` over `target`, from what was found.
    package static func commands(
        device: String, target: String, found: FoundTraffic
    ) -> [String] {
        guard !found.hasIngress || found.redirects != [target] else { return [] }
        return removalCommands(device: device, found: found) + [
            "qdisc add dev \(device) ingress",
            "filter add dev \(device) parent ffff: protocol all pref 1 u32 match u32 0 0 "
                + "action mirred egress redirect dev \(target)",
        ]
    }

    /// `tc` lines that let what comes in through the device take the straight way.
    package static func removalCommands(device: String, found: FoundTraffic) -> [String] {
        found.hasIngress ? ["qdisc del dev \(device) ingress"] : []
    }
}
