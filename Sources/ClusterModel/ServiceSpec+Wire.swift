import Base
import Wire

extension ServiceSpec: WireCodable {
    /// Written always; what is older is read, and what it lacks has its default.
    ///
    /// 1: the first. 2: volumes; bandwidth with rate, ceiling and what leaves the datacentre; CPU
    /// burst and cores, soft memory limit and swap, input and output. 3: backups of volumes, how they
    /// are mounted and which file system is in them; runtime, devices and capabilities.
    private static let version: UInt8 = 3

    package func encode(into writer: inout ByteWriter) {
        writer.write(byte: ServiceSpec.version)
        writer.write(name)
        writer.write(pool)
        writer.write(sets)
        writer.write(priority)
        writer.write(UInt64(containers.count))
        for container in containers { container.encode(into: &writer) }
        network.encode(into: &writer)
        writer.write(placement)
        writer.write(UInt64(volumes.count))
        for volume in volumes { volume.encode(into: &writer) }
        writer.write(optional: runtime)
    }

    package init(from reader: inout ByteReader) throws(WireError) {
        let version = try reader.readByte()
        guard 1...ServiceSpec.version ~= version else {
            throw .unknownCase(what: "service spec version", value: UInt64(version))
        }
        self.init(
            name: try reader.readString(maximum: WireBounds.name),
            pool: try reader.readString(maximum: WireBounds.name),
            sets: try reader.readInt(), priority: try reader.readInt(),
            containers: try reader.readList(maximum: WireBounds.list) {
                reader throws(WireError) in try ContainerSpec(from: &reader, version: version)
            },
            network: try NetworkSpec(from: &reader, version: version),
            placement: try reader.read(),
            volumes: version >= 2
                ? try reader.readList(maximum: WireBounds.list) {
                    reader throws(WireError) in try VolumeSpec(from: &reader, version: version)
                } : [])
        guard version >= 3, try reader.readBool() else { return }
        runtime = try reader.readString(maximum: WireBounds.name)
    }
}

extension VolumeSpec {
    fileprivate func encode(into writer: inout ByteWriter) {
        writer.write(name)
        writer.write(sizeBytes)
        writer.write(mount)
        writer.write(volumeClass)
        writer.write(optional: backup)
        writer.write(readOnly)
        writer.write(noExec)
        writer.write(optional: fileSystem)
    }

    fileprivate init(from reader: inout ByteReader, version: UInt8) throws(WireError) {
        self.init(
            name: try reader.readString(maximum: WireBounds.name),
            sizeBytes: try reader.readInt(),
            mount: try reader.readString(maximum: WireBounds.mount),
            volumeClass: try reader.read())
        guard version >= 3 else { return }
        backup = try reader.readOptional()
        readOnly = try reader.readBool()
        noExec = try reader.readBool()
        fileSystem = try reader.readOptional()
    }
}

extension VolumeFileSystem: WireCodable {
    package func encode(into writer: inout ByteWriter) {
        switch self {
        case .ext4: writer.write(byte: 0)
        case .xfs: writer.write(byte: 1)
        }
    }

    package init(from reader: inout ByteReader) throws(WireError) {
        switch try reader.readByte() {
        case 0: self = .ext4
        case 1: self = .xfs
        case let other: throw .unknownCase(what: "file system", value: UInt64(other))
        }
    }
}

extension VolumeClass: WireCodable {
    package func encode(into writer: inout ByteWriter) {
        switch self {
        case .lvm: writer.write(byte: 0)
        case .loop: writer.write(byte: 1)
        case .directory: writer.write(byte: 2)
        }
    }

    package init(from reader: inout ByteReader) throws(WireError) {
        switch try reader.readByte() {
        case 0: self = .lvm
        case 1: self = .loop
        case 2: self = .directory
        case let other: throw .unknownCase(what: "volume class", value: UInt64(other))
        }
    }
}

/// What is read at most; `problems()` is stricter and explains itself.
private enum WireBounds {
    static let name = 256
    static let list = 256
    static let reference = 512
    static let mount = 4_096
    static let value = SpecLimits.variableValueBytes
}

extension ContainerSpec {
    fileprivate func encode(into writer: inout ByteWriter) {
        writer.write(name)
        writer.write(image)
        writer.write(list: command)
        writer.write(list: environment)
        cpu.encode(into: &writer)
        memory.encode(into: &writer)
        writer.write(pidsMax)
        io.encode(into: &writer)
        writer.write(list: devices)
        writer.write(list: capabilities)
    }

    fileprivate init(from reader: inout ByteReader, version: UInt8) throws(WireError) {
        self.init(
            name: try reader.readString(maximum: WireBounds.name),
            image: try reader.readString(maximum: WireBounds.reference),
            command: try reader.readList(maximum: SpecLimits.arguments),
            environment: try reader.readList(maximum: SpecLimits.variables),
            cpu: try CPUSpec(from: &reader, version: version),
            memory: try MemorySpec(from: &reader, version: version),
            pidsMax: try reader.readInt(),
            io: version >= 2 ? try IOSpec(from: &reader) : IOSpec())
        guard version >= 3 else { return }
        devices = try reader.readList(maximum: WireBounds.list)
        capabilities = try reader.readList(maximum: WireBounds.list)
    }
}

extension CPUSpec {
    fileprivate func encode(into writer: inout ByteWriter) {
        writer.write(requestMillicores)
        writer.write(limitMillicores)
        writer.write(burstMillicores)
        switch cores {
        case .shared: writer.write(byte: 0)
        case .dedicated: writer.write(byte: 1)
        }
    }

    fileprivate init(from reader: inout ByteReader, version: UInt8) throws(WireError) {
        self.init(
            requestMillicores: try reader.readInt(), limitMillicores: try reader.readInt())
        guard version >= 2 else { return }
        burstMillicores = try reader.readInt()
        switch try reader.readByte() {
        case 0: cores = .shared
        case 1: cores = .dedicated
        case let other: throw .unknownCase(what: "class of cores", value: UInt64(other))
        }
    }
}

extension MemorySpec {
    fileprivate func encode(into writer: inout ByteWriter) {
        writer.write(requestBytes)
        writer.write(limitBytes)
        writer.write(optionalNumber: softBytes)
        writer.write(swapBytes)
    }

    fileprivate init(from reader: inout ByteReader, version: UInt8) throws(WireError) {
        self.init(requestBytes: try reader.readInt(), limitBytes: try reader.readInt())
        guard version >= 2 else { return }
        softBytes = try reader.readOptionalNumber()
        swapBytes = try reader.readInt()
    }
}

extension IOSpec {
    fileprivate func encode(into writer: inout ByteWriter) {
        writer.write(optionalNumber: weight)
        writer.write(optionalNumber: readBytesPerSecond)
        writer.write(optionalNumber: writeBytesPerSecond)
        writer.write(optionalNumber: readOperationsPerSecond)
        writer.write(optionalNumber: writeOperationsPerSecond)
    }

    fileprivate init(from reader: inout ByteReader) throws(WireError) {
        self.init(
            weight: try reader.readOptionalNumber(),
            readBytesPerSecond: try reader.readOptionalNumber(),
            writeBytesPerSecond: try reader.readOptionalNumber(),
            readOperationsPerSecond: try reader.readOptionalNumber(),
            writeOperationsPerSecond: try reader.readOptionalNumber())
    }
}

extension EnvironmentVariable: WireCodable {
    package func encode(into writer: inout ByteWriter) {
        writer.write(name)
        writer.write(value)
    }

    package init(from reader: inout ByteReader) throws(WireError) {
        self.init(
            name: try reader.readString(maximum: WireBounds.name),
            value: try reader.readString(maximum: WireBounds.value))
    }
}

extension NetworkSpec {
    fileprivate func encode(into writer: inout ByteWriter) {
        for bandwidth in [egress, ingress] {
            writer.write(bandwidth != nil)
            bandwidth?.encode(into: &writer)
        }
        writer.write(list: publish)
    }

    fileprivate init(from reader: inout ByteReader, version: UInt8) throws(WireError) {
        self.init(
            egress: try BandwidthSpec.read(&reader, version: version),
            ingress: try BandwidthSpec.read(&reader, version: version),
            publish: try reader.readList(maximum: WireBounds.list))
    }
}

extension BandwidthSpec {
    fileprivate func encode(into writer: inout ByteWriter) {
        writer.write(optionalNumber: rateBitsPerSecond)
        writer.write(optionalNumber: ceilingBitsPerSecond)
        writer.write(optionalNumber: outsideBitsPerSecond)
    }

    fileprivate static func read(
        _ reader: inout ByteReader, version: UInt8
    ) throws(WireError) -> BandwidthSpec? {
        guard try reader.readBool() else { return nil }
        if version < 2 { return BandwidthSpec(bitsPerSecond: try reader.readInt()) }
        return BandwidthSpec(
            rateBitsPerSecond: try reader.readOptionalNumber(),
            ceilingBitsPerSecond: try reader.readOptionalNumber(),
            outsideBitsPerSecond: try reader.readOptionalNumber())
    }
}

extension PublishedPort: WireCodable {
    package func encode(into writer: inout ByteWriter) {
        writer.write(port)
        writer.write(hostPort)
        writer.write(transport)
    }

    package init(from reader: inout ByteReader) throws(WireError) {
        self.init(
            port: try reader.readInt(), hostPort: try reader.readInt(),
            transport: try reader.readString(maximum: WireBounds.name))
    }
}

extension PlacementSpec: WireCodable {
    package func encode(into writer: inout ByteWriter) {
        writer.write(list: datacenters)
        writer.write(list: spread)
        writer.write(list: apartFrom)
    }

    package init(from reader: inout ByteReader) throws(WireError) {
        self.init(
            datacenters: try reader.readList(maximum: WireBounds.list),
            spread: try reader.readList(maximum: WireBounds.list),
            apartFrom: try reader.readList(maximum: WireBounds.list))
    }
}

extension FailureDomain: WireCodable {
    package func encode(into writer: inout ByteWriter) {
        switch self {
        case .datacenter: writer.write(byte: 0)
        case .rack: writer.write(byte: 1)
        case .host: writer.write(byte: 2)
        }
    }

    package init(from reader: inout ByteReader) throws(WireError) {
        switch try reader.readByte() {
        case 0: self = .datacenter
        case 1: self = .rack
        case 2: self = .host
        case let other: throw .unknownCase(what: "failure domain", value: UInt64(other))
        }
    }
}

extension ByteWriter {
    fileprivate mutating func write(optionalNumber value: Int?) {
        write(value != nil)
        if let value { write(value) }
    }
}

extension ByteReader {
    fileprivate mutating func readOptionalNumber() throws(WireError) -> Int? {
        try readBool() ? try readInt() : nil
    }
}
