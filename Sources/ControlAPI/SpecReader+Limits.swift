import ClusterModel

/// The limits of a container: processors, memory, input and output.
extension SpecReader {
    /// A limit without a request keeps the request below it, and the other way round.
    mutating func cpu(_ node: YAMLNode, _ path: String) -> CPUSpec {
        let fields = mapping(node, path, known: ["request", "limit", "burst", "cores"])
        let request = fields["request"].flatMap {
            quantity($0, path + ".request", Quantity.millicores)
        }
        let limit = fields["limit"].flatMap { quantity($0, path + ".limit", Quantity.millicores) }
        var spec = CPUSpec()
        spec.limitMillicores = limit ?? max(spec.limitMillicores, request ?? 0)
        spec.requestMillicores = request ?? min(spec.requestMillicores, spec.limitMillicores)
        set(
            &spec.burstMillicores,
            fields["burst"].flatMap { quantity($0, path + ".burst", Quantity.millicores) })
        set(
            &spec.cores,
            fields["cores"].flatMap { choice($0, path + ".cores", of: CoreClass.self) })
        if spec.cores == .dedicated, request == nil {
            spec.requestMillicores = spec.limitMillicores
        }
        return spec
    }

    /// The same for memory.
    mutating func memory(_ node: YAMLNode, _ path: String) -> MemorySpec {
        let fields = mapping(node, path, known: ["request", "soft", "limit", "swap"])
        let request = fields["request"].flatMap { quantity($0, path + ".request", Quantity.bytes) }
        let limit = fields["limit"].flatMap { quantity($0, path + ".limit", Quantity.bytes) }
        var spec = MemorySpec()
        spec.limitBytes = limit ?? max(spec.limitBytes, request ?? 0)
        spec.requestBytes = request ?? min(spec.requestBytes, spec.limitBytes)
        spec.softBytes = fields["soft"].flatMap { quantity($0, path + ".soft", Quantity.bytes) }
        set(
            &spec.swapBytes,
            fields["swap"].flatMap { quantity($0, path + ".swap", Quantity.bytes) })
        return spec
    }

    /// Weight and caps of the disk.
    mutating func io(_ node: YAMLNode, _ path: String) -> IOSpec {
        let fields = mapping(
            node, path,
            known: ["weight", "read", "write", "read-operations", "write-operations"])
        return IOSpec(
            weight: fields["weight"].flatMap { wholeNumber($0, path + ".weight") },
            readBytesPerSecond: fields["read"].flatMap {
                quantity($0, path + ".read", Quantity.bytesPerSecond)
            },
            writeBytesPerSecond: fields["write"].flatMap {
                quantity($0, path + ".write", Quantity.bytesPerSecond)
            },
            readOperationsPerSecond: fields["read-operations"].flatMap {
                wholeNumber($0, path + ".read-operations")
            },
            writeOperationsPerSecond: fields["write-operations"].flatMap {
                wholeNumber($0, path + ".write-operations")
            })
    }
}
