/// One network interface, as `ip -o link show` prints it.
package struct NetworkLink: Equatable, Sendable {
    /// The interface's name.
    package var name: String
    /// The bridge it belongs to; nil when to none.
    package var master: String?
    /// True when it is switched on.
    package var isUp: Bool
    /// The free text that its maker attached; nil when there is none.
    package var alias: String?

    package init(name: String, master: String? = nil, isUp: Bool = false, alias: String? = nil) {
        self.name = name
        self.master = master
        self.isUp = isUp
        self.alias = alias
    }

    /// Reads the listing: one interface a line, `\` where other forms break the line.
    ///
    /// Lines that are not understood are left out.
    package static func list(_ text: String) -> [NetworkLink] {
        text.utf8.split(separator: UInt8(ascii: "\n")).compactMap { link(Substring($0)) }
    }

    private static func link(_ line: Substring) -> NetworkLink? {
        // 3: name@peer: <FLAGS> mtu 1500 ... master shoal0 ...\    link/ether ...\    alias text
        let parts = line.split(separator: "\\")
        guard let head = parts.first else { return nil }
        let words = head.split(separator: " ")
        guard words.count >= 3, words[0].hasSuffix(":"), words[1].hasSuffix(":"),
            words[2].hasPrefix("<"), words[2].hasSuffix(">"),
            let name = words[1].dropLast().split(separator: "@").first
        else { return nil }
        var link = NetworkLink(name: String(name))
        link.isUp = words[2].dropFirst().dropLast().split(separator: ",").contains("UP")
        if let index = words.firstIndex(of: "master"), index + 1 < words.count {
            link.master = String(words[index + 1])
        }
        for part in parts.dropFirst() {
            let words = part.split(separator: " ")
            guard words.first == "alias" else { continue }
            link.alias = words.dropFirst().joined(separator: " ")
        }
        return link
    }
}
