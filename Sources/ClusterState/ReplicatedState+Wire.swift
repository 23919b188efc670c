import Base
import ClusterModel
import Wire

/// The snapshot form. What follows from the rest (allocations, counts, who is stranded) is not
/// written but worked out when it is read; a placement names its host by position, to be short.
extension ReplicatedState: WireCodable {
    /// The form that is written; older ones are still read.
    static let version: UInt8 = 4

    /// A hash of the snapshot form: equal states have equal ones, in every process.
    package var fingerprint: UInt64 {
        var hasher = FingerprintHasher()
        hasher.combine(bytes: encoded)
        return hasher.value
    }

    package func encode(into writer: inout ByteWriter) {
        writer.write(byte: ReplicatedState.version)
        writer.write(appliedIndex)
        writer.write(appliedEpoch)
        writer.write(list: hosts)
        writer.write(UInt64(services.count))
        for service in services { encode(service, into: &writer) }
        writer.write(list: images)
        writer.write(list: tombstones)
        writer.write(list: recentEvents.elements)
        requests.encode(into: &writer)
        writer.write(list: hostVolumes)
        writer.write(list: volumeBackups)
        // By the position of the host.
        for host in hosts { writer.write(optional: host.volumeOffer) }
        for host in hosts { writer.write(host.registration.abilities) }
        writer.write(list: moves)
        writer.write(list: finishedMoves)
        for told in hostVolumes { writer.write(conditionsOf: told.volumes) }
    }

    private func encode(_ service: ServiceRecord, into writer: inout ByteWriter) {
        writer.write(service.spec)
        writer.write(service.revision)
        writer.write(list: service.revisions)
        writer.write(service.createdAt)
        writer.write(service.shrunkAt)
        for slot in service.slots {
            writer.write(slot.changedAt)
            writer.write(slot.pendingReason)
            writer.write(optional: slot.volumeHost)
            writer.write(optional: slot.restoration)
            guard let placement = slot.placement, let host = hostPosition(placement.host) else {
                writer.write(false)
                continue
            }
            writer.write(true)
            writer.write(UInt64(host))
            writer.write(placement.revision)
            writer.write(placement.epoch)
            writer.write(slot.demand)
            writer.write(optional: slot.report)
        }
    }

    package init(from reader: inout ByteReader) throws(WireError) {
        self.init()
        let version = try reader.readByte()
        guard (1...ReplicatedState.version).contains(version) else {
            throw .unknownCase(what: "cluster state version", value: UInt64(version))
        }
        appliedIndex = try reader.read()
        appliedEpoch = try reader.read()
        hosts = try reader.readList(maximum: Limits.hosts)
        guard hosts.isStrictlyAscending(by: { $0.registration.id }) else {
            throw .invalid(what: "order of hosts")
        }
        let subnets = hosts.map(\.subnetIndex).sorted()
        guard subnets.isStrictlyAscending(by: { $0 }) else { throw .invalid(what: "subnets") }
        for _ in 0..<(try reader.readCount(maximum: Limits.services)) {
            try readService(from: &reader, version: version)
        }
        guard services.isStrictlyAscending(by: { $0.spec.name }) else {
            throw .invalid(what: "order of services")
        }
        images = try reader.readList(maximum: Limits.images)
        guard images.isStrictlyAscending(by: { $0.reference }) else {
            throw .invalid(what: "order of images")
        }
        for _ in 0..<(try reader.readCount(maximum: Limits.tombstones)) {
            tombstones.append(try Tombstone(from: &reader, version: version))
        }
        for event in try reader.readList(of: Event.self, maximum: Limits.events) {
            recentEvents.append(event)
        }
        requests = try RequestMemory(from: &reader)
        guard version >= 2 else { return }
        for _ in 0..<(try reader.readCount(maximum: 2 * Limits.hosts)) {
            hostVolumes.append(try HostVolumes(from: &reader, version: version))
        }
        guard hostVolumes.isStrictlyAscending(by: { $0.host }),
            hostVolumes.allSatisfy({ $0.volumes.isStrictlyAscending(by: { $0.id }) })
        else { throw .invalid(what: "order of volumes") }
        guard version >= 3 else { return }
        volumeBackups = try reader.readList(maximum: Limits.volumesBackedUp)
        guard volumeBackups.isStrictlyAscending(by: { $0.key }) else {
            throw .invalid(what: "order of backups")
        }
        for position in hosts.indices { hosts[position].volumeOffer = try reader.readOptional() }
        for position in hosts.indices {
            hosts[position].registration.abilities = try reader.read()
        }
        moves = try reader.readList(maximum: Limits.moves)
        guard moves.isStrictlyAscending(by: { $0.slot }) else {
            throw .invalid(what: "order of moves")
        }
        finishedMoves = try reader.readList(maximum: Limits.moves)
        guard version >= 4 else { return }
        for position in hostVolumes.indices {
            try reader.readConditions(of: &hostVolumes[position].volumes)
        }
    }

    private mutating func readService(
        from reader: inout ByteReader, version: UInt8
    ) throws(WireError) {
        let spec = try reader.read(ServiceSpec.self)
        guard SpecLimits.sets.contains(spec.sets), setCount + spec.sets <= Limits.sets else {
            throw .invalid(what: "number of sets")
        }
        var service = ServiceRecord(
            spec: spec, revision: try reader.readUInt64(),
            revisions: try reader.readList(maximum: Limits.revisionsMax),
            createdAt: try reader.read(), shrunkAt: try reader.read(), slots: [],
            homelessCount: 0, outdatedCount: 0)
        guard service.revision < UInt64.max, service.revisions.last?.number == service.revision,
            service.revisions.isStrictlyAscending(by: { $0.number })
        else { throw .invalid(what: "revisions of a service") }
        for ordinal in 0..<spec.sets {
            let slot = SlotID(service: spec.name, ordinal: ordinal)
            service.slots.append(try readSlot(slot, from: &reader, version: version))
        }
        setCount += spec.sets
        service.recount()
        services.append(service)
    }

    private mutating func readSlot(
        _ slot: SlotID, from reader: inout ByteReader, version: UInt8
    ) throws(WireError) -> SlotRecord {
        var record = SlotRecord(
            slot: slot, placement: nil, demand: Resources(), stranded: false, pendingReason: "",
            changedAt: try reader.read(), volumeHost: nil, report: nil)
        record.pendingReason = try reader.readText()
        if version >= 2 { record.volumeHost = try reader.readOptional() }
        if version >= 3 { record.restoration = try reader.readOptional() }
        guard try reader.readBool() else { return record }
        let host = try reader.readCount(maximum: Limits.hosts)
        guard host < hosts.count else { throw .invalid(what: "host of a placement") }
        record.placement = Placement(
            slot: slot, host: hosts[host].id, revision: try reader.readUInt64(),
            epoch: try reader.read(), index: record.changedAt)
        record.demand = try reader.read()
        if try reader.readBool() { record.report = try SetStatus(from: &reader, version: version) }
        record.stranded = hosts[host].status == .lost
        let allocated = hosts[host].allocated + record.demand
        guard allocated.isSane else { throw .invalid(what: "allocation of a host") }
        hosts[host].allocated = allocated
        hosts[host].slots.append(slot)
        return record
    }
}

extension RequestMemory: WireCodable {
    func encode(into writer: inout ByteWriter) {
        let requests = order.elements
        writer.write(UInt64(requests.count))
        for request in requests {
            writer.write(request)
            if case .refused(let refusal) = outcome(of: request) {
                writer.write(true)
                writer.write(refusal)
            } else {
                writer.write(false)
            }
        }
    }

    init(from reader: inout ByteReader) throws(WireError) {
        self.init()
        for _ in 0..<(try reader.readCount(maximum: Limits.requests)) {
            let request = try reader.read(RequestID.self)
            guard outcome(of: request) == nil else { throw .invalid(what: "repeated request") }
            remember(request, refusal: try reader.readOptional())
        }
    }
}

extension Array {
    /// True when every key is above the one before it.
    func isStrictlyAscending<Key: Comparable>(by keyOf: (Element) -> Key) -> Bool {
        zip(self, dropFirst()).allSatisfy { keyOf($0) < keyOf($1) }
    }
}
