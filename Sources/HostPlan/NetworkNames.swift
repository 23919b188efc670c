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
    package func interface(_ slot: SlotID) -> String { "shl" + interfaceTail(slot) }

    /// The device over which goes what the set sends, such as `she4kq07zc-3`: the cable's name with
    /// another beginning.
    package func egressInterface(_ slot: SlotID) -> String { "she" + interfaceTail(slot) }

    /// The device over which goes what all sets send beyond the host.
    package var uplinkInterface: String { "shu" + letters("\(instance)/\(bridge)") }

    /// A device that is made and removed again to learn what the kernel can do.
    package var probeInterface: String { "shp" + letters("\(instance)/\(bridge)") }

    private func interfaceTail(_ slot: SlotID) -> String {
        let isShort = 0..<46_656 ~= slot.ordinal
        return letters("\(instance)/\(slot.service)", isShort ? nil : slot.ordinal)
            + (isShort ? "-" + String(slot.ordinal, radix: 36) : "")
    }

    /// Seven letters of a hash.
    private func letters(_ text: String, _ number: Int? = nil) -> String {
        var hash = FingerprintHasher()
        hash.combine(bytes: text.utf8)
        if let number { hash.combine(UInt64(bitPattern: Int64(number))) }
        // FNV's low bits are its weak ones for short texts: fold the high half in.
        var rest = hash.value ^ (hash.value >> 29)
        var letters: [UInt8] = []
        let digits = Array("abcdefghijklmnopqrstuvwxyz234567".utf8)
        for _ in 0..<7 {
            letters.append(digits[Int(rest % 32)])
            rest /= 32
        }
        return String(decoding: letters, as: UTF8.self)
    }

    /// The alias of the interface: whose it is, which set's, and the set's address.
    package func alias(_ slot: SlotID, address: IPv4Address) -> String {
        "\(instance) \(slot) \(address)"
    }

    /// The alias of the device over which goes what the set sends; names no address, so that it is
    /// not taken for the cable.
    package func egressAlias(_ slot: SlotID) -> String { "\(instance) \(slot) egress" }

    /// The set in the alias of an egress device; nil when it is not one of this agent's.
    package func egressSlot(alias: String) -> SlotID? {
        let words = alias.split(separator: " ")
        guard words.count == 3, words[0] == instance, words[2] == "egress" else { return nil }
        return SlotID(String(words[1]))
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
