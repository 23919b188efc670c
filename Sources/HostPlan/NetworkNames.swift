import Base
import ClusterModel

/// The names of a host's network objects, as the kernel and the `ip` tool know them.
///
/// Network namespaces are files under `/run/netns`, which all agents on a machine share, so their
/// names carry the agent's short identity; interfaces live inside the agent's own namespace.
package struct NetworkNames: Equatable, Sendable {
    /// What tells this agent's objects from another's on the same machine: 1 to 16 of `a-z 0-9`.
    package let instance: String
    /// The bridge: 1 to 15 of `a-z 0-9`, a letter first.
    package let bridge: String

    /// The longest interface name the kernel takes (IFNAMSIZ less the NUL).
    package static let interfaceNameBytesMax = 15

    /// Makes the names; nil when instance or bridge break their rule.
    package init?(instance: String, bridge: String) {
        func plain(_ text: String, most: Int) -> Bool {
            1...most ~= text.utf8.count
                && text.utf8.allSatisfy { 97...122 ~= $0 || 48...57 ~= $0 }
        }
        guard plain(instance, most: 16), plain(bridge, most: NetworkNames.interfaceNameBytesMax),
            let first = bridge.utf8.first, 97...122 ~= first
        else { return nil }
        self.instance = instance
        self.bridge = bridge
    }

    /// The nftables table of this host's published ports.
    package var table: String { "shoal_\(bridge)" }

    /// The set's network namespace, such as `shoal-3f9a1c22d0-web.3`.
    package func namespace(_ slot: SlotID) -> String { "shoal-\(instance)-\(slot)" }

    /// The set of a network namespace of this agent; nil for every other name.
    package func slot(namespace: String) -> SlotID? {
        let prefix = "shoal-\(instance)-"
        guard namespace.hasPrefix(prefix),
            let slot = SlotID(String(namespace.dropFirst(prefix.count))),
            self.namespace(slot) == namespace
        else { return nil }
        return slot
    }

    /// The file of the set's network namespace.
    package func namespacePath(_ slot: SlotID) -> String { "/run/netns/\(namespace(slot))" }

    /// The host's end of the set's cable, such as `shl4kq07zc-3`: 15 bytes at most.
    ///
    /// 35 bits of a hash of instance and service, then the ordinal, so that sets of one service
    /// never share a name. Two services share one with a chance of 1 in 3 * 10^10; the interface's
    /// alias, which names the set, lets the applier notice. An ordinal above 46,655 (three digits
    /// in base 36) is hashed as well.
    package func interface(_ slot: SlotID) -> String {
        var hash = FingerprintHasher()
        hash.combine(bytes: instance.utf8)
        hash.combine(UInt8(ascii: "/"))
        hash.combine(bytes: slot.service.utf8)
        let isShort = 0..<46_656 ~= slot.ordinal
        if !isShort { hash.combine(UInt64(bitPattern: Int64(slot.ordinal))) }
        // FNV's low bits are its weak ones for short texts: fold the high half in.
        var rest = hash.value ^ (hash.value >> 29)
        var letters: [UInt8] = []
        let digits = Array("abcdefghijklmnopqrstuvwxyz234567".utf8)
        for _ in 0..<7 {
            letters.append(digits[Int(rest % 32)])
            rest /= 32
        }
        let ordinal = isShort ? "-" + String(slot.ordinal, radix: 36) : ""
        return "shl" + String(decoding: letters, as: UTF8.self) + ordinal
    }

    /// The alias of the interface: whose it is, which set's, and the set's address.
    package func alias(_ slot: SlotID, address: IPv4Address) -> String {
        "\(instance) \(slot) \(address)"
    }

    /// The set and its address in an interface's alias; nil when it is not one of this agent's.
    package func assignment(alias: String) -> AddressBook.Assignment? {
        let words = alias.split(separator: " ")
        guard words.count == 3, words[0] == instance, let slot = SlotID(String(words[1])),
            let address = IPv4Address(words[2])
        else { return nil }
        return AddressBook.Assignment(slot: slot, address: address)
    }
}
