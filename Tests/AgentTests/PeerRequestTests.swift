import Base
import ClusterModel
import ControlAPI
import Testing
import VolumePlan
import VolumeStore
import Wire

@testable import Agent

/// One kind of message between agents, with what all kinds are put through.
struct MessageKind: Sendable, CustomTestStringConvertible {
    /// The type's name.
    let name: String
    /// Encoded samples: every case, with every field in use.
    let samples: [[UInt8]]
    /// Reads bytes and writes what was read again.
    let reread: @Sendable ([UInt8]) throws -> [UInt8]

    init<Message: WireCodable & Hashable & Sendable>(_ samples: [Message]) {
        name = "\(Message.self)"
        self.samples = samples.map(\.encoded)
        reread = { try Message(decoding: $0).encoded }
    }

    var testDescription: String { name }

    private static let slot = SlotID(service: "web", ordinal: 1_000_000)

    static let requests: [PeerRequest] = [
        .image(manifest: "sha256:" + String(repeating: "a", count: 64)),
        .blob(digest: "sha256:00", offset: .max),
        .logs(slot: slot, container: "app", follow: true, tail: 0),
        .logs(slot: slot, container: nil, follow: false, tail: nil),
        .exec(slot: slot, container: "söder"), .exec(slot: slot, container: nil),
        .volume(
            PeerVolumeOperation(.snapshot(volume: "web.1000000/data", label: "monday"))),
        .volume(PeerVolumeOperation(.purge(id: ""))),
        .remains(service: "web"), .remains(service: ""),
        .notes(slot: slot), .usage(service: "web", containers: true),
        .usage(service: nil, containers: false),
        .backups(volume: "web.3/data", prunes: true), .backups(volume: "", prunes: false),
        .receivable(moved), .receivable(PeerMoveVolumes([])),
        .moveVolumes(slot: slot, move: LogIndex(7), heldAt: nil),
        .moveVolumes(slot: slot, move: LogIndex(.max), heldAt: LogIndex(300)),
    ]
    static let moved: PeerMoveVolumes = {
        guard let name = VolumeName("web.3/data"), let id = VolumeID("0123456789abcdef") else {
            return PeerMoveVolumes([])
        }
        return PeerMoveVolumes([
            VolumeOriginal(
                name: name, id: id, volumeClass: .lvm, fileSystem: .xfs, size: 1 << 30, owner: 9)
        ])
    }()
    static let moveFrames: [PeerMoveFrame] = [
        .volumes(moved), .digests(first: 0, []),
        .digests(first: 64, [[], [UInt8](repeating: 255, count: 32)]), .wanted([]),
        .wanted([0, 1, .max]), .piece(3, []), .piece(.max, [0, 1]), .end,
        .pass(isThorough: true), .bytes([]), .bytes([0, 255]), .alive,
        .ended(code: 23, words: "söme files"), .ended(code: .min, words: ""),
        .digest(""), .digest(String(repeating: "f", count: 64)),
    ]
    static let notes = [
        PeerNotes(sentences: []), PeerNotes(sentences: ["no pressure", "söft limits"]),
    ]
    static let usages = [PeerUsage([]), PeerUsage([UsageView(kind: "host", host: "h1")])]
    static let remains = [PeerRemains(slots: []), PeerRemains(slots: [slot, slot])]
    static let commands = [
        PeerCommand(arguments: []), PeerCommand(arguments: ["sh", "", "-c", "echo 'ü' \n"]),
    ]
    static let replies: [PeerReply] = [.ready, .refused("no such image"), .refused("")]
    static let offers = [
        ImageOffer(blobs: []),
        ImageOffer(blobs: [
            ImageOffer.Blob(digest: "sha256:00", size: .max),
            ImageOffer.Blob(digest: "", size: 0),
        ]),
    ]
    static let lines = [
        PeerLogLine(container: "app", isError: true, time: "2026-01-01T00:00:00Z", text: "ü\u{0}")
    ]
    static let pieces: [PeerInputPiece] = [.bytes([0, 255]), .bytes([]), .end]
    static let frames: [PeerExecFrame] = [
        .standardOutput([1, 2, 3]), .standardError([]), .exit(0), .exit(-1), .exit(.max),
        .exit(.min),
    ]

    static let volumeLines = [
        PeerVolumeLine(
            VolumeOperationLine(
                progress: VolumeProgressView(doing: "söder", doneBytes: 0, totalBytes: .max))),
        PeerVolumeLine(
            VolumeOperationLine(
                result: VolumeOperationResult(
                    message: "",
                    volume: VolumeDetails(
                        volume: "web.3/data", id: "0123456789abcdef", host: "h1", state: "ready",
                        class: "loop", sizeBytes: 1, usedBytes: 0)))),
    ]

    static let all = [
        MessageKind(requests), MessageKind(commands), MessageKind(replies), MessageKind(offers),
        MessageKind(remains), MessageKind(notes), MessageKind(usages),
        MessageKind(lines), MessageKind(pieces), MessageKind(frames),
        MessageKind(volumeLines), MessageKind(moveFrames),
    ]
}

/// What agents send each other over streams, as bytes.
@Suite("messages between agents")
struct PeerRequestTests {
    @Test("every kind of message is read as it was written")
    func roundTrip() throws {
        for request in MessageKind.requests {
            #expect(try PeerRequest(decoding: request.encoded) == request)
        }
        for command in MessageKind.commands {
            #expect(try PeerCommand(decoding: command.encoded) == command)
        }
        for reply in MessageKind.replies {
            #expect(try PeerReply(decoding: reply.encoded) == reply)
        }
        for offer in MessageKind.offers {
            #expect(try ImageOffer(decoding: offer.encoded) == offer)
        }
        for line in MessageKind.lines {
            #expect(try PeerLogLine(decoding: line.encoded) == line)
        }
        for piece in MessageKind.pieces {
            #expect(try PeerInputPiece(decoding: piece.encoded) == piece)
        }
        for frame in MessageKind.frames {
            #expect(try PeerExecFrame(decoding: frame.encoded) == frame)
        }
    }

    @Test("the bytes of requests are fixed: agents of one version understand the next")
    func goldenBytes() {
        let slot = SlotID(service: "web", ordinal: 3)
        let golden: [(PeerRequest, String)] = [
            (.image(manifest: "m"), "0101016d"), (.blob(digest: "b", offset: 300), "01020162ac02"),
            (
                .logs(slot: slot, container: "a", follow: true, tail: 5),
                "0103" + "0377656203" + "010161" + "01" + "0a"
            ),
            (
                .logs(slot: slot, container: nil, follow: false, tail: nil),
                "0103" + "0377656203" + "00" + "00" + "01"
            ),
            (.exec(slot: slot, container: nil), "0104" + "0377656203" + "00"),
            (
                .moveVolumes(slot: slot, move: LogIndex(7), heldAt: nil),
                "0116" + "0377656203" + "0700"
            ),
            (
                .volume(PeerVolumeOperation(.purge(id: "a"))),
                "0114" + "14" + hexadecimal(Array(#"{"purge":{"id":"a"}}"#.utf8))
            ),
            (.remains(service: "web"), "010503776562"),
            (.backups(volume: "a.0/b", prunes: true), "0123" + "05612e302f62" + "01"),
        ]
        for (request, text) in golden { #expect(hexadecimal(request.encoded) == text) }
        #expect(hexadecimal(PeerCommand(arguments: ["ls", "-l"]).encoded) == "02026c73022d6c")
        #expect(hexadecimal(PeerReply.ready.encoded) == "00")
        #expect(hexadecimal(PeerReply.refused("no").encoded) == "01026e6f")
        #expect(hexadecimal(PeerInputPiece.bytes([7]).encoded) == "010107")
        #expect(hexadecimal(PeerInputPiece.end.encoded) == "02")
        #expect(hexadecimal(PeerExecFrame.standardError([7]).encoded) == "020107")
        #expect(hexadecimal(PeerExecFrame.exit(-1).encoded) == "0301")
    }

    @Test("a message cut at any byte is refused, and so is one with a byte too many")
    func truncation() {
        for kind in MessageKind.all {
            for sample in kind.samples {
                for count in sample.indices {
                    #expect(throws: WireError.self, "\(kind.name) cut at \(count)") {
                        try kind.reread(Array(sample.prefix(count)))
                    }
                }
                #expect(throws: WireError.trailing(count: 1), "\(kind.name)") {
                    try kind.reread(sample + [0])
                }
            }
        }
    }

    @Test("damaged and random bytes are refused or read as a message, and never crash an agent")
    func fuzz() throws {
        var random = RandomSource(seed: 17)
        for kind in MessageKind.all {
            var readCount = 0
            for round in 0..<20_000 {
                var bytes = kind.samples[round % kind.samples.count]
                if round % 3 == 0 || bytes.isEmpty {
                    bytes = (0..<Int.random(in: 0...40, using: &random)).map { _ in
                        UInt8.random(in: 0...255, using: &random)
                    }
                } else {
                    for _ in 0..<Int.random(in: 1...3, using: &random) {
                        bytes[Int.random(in: bytes.indices, using: &random)] =
                            UInt8.random(in: 0...255, using: &random)
                    }
                }
                guard let again = try? kind.reread(bytes) else { continue }
                readCount += 1
                // What was read is a message like any other.
                #expect(try kind.reread(again) == again)
            }
            #expect(readCount > 0, "\(kind.name): none was read")
        }
    }

    /// An unsigned number as the wire has it.
    private static func number(_ value: UInt64) -> [UInt8] { value.encoded }

    @Test("a length or a count far too large is refused before anything is made of it")
    func lengths() {
        let huge = PeerRequestTests.number(1 << 62)
        let slot = SlotID(service: "web", ordinal: 0).encoded
        let cases: [(kind: String, bytes: [UInt8])] = [
            ("PeerRequest", [1, 1] + huge), ("PeerRequest", [1, 2] + huge),
            ("PeerRequest", [1, 3] + huge), ("PeerRequest", [1, 3] + slot + [1] + huge),
            ("PeerRequest", [1, 4] + Array(slot.dropLast()) + huge),
            ("PeerRequest", [1, 21] + huge), ("PeerMoveFrame", [1] + huge),
            ("PeerMoveFrame", [2, 0] + huge), ("PeerMoveFrame", [3] + huge),
            ("PeerMoveFrame", [4, 0] + huge), ("PeerMoveFrame", [2, 0, 1] + huge),
            ("PeerRequest", [1, 20] + huge), ("PeerVolumeLine", huge),
            ("PeerCommand", huge), ("PeerCommand", [1] + huge), ("PeerReply", [1] + huge),
            ("ImageOffer", huge), ("ImageOffer", [1] + huge), ("PeerLogLine", huge),
            ("PeerLogLine", [0, 0] + huge), ("PeerLogLine", [0, 0, 0] + huge),
            ("PeerInputPiece", [1] + huge), ("PeerExecFrame", [1] + huge),
            ("PeerExecFrame", [2] + huge),
        ]
        for (name, bytes) in cases {
            let kind = MessageKind.all.first { $0.name == name }
            #expect {
                try kind?.reread(bytes)
            } throws: { error in
                guard case .tooLarge = error as? WireError else { return false }
                return true
            }
        }
    }

    @Test("counts and texts right above their bounds are refused, those at them are read")
    func bounds() throws {
        let most = PeerCommand(
            arguments: [String](repeating: "", count: PeerCommand.argumentsMax))
        #expect(try PeerCommand(decoding: most.encoded) == most)
        let tooMany = PeerCommand(arguments: most.arguments + [""])
        #expect(throws: WireError.self) { try PeerCommand(decoding: tooMany.encoded) }
        let long = String(repeating: "x", count: PeerCommand.argumentBytesMax)
        #expect(
            try PeerCommand(decoding: PeerCommand(arguments: [long]).encoded).arguments == [long])
        let tooLong = PeerCommand(arguments: [long + "x"])
        #expect(throws: WireError.self) { try PeerCommand(decoding: tooLong.encoded) }
        // A count that the bytes cannot hold.
        #expect(throws: WireError.truncated(needed: 1_024, have: 0)) {
            try ImageOffer(decoding: PeerRequestTests.number(1_024))
        }
        #expect(throws: WireError.self) { try ImageOffer(decoding: PeerRequestTests.number(1_025)) }
    }

    @Test("a version or a kind that this agent does not know is named in the refusal")
    func unknownKinds() {
        #expect(throws: WireError.unknownCase(what: "request version", value: 2)) {
            try PeerRequest(decoding: [2, 1, 0])
        }
        for kind in [UInt8(0), 19, 255] {
            #expect(throws: WireError.unknownCase(what: "request", value: UInt64(kind))) {
                try PeerRequest(decoding: [1, kind])
            }
        }
        #expect(throws: WireError.unknownCase(what: "reply", value: 2)) {
            try PeerReply(decoding: [2])
        }
        #expect(throws: WireError.unknownCase(what: "input", value: 0)) {
            try PeerInputPiece(decoding: [0])
        }
        #expect(throws: WireError.unknownCase(what: "exec frame", value: 4)) {
            try PeerExecFrame(decoding: [4])
        }
    }

    @Test("an operation on a volume that this agent does not know is refused in words")
    func unknownOperations() throws {
        let operations: [VolumeOperation] = [
            .show(volume: "web.3/data"), .snapshot(volume: "web.3/data", label: nil),
            .clone(volume: "web.3/data@monday", target: "test.0/data"),
            .remove(volume: "web.3/data@monday"), .shrink(volume: "web.3/data", sizeBytes: .max),
            .clean(volume: "web.3/data", seconds: 60),
            .restore(id: "0123456789abcdef", name: "test.0/data"), .purge(id: "0123456789abcdef"),
            .backup(volume: "web.3/data", to: nil),
            .restoreBackup(volume: "web.3/data", backup: "ab", target: "a.0/b", host: "h1"),
        ]
        for operation in operations {
            let request = PeerRequest.volume(PeerVolumeOperation(operation))
            guard case .volume(let read) = try PeerRequest(decoding: request.encoded) else {
                throw Trouble("not an operation")
            }
            #expect(try read.operation() == operation)
        }
        for text in [
            "", "{", "[]", "{}", #"{"explode":{}}"#, #"{"purge":{}}"#, #"{"purge":{"id":7}}"#,
            #"{"purge":{"id":"a","more":1}}"#, #"{"purge":{"id":"a"},"show":{"volume":"a"}}"#,
            #"{"purge":{"id":"a"},"more":1}"#,
        ] {
            #expect(throws: ControlError.self, "\(text)") {
                try VolumeOperation(json: Array(text.utf8))
            }
        }
        let long = [UInt8](repeating: UInt8(ascii: " "), count: VolumeOperation.jsonBytesMax + 1)
        #expect(throws: ControlError.self) { try VolumeOperation(json: long) }
    }

    @Test("text that is not UTF-8 is refused")
    func brokenText() {
        let kinds: [(String, [UInt8])] = [
            ("PeerRequest", [1, 1, 1, 0xFF]), ("PeerCommand", [1, 1, 0xC3]),
            ("PeerReply", [1, 1, 0x80]), ("PeerLogLine", [1, 0xFF, 0, 0, 0]),
        ]
        for (name, bytes) in kinds {
            let kind = MessageKind.all.first { $0.name == name }
            #expect(throws: WireError.invalid(what: "text that is not UTF-8"), "\(name)") {
                try kind?.reread(bytes)
            }
        }
    }

    @Test(
        "a refusal of any length arrives, cut at a whole scalar",
        arguments: [
            "short", String(repeating: "x", count: 4_096), String(repeating: "x", count: 4_097),
            String(repeating: "ü", count: 100_000), String(repeating: "😀", count: 1_025),
            "e" + String(repeating: "\u{301}", count: 5_000),
        ])
    func longReasons(reason: String) throws {
        guard case .refused(let read) = try PeerReply(decoding: PeerReply.refused(reason).encoded)
        else { throw Trouble("not a refusal") }
        #expect(read.utf8.count <= PeerReply.reasonBytesMax)
        #expect(read.utf8.count > min(reason.utf8.count, PeerReply.reasonBytesMax) - 4)
        #expect(Array(reason.utf8).starts(with: Array(read.utf8)))
    }
}
