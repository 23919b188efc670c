/// New limits for every set of a service while they run; what is nil stays as it is.
///
/// The body of `shoal resize`. A limit below the request takes the request with it, since no more
/// than the limit can ever be used; a request above the limit is refused.
package struct ServiceResize: Hashable, Sendable, Codable {
    /// The container that processor and memory limits are for; nil is the only one of the set.
    package var container: String?
    /// What is set aside of the processors, in millicores.
    package var cpuRequestMillicores: Int?
    /// The processor quota, in millicores.
    package var cpuLimitMillicores: Int?
    /// What is set aside of memory, in bytes.
    package var memoryRequestBytes: Int?
    /// The hard limit of memory, in bytes.
    package var memoryLimitBytes: Int?
    /// The most processes and threads at once.
    package var pidsMax: Int?
    /// The most a set may send, in bits per second; 0 lifts the limit.
    package var egressBitsPerSecond: Int?
    /// The most a set may receive, in bits per second; 0 lifts the limit.
    package var ingressBitsPerSecond: Int?
    /// New sizes of volumes; they only grow while they are in use.
    package var volumes: [VolumeSize]?
    /// What may be saved up of unused quota, in millicores.
    package var cpuBurstMillicores: Int?
    /// Whether its cores are shared or dedicated.
    package var cores: CoreClass?
    /// Where memory begins to be reclaimed, in bytes; 0 lifts the soft limit.
    package var memorySoftBytes: Int?
    /// Swap beyond the hard limit of memory, in bytes.
    package var memorySwapBytes: Int?
    /// The weight on a contended disk; 0 is the kernel's own.
    package var ioWeight: Int?
    /// The most bytes read in a second; 0 lifts the limit, as below.
    package var ioReadBytesPerSecond: Int?
    /// The most bytes written in a second.
    package var ioWriteBytesPerSecond: Int?
    /// The most read operations in a second.
    package var ioReadOperationsPerSecond: Int?
    /// The most write operations in a second.
    package var ioWriteOperationsPerSecond: Int?

    package init(
        container: String? = nil, cpuRequestMillicores: Int? = nil,
        cpuLimitMillicores: Int? = nil, memoryRequestBytes: Int? = nil,
        memoryLimitBytes: Int? = nil, pidsMax: Int? = nil, egressBitsPerSecond: Int? = nil,
        ingressBitsPerSecond: Int? = nil, volumes: [VolumeSize]? = nil
    ) {
        self.container = container
        self.cpuRequestMillicores = cpuRequestMillicores
        self.cpuLimitMillicores = cpuLimitMillicores
        self.memoryRequestBytes = memoryRequestBytes
        self.memoryLimitBytes = memoryLimitBytes
        self.pidsMax = pidsMax
        self.egressBitsPerSecond = egressBitsPerSecond
        self.ingressBitsPerSecond = ingressBitsPerSecond
        self.volumes = volumes
    }

    /// True when it asks for nothing.
    package var isEmpty: Bool { self == ServiceResize(container: container) }

    /// True when it changes a container, not only the set's network.
    fileprivate var changesContainer: Bool {
        [
            cpuRequestMillicores, cpuLimitMillicores, memoryRequestBytes, memoryLimitBytes, pidsMax,
            cpuBurstMillicores, memorySoftBytes, memorySwapBytes, ioWeight, ioReadBytesPerSecond,
            ioWriteBytesPerSecond, ioReadOperationsPerSecond, ioWriteOperationsPerSecond,
        ].contains { $0 != nil } || cores != nil
    }
}

/// The size that a volume of each set is to have.
package struct VolumeSize: Hashable, Sendable, Codable {
    /// The volume's name in its service.
    package var name: String
    /// How much it holds, in bytes.
    package var sizeBytes: Int

    package init(name: String, sizeBytes: Int) {
        self.name = name
        self.sizeBytes = sizeBytes
    }
}

/// Why new limits do not fit a service's spec.
package struct ResizeProblem: Error, Hashable, Sendable, CustomStringConvertible {
    /// What is wrong and what to do.
    package let description: String
}

extension ServiceSpec {
    /// The spec with new limits; its other rules are `problems()`'s to check.
    ///
    /// Throws `ResizeProblem` when nothing is asked for, or for a container that is not there.
    package func resized(by resize: ServiceResize) throws(ResizeProblem) -> ServiceSpec {
        guard !resize.isEmpty else {
            throw ResizeProblem(
                description: "nothing to resize; give at least one of cpu, burst, cores, memory, "
                    + "soft memory, swap, pids, io, egress, ingress and volume")
        }
        var spec = self
        let position = try position(of: resize)
        if let position { spec.containers[position].take(resize) }
        if let rate = resize.egressBitsPerSecond {
            spec.network.egressBitsPerSecond = rate == 0 ? nil : rate
        }
        if let rate = resize.ingressBitsPerSecond {
            spec.network.ingressBitsPerSecond = rate == 0 ? nil : rate
        }
        for size in resize.volumes ?? [] { try spec.resizeVolume(size) }
        return spec
    }

    private mutating func resizeVolume(_ size: VolumeSize) throws(ResizeProblem) {
        guard let position = volumes.firstIndex(where: { $0.name == size.name }) else {
            let names = volumes.map(\.name).joined(separator: ", ")
            throw ResizeProblem(
                description: "service \(name) has no volume '\(quoted(size.name))'; it has "
                    + (names.isEmpty ? "none" : names))
        }
        volumes[position].sizeBytes = size.sizeBytes
    }

    private func position(of resize: ServiceResize) throws(ResizeProblem) -> Int? {
        let names = containers.map(\.name).joined(separator: ", ")
        if let name = resize.container {
            guard let position = containers.firstIndex(where: { $0.name == name }) else {
                throw ResizeProblem(
                    description: "service \(self.name) has no container '\(quoted(name))'; it "
                        + "has \(names)")
            }
            return position
        }
        guard resize.changesContainer else { return nil }
        guard containers.count == 1 else {
            throw ResizeProblem(
                description: "a set of \(name) has \(containers.count) containers; say which "
                    + "one to resize with --container: \(names)")
        }
        return 0
    }

    /// What a set is made of, without the limits that can change while it runs.
    ///
    /// Two specs that are equal in this differ in nothing that a running set would have to be made
    /// anew for.
    package var withoutLimits: ServiceSpec {
        var spec = self
        for position in spec.containers.indices {
            spec.containers[position].cpu = CPUSpec()
            spec.containers[position].memory = MemorySpec()
            spec.containers[position].pidsMax = 0
            spec.containers[position].io = IOSpec()
        }
        for position in spec.volumes.indices {
            spec.volumes[position].sizeBytes = 0
            spec.volumes[position].backup = nil
        }
        spec.network.egressBitsPerSecond = nil
        spec.network.ingressBitsPerSecond = nil
        return spec
    }

    /// Why this may not follow an earlier spec of the same service; nil when it may.
    ///
    /// A volume cannot become something else, nor smaller than what sets have of it: `held` is the
    /// largest volume of each name that the service has on any host. A size that was wanted and
    /// that no host could give is free to be taken back.
    package func problem(after earlier: ServiceSpec, held: [VolumeSize]) -> String? {
        for volume in volumes {
            guard let known = earlier.volumes.first(where: { $0.name == volume.name }) else {
                continue
            }
            guard volume.volumeClass == known.volumeClass else {
                return "volume \(volume.name) of \(name) is of class "
                    + "\(known.volumeClass.rawValue) and stays so; give a volume of class "
                    + "\(volume.volumeClass.rawValue) another name"
            }
            // Whatever stands in the spec, the volumes that are there have one already.
            let (old, new) = (known.fileSystem ?? .ext4, volume.fileSystem ?? .ext4)
            guard old == new else {
                return "volume \(volume.name) of \(name) has the file system \(old.rawValue) and "
                    + "keeps it; give a volume with \(new.rawValue) another name"
            }
            // Below what the spec said until now only as far as the volumes themselves are: what
            // was larger than its spec already, such as a restored one, stays so.
            let most = held.first { $0.name == volume.name }?.sizeBytes ?? 0
            guard volume.sizeBytes >= min(known.sizeBytes, most) else {
                return "volume \(volume.name) of \(name) has "
                    + "\(Quantity.text(bytes: most)) and cannot shrink to "
                    + "\(Quantity.text(bytes: volume.sizeBytes)) while it is in use; it can grow"
            }
        }
        return nil
    }
}

extension ContainerSpec {
    fileprivate mutating func take(_ resize: ServiceResize) {
        cpu.limitMillicores = resize.cpuLimitMillicores ?? cpu.limitMillicores
        cpu.requestMillicores =
            resize.cpuRequestMillicores ?? min(cpu.requestMillicores, cpu.limitMillicores)
        memory.limitBytes = resize.memoryLimitBytes ?? memory.limitBytes
        memory.requestBytes =
            resize.memoryRequestBytes ?? min(memory.requestBytes, memory.limitBytes)
        pidsMax = resize.pidsMax ?? pidsMax
        cpu.burstMillicores =
            resize.cpuBurstMillicores ?? min(cpu.burstMillicores, cpu.limitMillicores)
        cpu.cores = resize.cores ?? cpu.cores
        // All of dedicated cores is set aside, since nobody else can use it.
        if cpu.cores == .dedicated, resize.cpuRequestMillicores == nil {
            cpu.requestMillicores = cpu.limitMillicores
        }
        memory.swapBytes = resize.memorySwapBytes ?? memory.swapBytes
        memory.softBytes = ContainerSpec.taken(resize.memorySoftBytes, memory.softBytes)
        // A soft limit above the hard one could never be reached.
        if resize.memorySoftBytes == nil, let soft = memory.softBytes {
            memory.softBytes = min(soft, memory.limitBytes)
        }
        io.weight = ContainerSpec.taken(resize.ioWeight, io.weight)
        io.readBytesPerSecond = ContainerSpec.taken(
            resize.ioReadBytesPerSecond, io.readBytesPerSecond)
        io.writeBytesPerSecond = ContainerSpec.taken(
            resize.ioWriteBytesPerSecond, io.writeBytesPerSecond)
        io.readOperationsPerSecond = ContainerSpec.taken(
            resize.ioReadOperationsPerSecond, io.readOperationsPerSecond)
        io.writeOperationsPerSecond = ContainerSpec.taken(
            resize.ioWriteOperationsPerSecond, io.writeOperationsPerSecond)
    }

    /// A limit after a change: 0 lifts it.
    private static func taken(_ change: Int?, _ value: Int?) -> Int? {
        change.map { $0 == 0 ? nil : $0 } ?? value
    }
}
