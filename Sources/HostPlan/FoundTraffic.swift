/// The traffic control of one device, as `tc` prints it.
package struct FoundTraffic: Equatable, Sendable {
    /// The queueing discipline at the root.
    package struct Root: Equatable, Sendable {
        /// Such as `htb`.
        package var kind: String
        /// Such as `1:`.
        package var handle: String
        /// The class of what no filter matches; nil when it has no such thing.
        package var defaultMinor: Int?

        package init(kind: String, handle: String, defaultMinor: Int? = nil) {
            self.kind = kind
            self.handle = handle
            self.defaultMinor = defaultMinor
        }
    }

    /// One class.
    package struct Class: Equatable, Sendable {
        /// Its number.
        package var minor: Int
        /// The number of the class above; nil at the top.
        package var parentMinor: Int?

        package init(minor: Int, parentMinor: Int? = nil) {
            self.minor = minor
            self.parentMinor = parentMinor
        }
    }

    /// The root; nil when it is not known.
    package var root: Root?
    /// The classes.
    package var classes: [Class] = []
    /// The filters at the root that lead to a class.
    package var filters: [TrafficFilter] = []
    /// True when what comes in has a discipline of its own.
    package var hasIngress = false
    /// Where filters of what comes in redirect it; `?` for every filter that is not such a one.
    package var redirects: [String] = []

    package init(root: Root? = nil) { self.root = root }

    /// True when something was put at the root; the kernel's own default has no handle.
    package var hasRoot: Bool { root.map { $0.handle != "0:" } ?? false }

    /// The lines for `tc -force -batch` whose output `read` understands.
    package static func listCommands(devices: [String]) -> String {
        devices.map { device in
            """
            qdisc show dev \(device)
            class show dev \(device)
            filter show dev \(device)
            filter show dev \(device) ingress

            """
        }.joined()
    }

    /// Reads the listing by device; lines that are not understood are left out.
    ///
    /// tc does not repeat a device's name that it was asked for, but names the root of every device
    /// first. So the devices must be those of `listCommands`, in that order; nil when the number of
    /// roots differs, since one is gone then.
    package static func read(_ text: String, devices: [String]) -> [String: FoundTraffic]? {
        var found: [FoundTraffic] = []
        var isIncoming = false
        for line in text.utf8.split(separator: UInt8(ascii: "\n")) {
            let words = Substring(line).split(whereSeparator: { $0 == " " || $0 == "\t" })
            guard let first = words.first else { continue }
            if first == "qdisc", words.contains("root") { found.append(FoundTraffic()) }
            guard !found.isEmpty else { continue }
            let last = found.count - 1
            switch first {
            case "qdisc": found[last].take(discipline: words)
            case "class": found[last].take(class: words)
            case "filter":
                isIncoming = word(after: "parent", in: words) == "ffff:"
                found[last].take(filter: words, isIncoming: isIncoming)
            case "match": found[last].take(match: words, isIncoming: isIncoming)
            case "action": found[last].take(action: words)
            default: break
            }
        }
        guard found.count == devices.count else { return nil }
        for index in found.indices { found[index].filters.removeAll { $0.match.isEmpty } }
        return Dictionary(zip(devices, found)) { first, _ in first }
    }

    // MARK: - Lines

    /// Takes `qdisc htb 1: root refcnt 2 r2q 10 default 0x10 ...`.
    private mutating func take(discipline words: [Substring]) {
        guard words.count >= 3 else { return }
        if words[1] == "ingress" {
            hasIngress = true
        } else if words.contains("root") {
            root = Root(
                kind: String(words[1]), handle: String(words[2]),
                defaultMinor: FoundTraffic.word(after: "default", in: words)
                    .flatMap { FoundTraffic.number($0) })
        }
    }

    /// Takes `class htb 1:10 parent 1:1 leaf 10: prio 0 rate ...`, or `root` in place of the parent.
    private mutating func take(class words: [Substring]) {
        guard words.count >= 3, let minor = FoundTraffic.minor(String(words[2])) else { return }
        classes.append(
            Class(
                minor: minor,
                parentMinor: FoundTraffic.word(after: "parent", in: words)
                    .flatMap { FoundTraffic.minor($0) }))
    }

    /// Takes `filter parent 1: protocol ip pref 2 u32 chain 0 fh 800::800 ... flowid 1:20 ...`.
    private mutating func take(filter words: [Substring], isIncoming: Bool) {
        // The first lines of a filter only name its table.
        guard words.contains("key"), let text = FoundTraffic.word(after: "pref", in: words),
            let preference = Int(text)
        else { return }
        if isIncoming {
            redirects.append("?")
        } else {
            filters.append(
                TrafficFilter(
                    preference: preference, match: "",
                    // With a star the class was made after the filter.
                    flow: FoundTraffic.word(after: "flowid", in: words)
                        ?? FoundTraffic.word(after: "*flowid", in: words) ?? ""))
        }
    }

    /// Takes `match 0a400000/ffc00000 at 16`, below its filter.
    private mutating func take(match words: [Substring], isIncoming: Bool) {
        guard words.count == 4, !isIncoming, !filters.isEmpty else { return }
        let match = words.dropFirst().joined(separator: " ")
        let last = filters.count - 1
        // A second match makes it another filter than any of this program's.
        filters[last].match += filters[last].match.isEmpty ? match : " and \(match)"
    }

    /// Takes `action order 1: mirred (Egress Redirect to device X) stolen`, below its filter.
    private mutating func take(action words: [Substring]) {
        guard !redirects.isEmpty, words.contains("(Egress"), words.contains("Redirect"),
            let target = FoundTraffic.word(after: "device", in: words), target.hasSuffix(")")
        else { return }
        redirects[redirects.count - 1] = String(target.dropLast())
    }

    private static func word(after key: String, in words: [Substring]) -> String? {
        guard let index = words.firstIndex(of: key[...]), index + 1 < words.count else {
            return nil
        }
        return String(words[index + 1])
    }

    private static func number(_ text: String) -> Int? {
        Int(text.hasPrefix("0x") ? String(text.dropFirst(2)) : text, radix: 16)
    }

    private static func minor(_ identifier: String) -> Int? {
        let parts = identifier.split(separator: ":", omittingEmptySubsequences: false)
        return parts.count == 2 ? number(String(parts[1])) : nil
    }
}
