/// A set's network limits and published ports.
package struct NetworkSpec: Hashable, Sendable, Codable {
    /// What it may send; nil is unlimited.
    package var egress: BandwidthSpec?
    /// What it may receive; nil is unlimited.
    package var ingress: BandwidthSpec?
    /// Ports of the host that lead to a port of the service's sets there.
    package var publish: [PublishedPort]

    package init(
        egress: BandwidthSpec? = nil, ingress: BandwidthSpec? = nil, publish: [PublishedPort] = []
    ) {
        self.egress = egress
        self.ingress = ingress
        self.publish = publish
    }

    /// Makes a spec whose rates are also their ceilings, in bits per second; nil is unlimited.
    package init(
        egressBitsPerSecond: Int?, ingressBitsPerSecond: Int? = nil, publish: [PublishedPort] = []
    ) {
        self.init(
            egress: egressBitsPerSecond.map { BandwidthSpec(bitsPerSecond: $0) },
            ingress: ingressBitsPerSecond.map { BandwidthSpec(bitsPerSecond: $0) },
            publish: publish)
    }

    /// Makes a spec with a limit of what the set receives alone, rate and ceiling in one.
    package init(ingressBitsPerSecond: Int?, publish: [PublishedPort] = []) {
        self.init(
            egressBitsPerSecond: nil, ingressBitsPerSecond: ingressBitsPerSecond, publish: publish)
    }

    /// The one number of what it may send, in bits per second: see `BandwidthSpec.single`.
    package var egressBitsPerSecond: Int? {
        get { egress?.single }
        set { BandwidthSpec.set(&egress, single: newValue) }
    }

    /// The one number of what it may receive, in bits per second: see `BandwidthSpec.single`.
    package var ingressBitsPerSecond: Int? {
        get { ingress?.single }
        set { BandwidthSpec.set(&ingress, single: newValue) }
    }

    private enum CodingKeys: String, CodingKey {
        case egress
        case ingress
        case publish
        /// Of records written before a limit had a rate and a ceiling.
        case egressBitsPerSecond
        case ingressBitsPerSecond
    }

    package init(from decoder: any Decoder) throws {
        let fields = try decoder.container(keyedBy: CodingKeys.self)
        func read(_ key: CodingKeys, _ older: CodingKeys) throws -> BandwidthSpec? {
            if let spec = try fields.decodeIfPresent(BandwidthSpec.self, forKey: key) {
                return spec
            }
            return try fields.decodeIfPresent(Int.self, forKey: older)
                .map { BandwidthSpec(bitsPerSecond: $0) }
        }
        self.init(
            egress: try read(.egress, .egressBitsPerSecond),
            ingress: try read(.ingress, .ingressBitsPerSecond),
            publish: try fields.decode([PublishedPort].self, forKey: .publish))
    }

    package func encode(to encoder: any Encoder) throws {
        var fields = encoder.container(keyedBy: CodingKeys.self)
        try fields.encodeIfPresent(egress, forKey: .egress)
        try fields.encodeIfPresent(ingress, forKey: .ingress)
        try fields.encode(publish, forKey: .publish)
    }
}

/// The bandwidth of one direction, in bits per second on the wire, Ethernet headers included.
package struct BandwidthSpec: Hashable, Sendable, Codable {
    /// The share of the host's own bandwidth that nobody can take away, which the scheduler counts;
    /// nil is none.
    package var rateBitsPerSecond: Int?
    /// What the set never exceeds, however much the host has to spare; nil is unlimited.
    package var ceilingBitsPerSecond: Int?
    /// What of it may leave the datacentre at the most; nil is as much as the ceiling.
    package var outsideBitsPerSecond: Int?

    package init(
        rateBitsPerSecond: Int? = nil, ceilingBitsPerSecond: Int? = nil,
        outsideBitsPerSecond: Int? = nil
    ) {
        self.rateBitsPerSecond = rateBitsPerSecond
        self.ceilingBitsPerSecond = ceilingBitsPerSecond
        self.outsideBitsPerSecond = outsideBitsPerSecond
    }

    /// Makes a limit whose rate is its ceiling: what `egress: 50Mbit` means.
    package init(bitsPerSecond: Int) {
        self.init(rateBitsPerSecond: bitsPerSecond, ceilingBitsPerSecond: bitsPerSecond)
    }

    /// The one number that says most: the ceiling, or without one the rate.
    package var single: Int? { ceilingBitsPerSecond ?? rateBitsPerSecond }

    /// Makes one number rate and ceiling, and keeps what may leave the datacentre as far as it fits;
    /// nil lifts the limit, also of what leaves the datacentre.
    static func set(_ spec: inout BandwidthSpec?, single: Int?) {
        spec = single.map { number in
            BandwidthSpec(
                rateBitsPerSecond: number, ceilingBitsPerSecond: number,
                outsideBitsPerSecond: spec?.outsideBitsPerSecond.map { min($0, number) })
        }
    }
}

/// A port of every host that runs the service, leading to its sets on that host in turn.
package struct PublishedPort: Hashable, Sendable, Codable {
    /// The port inside the set.
    package var port: Int
    /// The port on the host.
    package var hostPort: Int
    /// `tcp` or `udp`.
    package var transport: String

    package init(port: Int, hostPort: Int, transport: String = "tcp") {
        self.port = port
        self.hostPort = hostPort
        self.transport = transport
    }
}
