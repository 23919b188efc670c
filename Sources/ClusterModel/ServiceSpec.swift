import Base

/// What an operator asks for: a named template for sets, how many, and where they may run.
///
/// The whole of `shoal apply`'s file. Quantities are in base units (millicores, bytes, bits per
/// second); the texts people write (`250m`, `64Mi`, `50Mbit`) are read by `Quantity`.
package struct ServiceSpec: Hashable, Sendable, Codable {
    /// The service's name: 1 to 40 of `a-z 0-9 -`, a letter first, no hyphen last.
    package var name: String
    /// The pool of hosts its sets may run on.
    package var pool: String
    /// How many sets are wanted: 0 to 100,000.
    package var sets: Int
    /// Which service goes first when room is short: 0 to 100, higher first.
    package var priority: Int
    /// The containers of one set, 1 to 16, started in this order.
    package var containers: [ContainerSpec]
    /// The set's network: limits and published ports.
    package var network: NetworkSpec
    /// Where sets may run and how they spread.
    package var placement: PlacementSpec
    /// What outlives a set's containers, at most 16.
    package var volumes: [VolumeSpec]
    /// The OCI runtime of its containers, by the name that hosts know it by; nil is each host's own.
    package var runtime: String?

    package init(
        name: String, pool: String = "default", sets: Int = 1, priority: Int = 50,
        containers: [ContainerSpec], network: NetworkSpec = NetworkSpec(),
        placement: PlacementSpec = PlacementSpec(), volumes: [VolumeSpec] = [],
        runtime: String? = nil
    ) {
        self.name = name
        self.pool = pool
        self.sets = sets
        self.priority = priority
        self.containers = containers
        self.network = network
        self.placement = placement
        self.volumes = volumes
        self.runtime = runtime
    }
}

/// One container of a set.
package struct ContainerSpec: Hashable, Sendable, Codable {
    /// The container's name, unique in its set: same rule as a service's.
    package var name: String
    /// The image's reference, such as `demo/web:1`.
    package var image: String
    /// The command and its arguments; empty means the image's own.
    package var command: [String]
    /// Environment variables, added to the image's own; sorted by name.
    package var environment: [EnvironmentVariable]
    /// Processor share.
    package var cpu: CPUSpec
    /// Memory.
    package var memory: MemorySpec
    /// The most processes and threads at once.
    package var pidsMax: Int
    /// Reading and writing of disks.
    package var io: IOSpec
    /// Device files of the host that it may open, such as `/dev/fuse`.
    package var devices: [String]
    /// Capabilities on top of the usual ones, without `CAP_`, such as `NET_RAW`.
    package var capabilities: [String]

    package init(
        name: String, image: String, command: [String] = [],
        environment: [EnvironmentVariable] = [], cpu: CPUSpec = CPUSpec(),
        memory: MemorySpec = MemorySpec(), pidsMax: Int = 1_024, io: IOSpec = IOSpec(),
        devices: [String] = [], capabilities: [String] = []
    ) {
        self.name = name
        self.image = image
        self.command = command
        self.environment = environment
        self.cpu = cpu
        self.memory = memory
        self.pidsMax = pidsMax
        self.io = io
        self.devices = devices
        self.capabilities = capabilities
    }
}

// Records of an earlier version lack what came later: see LimitSpecs.swift.
extension ServiceSpec {
    package init(from decoder: any Decoder) throws {
        let fields = try decoder.container(keyedBy: CodingKeys.self)
        self.init(
            name: try fields.decode(String.self, forKey: .name),
            pool: try fields.decode(String.self, forKey: .pool),
            sets: try fields.decode(Int.self, forKey: .sets),
            priority: try fields.decode(Int.self, forKey: .priority),
            containers: try fields.decode([ContainerSpec].self, forKey: .containers),
            network: try fields.decode(NetworkSpec.self, forKey: .network),
            placement: try fields.decode(PlacementSpec.self, forKey: .placement),
            volumes: try fields.decodeIfPresent([VolumeSpec].self, forKey: .volumes) ?? [],
            runtime: try fields.decodeIfPresent(String.self, forKey: .runtime))
    }
}

extension ContainerSpec {
    package init(from decoder: any Decoder) throws {
        let fields = try decoder.container(keyedBy: CodingKeys.self)
        self.init(
            name: try fields.decode(String.self, forKey: .name),
            image: try fields.decode(String.self, forKey: .image),
            command: try fields.decode([String].self, forKey: .command),
            environment: try fields.decode([EnvironmentVariable].self, forKey: .environment),
            cpu: try fields.decode(CPUSpec.self, forKey: .cpu),
            memory: try fields.decode(MemorySpec.self, forKey: .memory),
            pidsMax: try fields.decode(Int.self, forKey: .pidsMax),
            io: try fields.decodeIfPresent(IOSpec.self, forKey: .io) ?? IOSpec(),
            devices: try fields.decodeIfPresent([String].self, forKey: .devices) ?? [],
            capabilities: try fields.decodeIfPresent([String].self, forKey: .capabilities) ?? [])
    }
}

/// One environment variable.
package struct EnvironmentVariable: Hashable, Sendable, Codable {
    /// The name: no `=`, no NUL, not empty.
    package var name: String
    /// The value: no NUL.
    package var value: String

    package init(name: String, value: String) {
        self.name = name
        self.value = value
    }
}

/// Where a service's sets may run and how they spread.
package struct PlacementSpec: Hashable, Sendable, Codable {
    /// Datacentres that are allowed; empty allows all.
    package var datacenters: [String]
    /// Failure domains to spread over, widest first: of `datacenter`, `rack`, `host`.
    package var spread: [FailureDomain]
    /// Services that must not share a host with this one.
    package var apartFrom: [String]

    package init(
        datacenters: [String] = [], spread: [FailureDomain] = [.datacenter, .rack, .host],
        apartFrom: [String] = []
    ) {
        self.datacenters = datacenters
        self.spread = spread
        self.apartFrom = apartFrom
    }
}

/// What may fail as one.
package enum FailureDomain: String, Hashable, Sendable, Codable, CaseIterable {
    /// A datacentre.
    case datacenter
    /// A rack in a datacentre.
    case rack
    /// One host.
    case host
}
