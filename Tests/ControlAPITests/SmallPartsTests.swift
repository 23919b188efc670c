import Base
import ControlAPI
import NIOCore
import Testing

@Suite struct SmallPartsTests {
    @Test(
        "civil time is RFC 3339 in UTC",
        arguments: [
            (0, "1970-01-01T00:00:00.000Z"), (1_714_564_800_250, "2024-05-01T12:00:00.250Z"),
            (951_782_399_999, "2000-02-28T23:59:59.999Z"),
            (951_868_799_999, "2000-02-29T23:59:59.999Z"), (-1, "1969-12-31T23:59:59.999Z"),
            (Int64.max, "9999-12-31T23:59:59.999Z"), (Int64.min, "0001-01-01T00:00:00.000Z"),
        ] as [(Int64, String)])
    func civilTime(milliseconds: Int64, text: String) {
        #expect(WallTime(milliseconds: milliseconds).rfc3339 == text)
    }

    @Test("a log target is a service, a slot or a slot's container")
    func logTargets() {
        #expect(LogRequest(target: "web") == LogRequest(service: "web"))
        #expect(LogRequest(target: "web.3") == LogRequest(service: "web", ordinal: 3))
        #expect(
            LogRequest(target: "web.3/app")
                == LogRequest(service: "web", ordinal: 3, container: "app"))
        for bad in ["", "/", "web.", ".3", "web.-1", "a/b/c", "web.3/", "web.x"] {
            #expect(LogRequest(target: bad) == nil)
        }
    }

    @Test("exec frames survive any cutting; broken ones are refused")
    func execFrames() throws {
        let frames: [ExecFrame] = [
            .output(.standardOutput(Array("out".utf8))), .output(.standardError([0, 255])),
            .failure(Array("{}".utf8)), .output(.exit(-1)),
        ]
        var whole = ByteBuffer()
        for frame in frames { frame.write(into: &whole) }
        var read: [ExecFrame] = []
        var pending = ByteBuffer()
        for byte in whole.readableBytesView {
            pending.writeInteger(byte)
            while let frame = try ExecFrame.read(from: &pending) { read.append(frame) }
        }
        #expect(read == frames)
        for bytes: [UInt8] in [[9, 0, 0, 0, 1], [1, 255, 255, 255, 255], [3, 0, 0, 0, 5]] {
            var broken = ByteBuffer(bytes: bytes)
            #expect(throws: ControlError.self) { try ExecFrame.read(from: &broken) }
        }
    }
}
