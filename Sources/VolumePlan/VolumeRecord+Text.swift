import ClusterModel

/// Why a record's text cannot be believed.
package enum RecordDamage: Error, Hashable, Sendable, CustomStringConvertible {
    /// The first line is not ours.
    case foreign
    /// A newer version wrote it.
    case newer(version: Int)
    /// The check sum does not fit the lines.
    case checkSum
    /// A line is missing, doubled or has a wrong value.
    case line(String)

    package var description: String {
        switch self {
        case .foreign: "it is no volume record"
        case .newer(let version): "a newer Shoal wrote it (version \(version))"
        case .checkSum: "its check sum does not fit"
        case .line(let name): "its line `\(name)` is missing or wrong"
        }
    }
}

extension VolumeRecord {
    /// The version of the text that this code writes.
    static let textVersion = 1
    private static let title = "shoal volume record "
    /// The longest text that is read.
    package static let textBytesMax = 4_096

    /// The record as text: a line for each fact, and a check sum (FNV-1a, 64 bits) at the end.
    ///
    /// Text, so that an operator can read it when all else is broken.
    package var text: String {
        var lines = [
            "\(VolumeRecord.title)\(VolumeRecord.textVersion)", "id \(id)", "name \(name)",
            "class \(volumeClass.rawValue)", "file-system \(fileSystem.rawValue)", "size \(size)",
            "created \(createdAt)",
        ]
        if let origin { lines.append("origin \(origin)") }
        if project != 0 { lines.append("project \(project)") }
        if owner != 0 { lines.append("owner \(owner)") }
        lines.append("state \(state.text)")
        let body = lines.map { "\($0)\n" }.joined()
        return body + "check \(VolumeRecord.checkSum(body.utf8))\n"
    }

    /// Reads what `text` wrote.
    package init(text: String) throws(RecordDamage) {
        let lines = text.split(separator: "\n", omittingEmptySubsequences: false)
        guard let first = lines.first, first.hasPrefix(VolumeRecord.title),
            let version = Int(first.dropFirst(VolumeRecord.title.count))
        else { throw .foreign }
        guard version <= VolumeRecord.textVersion else { throw .newer(version: version) }
        guard text.utf8.count <= VolumeRecord.textBytesMax, lines.count > 3, lines.last == "",
            lines[lines.count - 2].hasPrefix("check ")
        else { throw .checkSum }
        let body = lines.dropLast(2).map { "\($0)\n" }.joined()
        guard lines[lines.count - 2] == "check \(VolumeRecord.checkSum(body.utf8))" else {
            throw .checkSum
        }
        try self.init(facts: RecordFacts(lines.dropFirst().dropLast(2)))
    }

    private init(facts: RecordFacts) throws(RecordDamage) {
        let size = try facts.number("size")
        guard (1...VolumeRecord.sizeMax).contains(size) else { throw .line("size") }
        let project = try facts.optional("project") { UInt32($0) } ?? 0
        self.init(
            id: try facts.value("id") { VolumeID($0) },
            name: try facts.value("name") { VolumeName($0) },
            volumeClass: try facts.value("class") { VolumeClass(rawValue: $0) },
            fileSystem: try facts.value("file-system") { FileSystemKind(rawValue: $0) },
            size: size, createdAt: try facts.number("created"),
            origin: try facts.optional("origin") { VolumeID($0) }, project: project,
            owner: try facts.optional("owner") { UInt64($0) } ?? 0,
            state: try facts.value("state") { VolumeState(text: $0) })
    }

    /// FNV-1a over the bytes, in hexadecimal; finds damage, not forgery.
    static func checkSum(_ bytes: some Sequence<UInt8>) -> String {
        var hash: UInt64 = 0xCBF2_9CE4_8422_2325
        for byte in bytes { hash = (hash ^ UInt64(byte)) &* 0x100_0000_01B3 }
        return VolumeID(random: hash).description
    }
}

/// The lines of a record by their first word.
private struct RecordFacts {
    private let facts: [(name: Substring, value: String)]

    init(_ lines: ArraySlice<Substring>) throws(RecordDamage) {
        var facts: [(name: Substring, value: String)] = []
        for line in lines {
            let name = line.prefix { $0 != " " }
            guard !facts.contains(where: { $0.name == name }) else { throw .line("\(name)") }
            facts.append((name, String(line.dropFirst(name.count + 1))))
        }
        self.facts = facts
    }

    func optional<Value>(
        _ name: String, _ read: (String) -> Value?
    ) throws(RecordDamage) -> Value? {
        guard let fact = facts.first(where: { $0.name == name }) else { return nil }
        guard let value = read(fact.value) else { throw .line(name) }
        return value
    }

    func value<Value>(_ name: String, _ read: (String) -> Value?) throws(RecordDamage) -> Value {
        guard let value = try optional(name, read) else { throw .line(name) }
        return value
    }

    func number(_ name: String) throws(RecordDamage) -> Int {
        let number = try value(name) { Int($0) }
        guard number >= 0 else { throw .line(name) }
        return number
    }
}

extension VolumeState {
    /// The state as the rest of a record's line.
    var text: String {
        switch self {
        case .making(let making): "making \(making.rawValue)"
        case .ready: "ready"
        case .growing(let size): "growing \(size)"
        case .replacing(let id): "replacing \(id)"
        case .trashed(let time, let reason): "trashed \(time) \(reason.rawValue)"
        case .receiving: "receiving"
        case .removing: "removing"
        }
    }

    /// Reads what `text` wrote.
    init?(text: String) {
        let words = text.split(separator: " ", omittingEmptySubsequences: false).map(String.init)
        let number = words.count > 1 ? Int(words[1]) : nil
        switch (words[0], words.count) {
        case ("making", 2):
            guard let making = VolumeMaking(rawValue: words[1]) else { return nil }
            self = .making(making)
        case ("ready", 1): self = .ready
        case ("growing", 2):
            guard let number, (1...VolumeRecord.sizeMax).contains(number) else { return nil }
            self = .growing(to: number)
        case ("replacing", 2):
            guard let id = VolumeID(words[1]) else { return nil }
            self = .replacing(id)
        case ("trashed", 3):
            guard let number, number >= 0, let reason = TrashReason(rawValue: words[2]) else {
                return nil
            }
            self = .trashed(at: number, reason: reason)
        case ("receiving", 1): self = .receiving
        case ("removing", 1): self = .removing
        default: return nil
        }
    }
}
