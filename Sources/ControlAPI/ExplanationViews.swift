import ClusterModel

// Why a set is where it is, as `GET /v1/sets/SLOT/explanation` answers.

/// Why a set is where it is, or nowhere, and what its limits are.
package struct ExplanationView: Codable, Hashable, Sendable {
    /// The slot, such as `web.3`.
    package var slot: String
    /// `pending`, `starting`, `running`, `backingOff`, `stopping` or `failed`.
    package var phase: String
    /// Why it is in that phase: a sentence; absent when there is nothing to say.
    package var reason: String?
    /// The name of the host it is placed on; absent while it has none.
    package var host: String?
    /// The revision of the template it runs or shall run.
    package var revision: UInt64
    /// The revision whose limits are in force; absent while none are.
    package var limitsRevision: UInt64?
    /// What one set has set aside of processors.
    package var cpuMillicores: Int
    /// What one set has set aside of memory.
    package var memoryBytes: Int
    /// What one set is sure to be able to send, in bits per second.
    package var egressBitsPerSecond: Int
    /// What one set is sure to be able to receive, in bits per second.
    package var ingressBitsPerSecond: Int
    /// What its volumes of class `loop` and `directory` take together.
    package var volumeDiskBytes: Int
    /// What its volumes of class `lvm` take together.
    package var volumePoolBytes: Int
    /// The host it would go to if it were placed anew now; absent when none fits.
    package var best: String?
    /// Every host: those that fit in the order of preference, then the others.
    package var hosts: [HostChoiceView]
    /// The containers with the limits that are in force, in the order of the service's file, without
    /// their environment; with those that are wanted while none are.
    package var containers: [ContainerSpec]
    /// The set's network, with its limits: in force, as above.
    package var network: NetworkSpec
    /// The set's volumes, with the sizes they have as far as their host told.
    package var volumes: [VolumeSpec]
    /// What is wanted instead; absent while it is in force, and while nothing is.
    package var wanted: WantedLimitsView?
    /// What of the limits its host does not enforce, charge or tell, one sentence each.
    package var notes: [String]
    /// Why the host could not be asked for notes; absent when it was, or there is none.
    package var notesProblem: String?

    package init(
        slot: String, phase: String, reason: String?, host: String?, revision: UInt64,
        limitsRevision: UInt64?, demand: Resources, room: VolumeRoom, best: String?,
        hosts: [HostChoiceView], spec: ServiceSpec, notes: [String] = [],
        notesProblem: String? = nil
    ) {
        self.slot = slot
        self.phase = phase
        self.reason = reason
        self.host = host
        self.revision = revision
        self.limitsRevision = limitsRevision
        cpuMillicores = demand.millicores
        memoryBytes = demand.memoryBytes
        egressBitsPerSecond = demand.egressBitsPerSecond
        ingressBitsPerSecond = demand.ingressBitsPerSecond
        volumeDiskBytes = room.diskBytes
        volumePoolBytes = room.poolBytes
        self.best = best
        self.hosts = hosts
        containers = spec.containers.map(\.withoutEnvironment)
        network = spec.network
        volumes = spec.volumes
        self.notes = notes
        self.notesProblem = notesProblem
    }
}

/// What the scheduler thinks of one host for one set, as if the set were not placed.
package struct HostChoiceView: Codable, Hashable, Sendable {
    /// The host's name.
    package var host: String
    /// The host's key in hexadecimal.
    package var id: String
    /// True when the set is placed there.
    package var isPlacedHere: Bool
    /// True when the set fits.
    package var fits: Bool
    /// Why it was passed over, as the end of a sentence that begins with the host; absent when it
    /// fits.
    package var obstacle: String?
    /// Other sets of the service in its datacentre.
    package var setsInDatacenter: Int
    /// Other sets of the service in its rack.
    package var setsInRack: Int
    /// Other sets of the service on it.
    package var setsOnHost: Int
    /// The free share of what is scarcest on it, in ten-thousandths.
    package var freeShare: Int

    package init(
        host: String, id: String, isPlacedHere: Bool, obstacle: String?, setsInDatacenter: Int,
        setsInRack: Int, setsOnHost: Int, freeShare: Int
    ) {
        self.host = host
        self.id = id
        self.isPlacedHere = isPlacedHere
        fits = obstacle == nil
        self.obstacle = obstacle
        self.setsInDatacenter = setsInDatacenter
        self.setsInRack = setsInRack
        self.setsOnHost = setsOnHost
        self.freeShare = freeShare
    }
}

/// Limits that are wanted of a set and that it has not.
package struct WantedLimitsView: Codable, Hashable, Sendable {
    /// The revision that they are of.
    package var revision: UInt64
    /// The containers with these limits, without their environment.
    package var containers: [ContainerSpec]
    /// The network with these limits.
    package var network: NetworkSpec
    /// The volumes with the sizes that are wanted.
    package var volumes: [VolumeSpec]
    /// The commands that make what is in force wanted again; empty when none can.
    package var takeBack: [String]

    package init(revision: UInt64, spec: ServiceSpec, takeBack: [String]) {
        self.revision = revision
        containers = spec.containers.map(\.withoutEnvironment)
        network = spec.network
        volumes = spec.volumes
        self.takeBack = takeBack
    }
}

extension ContainerSpec {
    /// The container without what may hold secrets.
    fileprivate var withoutEnvironment: ContainerSpec {
        var container = self
        container.environment = []
        return container
    }
}
