import Base

/// An amount of what hosts offer and sets take.
package struct Resources: Hashable, Sendable, Codable {
    /// Processor time: 1,000 is one core.
    package var millicores: Int
    /// Memory in bytes.
    package var memoryBytes: Int
    /// Number of sets.
    package var sets: Int
    /// What may be sent beyond the host, in bits per second; 0 in a capacity is not known.
    package var egressBitsPerSecond: Int
    /// What may be received from beyond the host, in bits per second; 0 in a capacity is not known.
    package var ingressBitsPerSecond: Int

    package init(
        millicores: Int = 0, memoryBytes: Int = 0, sets: Int = 0, egressBitsPerSecond: Int = 0,
        ingressBitsPerSecond: Int = 0
    ) {
        self.millicores = millicores
        self.memoryBytes = memoryBytes
        self.sets = sets
        self.egressBitsPerSecond = egressBitsPerSecond
        self.ingressBitsPerSecond = ingressBitsPerSecond
    }

    /// True when `demand` fits into this in every dimension.
    package func fits(_ demand: Resources) -> Bool {
        millicores >= demand.millicores && memoryBytes >= demand.memoryBytes && sets >= demand.sets
            && fitsBandwidth(demand)
    }

    /// True when the bandwidth of `demand` fits; who asks for none needs none to be left.
    package func fitsBandwidth(_ demand: Resources) -> Bool {
        demand.egressBitsPerSecond <= max(egressBitsPerSecond, 0)
            && demand.ingressBitsPerSecond <= max(ingressBitsPerSecond, 0)
    }

    /// What a host of this capacity offers: bandwidth that it does not know is no reason to refuse,
    /// so it is as much as 250 sets of the highest rate ask for.
    package var offered: Resources {
        var offered = self
        if egressBitsPerSecond == 0 { offered.egressBitsPerSecond = HostFactsBounds.amountMax }
        if ingressBitsPerSecond == 0 { offered.ingressBitsPerSecond = HostFactsBounds.amountMax }
        return offered
    }

    /// The larger of both in every dimension.
    package func union(_ other: Resources) -> Resources {
        Resources(
            millicores: max(millicores, other.millicores),
            memoryBytes: max(memoryBytes, other.memoryBytes), sets: max(sets, other.sets),
            egressBitsPerSecond: max(egressBitsPerSecond, other.egressBitsPerSecond),
            ingressBitsPerSecond: max(ingressBitsPerSecond, other.ingressBitsPerSecond))
    }

    package static func + (left: Resources, right: Resources) -> Resources {
        Resources(
            millicores: left.millicores + right.millicores,
            memoryBytes: left.memoryBytes + right.memoryBytes, sets: left.sets + right.sets,
            egressBitsPerSecond: left.egressBitsPerSecond + right.egressBitsPerSecond,
            ingressBitsPerSecond: left.ingressBitsPerSecond + right.ingressBitsPerSecond)
    }

    package static func - (left: Resources, right: Resources) -> Resources {
        Resources(
            millicores: left.millicores - right.millicores,
            memoryBytes: left.memoryBytes - right.memoryBytes, sets: left.sets - right.sets,
            egressBitsPerSecond: left.egressBitsPerSecond - right.egressBitsPerSecond,
            ingressBitsPerSecond: left.ingressBitsPerSecond - right.ingressBitsPerSecond)
    }
}

/// A failure domain path: datacentre, then rack.
package struct Zone: Hashable, Sendable, Codable {
    /// The datacentre; `default` when none is configured.
    package var datacenter: String
    /// The rack; `default` when none is configured.
    package var rack: String

    package init(datacenter: String = "default", rack: String = "default") {
        self.datacenter = datacenter
        self.rack = rack
    }
}

/// The compact record a host gossips of itself: one writer, and the highest version wins.
package struct HostFacts: Hashable, Sendable, Codable {
    /// Rises with every change the host makes, within one boot epoch.
    package var version: UInt64
    /// The host's name, for people.
    package var name: String
    /// What it offers to sets.
    package var capacity: Resources
    /// What its admitted sets hold.
    package var allocated: Resources
    /// Where it stands.
    package var zone: Zone
    /// The pool it offers itself to.
    package var pool: String
    /// The version of its agent, such as `0.1.0`.
    package var agentVersion: String
    /// What it can do beyond what every host can; stays out of gossip, as bandwidth does.
    package var abilities: HostAbilities

    package init(
        version: UInt64 = 1, name: String, capacity: Resources,
        allocated: Resources = Resources(), zone: Zone = Zone(), pool: String = "default",
        agentVersion: String = "0.1.0", abilities: HostAbilities = HostAbilities()
    ) {
        self.version = version
        self.name = name
        self.capacity = capacity
        self.allocated = allocated
        self.zone = zone
        self.pool = pool
        self.agentVersion = agentVersion
        self.abilities = abilities
    }

    /// What is left for further sets.
    package var free: Resources { capacity.offered - allocated }
}
