import ClusterModel

/// Which set on a host has which address of the host's subnet.
///
/// Addresses are handed out lowest first from `.2` (`.1` is the bridge, `.255` the broadcast
/// address), and a slot that has one keeps it: a container restarted in place, or an agent that came
/// back and read the assignments off the interfaces, changes nothing that others may remember.
package struct AddressBook: Equatable, Sendable {
    /// One set's address.
    package struct Assignment: Hashable, Sendable {
        /// The set.
        package var slot: SlotID
        /// Its address.
        package var address: IPv4Address

        package init(slot: SlotID, address: IPv4Address) {
            self.slot = slot
            self.address = address
        }
    }

    /// The host's subnet.
    package let subnet: IPv4Network
    /// What is handed out, in the order of slots.
    package private(set) var assignments: [Assignment] = []

    /// Starts from what is in use; what lies outside the subnet or is given twice is left out.
    package init(subnet: IPv4Network, existing: [Assignment] = []) {
        self.subnet = subnet
        for assignment in existing {
            guard usable.contains(where: { subnet.address(at: $0) == assignment.address }),
                !assignments.contains(where: {
                    $0.slot == assignment.slot || $0.address == assignment.address
                })
            else { continue }
            insert(assignment)
        }
    }

    /// The address of the bridge: the first of the subnet.
    package var gateway: IPv4Address { IPv4Address(value: subnet.address.value + 1) }

    /// How many sets can have an address at once: 253 in a /24.
    package var capacity: Int { usable.count }

    /// The slot's address; nil when it has none.
    package func address(of slot: SlotID) -> IPv4Address? {
        assignments.first { $0.slot == slot }?.address
    }

    /// Gives the slot the address it has, or else the lowest free one; nil when all are taken.
    package mutating func assign(_ slot: SlotID) -> IPv4Address? {
        if let address = address(of: slot) { return address }
        let taken = assignments.map(\.address).sorted()
        var next = taken.startIndex
        for offset in usable {
            guard let address = subnet.address(at: offset) else { return nil }
            if next < taken.endIndex, taken[next] == address {
                next += 1
                continue
            }
            insert(Assignment(slot: slot, address: address))
            return address
        }
        return nil
    }

    /// Takes the slot's address back; nothing happens when it has none.
    package mutating func release(_ slot: SlotID) {
        assignments.removeAll { $0.slot == slot }
    }

    /// The offsets that sets may have: all but the network, the bridge and the broadcast address.
    private var usable: Range<Int> {
        let size = 1 << min(32 - subnet.prefixLength, 16)
        return size > 3 ? 2..<(size - 1) : 2..<2
    }

    private mutating func insert(_ assignment: Assignment) {
        let index = assignments.firstIndex { assignment.slot < $0.slot } ?? assignments.endIndex
        assignments.insert(assignment, at: index)
    }
}
