import Base
import ClusterModel

/// Why a set may not go to a host.
///
/// The scheduler's filters, the check when a decision is applied and the host's own admission ask
/// the same function, so that they cannot disagree.
package enum PlacementObstacle: Hashable, Sendable {
    /// The host is lost.
    case lost
    /// The host is not lost, but membership does not see it alive at the moment.
    case unreachable
    /// The host belongs to this pool and not to the service's.
    case otherPool(String)
    /// The host stands in this datacentre, which the service does not allow.
    case otherDatacenter(String)
    /// The host runs sets of this service, which must be kept apart.
    case apartFrom(String)
    /// Not enough processor time is free.
    case lacksCPU
    /// Not enough memory is free.
    case lacksMemory
    /// It holds as many sets as it takes.
    case lacksSets
    /// Not enough bandwidth is free to guarantee what the set asks for.
    case lacksBandwidth
    /// The slot's volumes are on the host of this name, and it runs nowhere else.
    case volumesElsewhere(String)
    /// It has no thin pool that works, and the set has volumes of class `lvm`.
    case lacksThinPool
    /// Its kernel has no loop devices, and the set has volumes of class `loop`.
    case lacksLoopDevices
    /// It joined just now and has not told yet what it can promise to volumes.
    case volumeRoomUnknown
    /// Too little of what it can promise to volumes of this class is free.
    case lacksVolumeRoom(VolumeClass, freeBytes: Int, ofBytes: Int)
    /// It has no OCI runtime of this name.
    case lacksRuntime(String)
    /// It does not let containers have this device file.
    case forbidsDevice(String)
    /// It does not let containers have this capability.
    case forbidsCapability(String)
}

extension HostRecord {
    /// Why a set of `spec` may not go to this host; nil when it may.
    ///
    /// `free` is what is left on the host, `promised` what it promised to volumes of others, and
    /// `apart` names the services that the set must not share it with
    /// (`ReplicatedState.servicesApart(from:)`).
    package func obstacle(
        to spec: ServiceSpec, demand: Resources, free: Resources, apart: [String],
        volumes: VolumeNeed, promised: VolumeRoom
    ) -> PlacementObstacle? {
        exclusion(of: spec, apart: apart, volumes: volumes)
            ?? HostRecord.shortage(of: free, for: demand)
            ?? volumeShortage(for: volumes, promised: promised)
    }

    /// What is missing here for volumes beside what is promised; nil when they fit.
    package func volumeShortage(
        for need: VolumeNeed, promised: VolumeRoom
    ) -> PlacementObstacle? {
        // What has its room already needs nobody's word.
        guard let volumeOffer else { return need.room == VolumeRoom() ? nil : .volumeRoomUnknown }
        return volumeOffer.shortage(for: need, promised: promised)
    }

    /// Why a set of `spec` may not go to this host, however much room there is.
    package func exclusion(
        of spec: ServiceSpec, apart: [String], volumes: VolumeNeed
    ) -> PlacementObstacle? {
        guard status == .active else { return .lost }
        if let holder = volumes.holder, holder.id != id { return .volumesElsewhere(holder.name) }
        guard registration.pool == spec.pool else { return .otherPool(registration.pool) }
        let datacenter = registration.zone.datacenter
        let allowed = spec.placement.datacenters
        guard allowed.isEmpty || allowed.contains(datacenter) else {
            return .otherDatacenter(datacenter)
        }
        if let obstacle = registration.abilities.obstacle(to: spec) { return obstacle }
        if let other = apart.first(where: { runs($0) }) { return .apartFrom(other) }
        return nil
    }

    /// True when a set of this demand fits beside those placed here.
    ///
    /// `releasing` is what an older placement of the same slot here gives back.
    package func fits(_ demand: Resources, releasing: Resources = Resources()) -> Bool {
        HostRecord.shortage(of: free + releasing, for: demand) == nil
    }

    /// What is missing most plainly; nil when the demand fits.
    package static func shortage(
        of free: Resources, for demand: Resources
    ) -> PlacementObstacle? {
        if free.memoryBytes < demand.memoryBytes { return .lacksMemory }
        if free.millicores < demand.millicores { return .lacksCPU }
        if free.sets < demand.sets { return .lacksSets }
        if !free.fitsBandwidth(demand) { return .lacksBandwidth }
        return nil
    }

    /// True when a set of the service is placed here.
    package func runs(_ service: String) -> Bool {
        let position = slots.lowerBound(of: SlotID(service: service, ordinal: 0)) { $0 }
        return position < slots.count && slots[position].service == service
    }
}

extension HostAbilities {
    /// What a set of `spec` needs and a host of these abilities does not do or allow; nil when
    /// nothing.
    package func obstacle(to spec: ServiceSpec) -> PlacementObstacle? {
        if let runtime = spec.runtime, !runtimes.contains(runtime) { return .lacksRuntime(runtime) }
        for container in spec.containers {
            if let device = container.devices.first(where: { !devices.contains($0) }) {
                return .forbidsDevice(device)
            }
            if let name = container.capabilities.first(where: { !capabilities.contains($0) }) {
                return .forbidsCapability(name)
            }
        }
        return nil
    }
}

extension ReplicatedState {
    /// The services that must not share a host with this one, by its own wish or by theirs; sorted.
    package func servicesApart(from service: String) -> [String] {
        var apart = self.service(service)?.spec.placement.apartFrom ?? []
        for other in services where other.spec.placement.apartFrom.contains(service) {
            apart.append(other.name)
        }
        return apart.sorted()
    }
}
