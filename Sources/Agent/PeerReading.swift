import ControlAPI
import Wire

/// What a host says of the limits of a set that it runs.
struct PeerNotes: WireCodable, Hashable, Sendable {
    /// One sentence each.
    var sentences: [String]

    /// The most sentences, and the longest in bytes of UTF-8.
    static let sentencesMax = 64
    static let sentenceBytesMax = 1_024

    init(sentences: [String]) {
        self.sentences = sentences.prefix(PeerNotes.sentencesMax).filter {
            $0.utf8.count <= PeerNotes.sentenceBytesMax
        }
    }

    func encode(into writer: inout ByteWriter) {
        writer.write(UInt64(sentences.count))
        for sentence in sentences { writer.write(sentence) }
    }

    init(from reader: inout ByteReader) throws(WireError) {
        sentences = []
        for _ in 0..<(try reader.readCount(maximum: PeerNotes.sentencesMax)) {
            sentences.append(try reader.readString(maximum: PeerNotes.sentenceBytesMax))
        }
    }
}

/// What a host and its sets use, in the JSON form of the local API.
struct PeerUsage: WireCodable, Hashable, Sendable {
    var json: [UInt8]

    init(_ views: [UsageView]) {
        json = UsageView.json(views)
        // The sets alone still say what is going on.
        if json.count > UsageView.jsonBytesMax {
            json = UsageView.json(views.filter { $0.container == nil })
        }
    }

    func encode(into writer: inout ByteWriter) { writer.write(counted: json) }

    init(from reader: inout ByteReader) throws(WireError) {
        json = try reader.readCounted(maximum: UsageView.jsonBytesMax)
    }

    /// The figures; throws when they are none.
    func views() throws -> [UsageView] { try UsageView.list(json: json) }
}
