import ClusterModel
import FoundationEssentials

/// JSON in and out of the API: sorted keys out, no unknown keys in.
enum StrictJSON {
    /// The value as JSON with sorted keys.
    static func encode(_ value: some Encodable) throws -> [UInt8] {
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
        return Array(try encoder.encode(value))
    }

    /// Reads a value and refuses keys that `example`, encoded, does not have.
    ///
    /// The example must have every optional filled and one element in every array.
    static func decode<Value: Codable>(
        _ type: Value.Type, from bytes: [UInt8], example: Value
    ) throws -> Value {
        let data = Data(bytes)
        guard let tree = try? JSONDecoder().decode(JSONTree.self, from: data) else {
            throw ControlError(.invalid, "the body is not JSON")
        }
        let known = try JSONDecoder().decode(JSONTree.self, from: Data(try encode(example)))
        var problems: [ProblemView] = []
        tree.collectUnknownKeys(known: known, path: "", into: &problems)
        guard problems.isEmpty else {
            throw ControlError(.invalid, "the body has unknown keys", problems: problems)
        }
        do {
            return try JSONDecoder().decode(type, from: data)
        } catch let error as DecodingError {
            throw refusal(of: error)
        }
    }

    /// Reads a value that takes one of several forms and refuses keys that its form does not have.
    static func decodeChoice<Value: Codable>(
        _ type: Value.Type, from bytes: [UInt8]
    ) throws -> Value {
        let value: Value
        do {
            value = try JSONDecoder().decode(type, from: Data(bytes))
        } catch let error as DecodingError {
            throw refusal(of: error)
        }
        return try decode(type, from: bytes, example: value)
    }

    /// Reads a value that this program wrote; unknown keys are left alone.
    static func decodeLenient<Value: Decodable>(
        _ type: Value.Type, from bytes: [UInt8]
    ) throws -> Value {
        try JSONDecoder().decode(type, from: Data(bytes))
    }

    private static func refusal(of error: DecodingError) -> ControlError {
        func problem(_ context: DecodingError.Context, _ message: String) -> ControlError {
            ControlError(
                .invalid, "the body is not what this route takes",
                problems: [ProblemView(path: pathText(context.codingPath), message: message)])
        }
        switch error {
        case .keyNotFound(let key, let context):
            return problem(context, "key '\(key.stringValue)' is missing")
        case .typeMismatch(let type, let context):
            return problem(context, "must be \(kindName(of: type))")
        case .valueNotFound(let type, let context):
            return problem(context, "must be \(kindName(of: type)), not null")
        case .dataCorrupted(let context):
            return problem(context, "has a value that does not fit: \(context.debugDescription)")
        @unknown default:
            return ControlError(.invalid, "the body is not what this route takes")
        }
    }

    private static func kindName(of type: any Any.Type) -> String {
        switch type {
        case is String.Type: return "text"
        case is Int.Type, is Int64.Type, is UInt64.Type: return "a whole number"
        case is Bool.Type: return "true or false"
        case is [any Sendable].Type: return "a list"
        default: return "\(type)".hasPrefix("Array") ? "a list" : "an object"
        }
    }
}

/// The path of a key as the operator writes it, such as `containers[0].image`.
private func pathText(_ keys: [any CodingKey]) -> String {
    keys.reduce(into: "") { path, key in
        if let index = key.intValue {
            path += "[\(index)]"
        } else {
            path += (path.isEmpty ? "" : ".") + key.stringValue
        }
    }
}

/// Any JSON value, as far as its keys matter.
private indirect enum JSONTree: Decodable {
    case object([String: JSONTree])
    case array([JSONTree])
    case other

    init(from decoder: any Decoder) throws {
        if let keyed = try? decoder.container(keyedBy: AnyKey.self) {
            var members: [String: JSONTree] = [:]
            for key in keyed.allKeys {
                members[key.stringValue] = try keyed.decode(JSONTree.self, forKey: key)
            }
            self = .object(members)
        } else if var unkeyed = try? decoder.unkeyedContainer() {
            var elements: [JSONTree] = []
            while !unkeyed.isAtEnd { elements.append(try unkeyed.decode(JSONTree.self)) }
            self = .array(elements)
        } else {
            self = .other
        }
    }

    /// Notes every key that `known` does not have, by path; array elements are compared with the
    /// first known element.
    func collectUnknownKeys(known: JSONTree, path: String, into problems: inout [ProblemView]) {
        guard problems.count < 100 else { return }
        switch (self, known) {
        case (.object(let members), .object(let knownMembers)):
            for (key, member) in members.sorted(by: { $0.key < $1.key }) {
                let keyPath = path.isEmpty ? key : "\(path).\(key)"
                if let knownMember = knownMembers[key] {
                    member.collectUnknownKeys(known: knownMember, path: keyPath, into: &problems)
                } else {
                    problems.append(
                        ProblemView(
                            path: keyPath,
                            message: unknownKeyMessage(key, known: Array(knownMembers.keys))))
                }
            }
        case (.array(let elements), .array(let knownElements)):
            guard let first = knownElements.first else { return }
            for (index, element) in elements.enumerated() {
                element.collectUnknownKeys(
                    known: first, path: "\(path)[\(index)]", into: &problems)
            }
        default: return
        }
    }
}

/// A coding key of any name.
private struct AnyKey: CodingKey {
    let stringValue: String
    let intValue: Int? = nil

    init?(stringValue: String) { self.stringValue = stringValue }

    init?(intValue: Int) { return nil }
}

/// A service with every optional filled and every list non-empty: the known keys of its JSON form.
func exampleService() -> ServiceSpec {
    let exampleBandwidth = BandwidthSpec(
        rateBitsPerSecond: 1, ceilingBitsPerSecond: 1, outsideBitsPerSecond: 1)
    return ServiceSpec(
        name: "web",
        containers: [
            ContainerSpec(
                name: "app", image: "demo/web:1", command: ["httpd"],
                environment: [EnvironmentVariable(name: "A", value: "b")],
                memory: MemorySpec(softBytes: 1),
                io: IOSpec(
                    weight: 1, readBytesPerSecond: 1, writeBytesPerSecond: 1,
                    readOperationsPerSecond: 1, writeOperationsPerSecond: 1),
                devices: ["/dev/fuse"], capabilities: ["NET_RAW"])
        ],
        network: NetworkSpec(
            egress: exampleBandwidth, ingress: exampleBandwidth,
            publish: [PublishedPort(port: 80, hostPort: 80)]),
        placement: PlacementSpec(datacenters: ["a"], apartFrom: ["b"]),
        volumes: [
            VolumeSpec(
                name: "data", sizeBytes: 1, mount: "/data", fileSystem: .ext4,
                backup: BackupSpec(
                    everySeconds: 1, to: "peers", drillSeconds: 1, restoreOnLossSeconds: 1))
        ], runtime: "crun")
}

/// New limits with every optional filled: the known keys of their JSON form.
func exampleResize() -> ServiceResize {
    var resize = ServiceResize(
        container: "app", cpuRequestMillicores: 1, cpuLimitMillicores: 1, memoryRequestBytes: 1,
        memoryLimitBytes: 1, pidsMax: 1, egressBitsPerSecond: 1, ingressBitsPerSecond: 1,
        volumes: [VolumeSize(name: "data", sizeBytes: 1)])
    resize.cpuBurstMillicores = 1
    resize.cores = .shared
    resize.memorySoftBytes = 1
    resize.memorySwapBytes = 1
    resize.ioWeight = 1
    resize.ioReadBytesPerSecond = 1
    resize.ioWriteBytesPerSecond = 1
    resize.ioReadOperationsPerSecond = 1
    resize.ioWriteOperationsPerSecond = 1
    return resize
}
