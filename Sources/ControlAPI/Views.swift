// Answers of the local API. Keys are stable; quantities are in base units: millicores, bytes,
// milliseconds where the name says so.

/// A host as other answers name it.
package struct HostReference: Codable, Hashable, Sendable {
    /// The host's key in hexadecimal.
    package var id: String
    /// The host's name, for people.
    package var name: String

    package init(
        id: String,
        name: String
    ) {
        self.id = id
        self.name = name
    }
}

/// What `GET /v1/status` answers: the cluster as the asked host knows it.
///
/// Absent values are left out of the JSON.
package struct StatusView: Codable, Hashable, Sendable {
    /// The cluster's identity in hexadecimal.
    package var clusterID: String
    /// The host that answers.
    package var host: HostReference
    /// The version of the answering agent.
    package var agentVersion: String
    /// Who holds the lease; absent while nobody is known to hold it.
    package var leaseholder: HostReference?
    /// The lease term.
    package var epoch: UInt64
    /// The highest log index this host knows to be committed.
    package var commitIndex: UInt64
    /// The highest log index this host has applied.
    package var appliedIndex: UInt64
    /// How old this answer may be: the time since the leaseholder was last heard; absent when it
    /// was not heard since the agent's start.
    package var staleMilliseconds: Int?
    /// Hosts that answer.
    package var hostsAlive: Int
    /// Hosts that are known and have not left.
    package var hostsTotal: Int
    /// The hosts that vote on the log.
    package var voters: [HostReference]
    /// How many services there are.
    package var services: Int
    /// How many sets all services ask for.
    package var setsWanted: Int
    /// How many sets run.
    package var setsRunning: Int
    /// True while a majority of the voters is heard: writes are possible.
    package var quorum: Bool
    /// The peer plane's counters by name: received, sent, and what was dropped and why.
    package var peerPlane: [String: UInt64]

    package init(
        clusterID: String,
        host: HostReference,
        agentVersion: String,
        leaseholder: HostReference? = nil,
        epoch: UInt64,
        commitIndex: UInt64,
        appliedIndex: UInt64,
        staleMilliseconds: Int?,
        hostsAlive: Int,
        hostsTotal: Int,
        voters: [HostReference],
        services: Int,
        setsWanted: Int,
        setsRunning: Int,
        quorum: Bool,
        peerPlane: [String: UInt64] = [:]
    ) {
        self.clusterID = clusterID
        self.host = host
        self.agentVersion = agentVersion
        self.leaseholder = leaseholder
        self.epoch = epoch
        self.commitIndex = commitIndex
        self.appliedIndex = appliedIndex
        self.staleMilliseconds = staleMilliseconds
        self.hostsAlive = hostsAlive
        self.hostsTotal = hostsTotal
        self.voters = voters
        self.services = services
        self.setsWanted = setsWanted
        self.setsRunning = setsRunning
        self.quorum = quorum
        self.peerPlane = peerPlane
    }
}

/// One host, as `GET /v1/hosts` lists it.
package struct HostView: Codable, Hashable, Sendable {
    /// The host's key in hexadecimal.
    package var id: String
    /// The host's name, for people.
    package var name: String
    /// Where its peer plane listens, such as `10.0.0.1:7400`.
    package var address: String
    /// `alive`, `suspect`, `dead`, `left`, `lost` (dead, and its sets were re-placed) or `returning`
    /// (was lost, answers again, and gets sets as soon as it has registered).
    package var status: String
    /// True when it votes on the log.
    package var voter: Bool
    /// True when it holds the lease.
    package var leaseholder: Bool
    /// Its datacentre.
    package var datacenter: String
    /// Its rack.
    package var rack: String
    /// The pool it offers itself to.
    package var pool: String
    /// Processor time it offers: 1,000 is one core.
    package var cpuMillicores: Int
    /// What of it its sets hold.
    package var cpuMillicoresAllocated: Int
    /// What of it is left.
    package var cpuMillicoresFree: Int
    /// Memory it offers.
    package var memoryBytes: Int
    /// What of it its sets hold.
    package var memoryBytesAllocated: Int
    /// What of it is left.
    package var memoryBytesFree: Int
    /// What its sets may send, and as much that they may receive, beyond it, in bits per second;
    /// absent when it has no such limit.
    package var bandwidthBitsPerSecond: Int?
    /// What its sets are sure to be able to send, in bits per second.
    package var egressBitsPerSecondAllocated: Int
    /// What its sets are sure to be able to receive, in bits per second.
    package var ingressBitsPerSecondAllocated: Int
    /// What it can promise to volumes, by what keeps them; empty before it told.
    package var volumes: [VolumeRoomView]
    /// How many sets are placed there.
    package var sets: Int
    /// The version of its agent.
    package var agentVersion: String
    /// Counts its agent's starts: milliseconds since 1970 at the last one.
    package var bootEpoch: UInt64
    /// The OCI runtimes that sets may name.
    package var runtimes: [String]?
    /// The device files that containers may have.
    package var devices: [String]?
    /// The capabilities that containers may have on top of the usual ones.
    package var capabilities: [String]?

    package init(
        id: String,
        name: String,
        address: String,
        status: String,
        voter: Bool,
        leaseholder: Bool,
        datacenter: String,
        rack: String,
        pool: String,
        cpuMillicores: Int,
        cpuMillicoresAllocated: Int,
        cpuMillicoresFree: Int,
        memoryBytes: Int,
        memoryBytesAllocated: Int,
        memoryBytesFree: Int,
        bandwidthBitsPerSecond: Int? = nil,
        egressBitsPerSecondAllocated: Int = 0,
        ingressBitsPerSecondAllocated: Int = 0,
        volumes: [VolumeRoomView] = [],
        sets: Int,
        agentVersion: String,
        bootEpoch: UInt64,
        runtimes: [String]? = nil,
        devices: [String]? = nil,
        capabilities: [String]? = nil
    ) {
        self.id = id
        self.name = name
        self.address = address
        self.status = status
        self.voter = voter
        self.leaseholder = leaseholder
        self.datacenter = datacenter
        self.rack = rack
        self.pool = pool
        self.cpuMillicores = cpuMillicores
        self.cpuMillicoresAllocated = cpuMillicoresAllocated
        self.cpuMillicoresFree = cpuMillicoresFree
        self.memoryBytes = memoryBytes
        self.memoryBytesAllocated = memoryBytesAllocated
        self.memoryBytesFree = memoryBytesFree
        self.bandwidthBitsPerSecond = bandwidthBitsPerSecond
        self.egressBitsPerSecondAllocated = egressBitsPerSecondAllocated
        self.ingressBitsPerSecondAllocated = ingressBitsPerSecondAllocated
        self.volumes = volumes
        self.sets = sets
        self.agentVersion = agentVersion
        self.bootEpoch = bootEpoch
        self.runtimes = runtimes
        self.devices = devices
        self.capabilities = capabilities
    }
}

/// One service, as `GET /v1/services` lists it.
package struct ServiceView: Codable, Hashable, Sendable {
    /// Its name.
    package var name: String
    /// The pool its sets run in.
    package var pool: String
    /// The revision of its template: rises when what its containers are changes.
    package var revision: UInt64
    /// How many sets are wanted.
    package var sets: Int
    /// How many of them run.
    package var running: Int
    /// Which service goes first when room is short: 0 to 100.
    package var priority: Int
    /// The images of its containers, in their order.
    package var images: [String]
    /// Why not all its sets run: one sentence per reason.
    package var problems: [String]

    package init(
        name: String,
        pool: String,
        revision: UInt64,
        sets: Int,
        running: Int,
        priority: Int,
        images: [String],
        problems: [String] = []
    ) {
        self.name = name
        self.pool = pool
        self.revision = revision
        self.sets = sets
        self.running = running
        self.priority = priority
        self.images = images
        self.problems = problems
    }
}
