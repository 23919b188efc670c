import ClusterModel
import ControlAPI
import Synchronization
import Testing

@Suite(.serialized) struct ControlStreamTests {
    @Test("an upload arrives whole in a private file that is gone afterwards")
    func upload() async throws {
        try await TestServer.run { (server: TestServer) async throws in
            let bytes = (0..<3_000_000).map { UInt8(truncatingIfNeeded: $0 &* 31) }
            let runs = Pieces(bytes, size: 100_000)
            let images = try await server.client.loadImage(references: ["a:1", "b:1"]) {
                runs.next()
            }
            #expect(images.map(\.reference) == ["a:1", "b:1"])
            let archives = server.backend.archives.withLock { $0 }
            #expect(archives.map { $0.bytes == bytes } == [true])
            #expect(archives.map(\.mode) == [0o600])
            #expect(archives.first?.path.hasPrefix("\(server.folder)/spool/") == true)
            #expect(server.spooled.isEmpty)
        }
    }

    @Test("a refused, too large or broken-off upload leaves nothing behind")
    func brokenUploads() async throws {
        try await TestServer.run({ $0.uploadBytesMax = 1_000_000 }) {
            (server: TestServer) async throws in
            let bad = Pieces(Array("bad archive".utf8), size: 4)
            let refused = await refusal {
                _ = try await server.client.loadImage { bad.next() }
            }
            #expect(refused?.message == "the archive is truncated")
            let large = Pieces([UInt8](repeating: 1, count: 3_000_000), size: 50_000)
            let above = await refusal { _ = try await server.client.loadImage { large.next() } }
            #expect(above?.code == .tooLarge)
            let count = Mutex(0)
            let broken = await refusal {
                _ = try await server.client.loadImage {
                    let sent = count.withLock { count in
                        count += 1
                        return count
                    }
                    guard sent < 3 else { throw ControlError(.invalid, "tar failed") }
                    return Array("part".utf8)
                }
            }
            #expect(broken?.message == "tar failed")
            for framing in ["Content-Length: 1000", "Transfer-Encoding: chunked"] {
                let connection = try RawConnection(server.socketPath)
                connection.send(
                    "POST /v1/images?reference=x HTTP/1.1\r\nHost: x\r\n\(framing)\r\n\r\n4\r\nhalf\r\n"
                )
                connection.finish()
                #expect(try await !connection.receive().hasPrefix("HTTP/1.1 200"))
            }
            #expect(try await server.eventually { server.spooled.isEmpty })
            #expect(server.backend.archives.withLock { $0.count } == 1)
        }
    }

    @Test("an operation on a volume shows how far it is, and its outcome or why it failed")
    func volumeOperations() async throws {
        try await TestServer.run { (server: TestServer) async throws in
            let operation = VolumeOperation.snapshot(volume: "web.0/data", label: "monday")
            var steps: [Int] = []
            let result = try await server.client.operate(operation) { steps.append($0.doneBytes) }
            #expect(steps == [1, 2, 3])
            #expect(result.volume.volume == "web.0/data")
            #expect(
                server.backend.notes.contains(
                    #"operate {"snapshot":{"label":"monday","volume":"web.0/data"}}"#))
            let missing = await refusal {
                _ = try await server.client.operate(.remove(volume: "none.0/data"))
            }
            #expect(missing?.code == .notFound)
            #expect(missing?.next == "`shoal volumes`")
            var count = 0
            let broken = await refusal {
                _ = try await server.client.operate(.remove(volume: "breaks.0/data")) { _ in
                    count += 1
                }
            }
            #expect(broken?.message == "host h2 broke off")
            #expect(count == 3)
            for body in ["", "{}", #"{"explode":{}}"#, #"{"show":{"volume":"a","x":1}}"#] {
                let connection = try RawConnection(server.socketPath)
                connection.send(
                    "POST /v1/volumes HTTP/1.1\r\nHost: x\r\nContent-Length: \(body.utf8.count)\r\n\r\n\(body)"
                )
                #expect(try await connection.receive().hasPrefix("HTTP/1.1 400"), "\(body)")
            }
        }
    }

    @Test("log lines come in order; an error before and after the first line arrives")
    func logs() async throws {
        try await TestServer.run { (server: TestServer) async throws in
            var lines: [LogLine] = []
            let request = LogRequest(service: "web", ordinal: 3, container: "app", tail: 50)
            try await server.client.logs(request) { lines.append($0) }
            #expect(lines.map(\.text) == (0..<50).map { "line \($0)" })
            #expect(lines.first?.slot == "web.3")
            let missing = await refusal {
                try await server.client.logs(LogRequest(service: "none")) { _ in }
            }
            #expect(missing?.code == .notFound)
            var count = 0
            let broken = await refusal {
                try await server.client.logs(LogRequest(service: "breaks")) { _ in count += 1 }
            }
            #expect(broken?.message == "host h2 went away")
            #expect(count == 2)
        }
    }

    @Test("a client that goes away while it follows ends the backend's work")
    func disconnect() async throws {
        try await TestServer.run { (server: TestServer) async throws in
            do {
                let connection = try RawConnection(server.socketPath)
                connection.send("GET /v1/logs?target=web&follow=1 HTTP/1.1\r\nHost: x\r\n\r\n")
                #expect(try await connection.receive(until: "line 1").contains("200 OK"))
            }
            #expect(try await server.eventually { server.backend.notes == ["logs ended"] })
            do {
                let connection = try RawConnection(server.socketPath)
                connection.send(
                    "POST /v1/exec?slot=web.0&argument=sleep HTTP/1.1\r\nHost: x\r\n"
                        + "Content-Length: 0\r\n\r\n")
                #expect(try await connection.receive(until: "begun").contains("200 OK"))
            }
            #expect(
                try await server.eventually {
                    server.backend.notes == ["logs ended", "exec ended"]
                })
        }
    }

    @Test("stopping ends streams that would go on for ever")
    func stop() async throws {
        try await TestServer.run { (server: TestServer) async throws in
            let following = Task {
                try await server.client.logs(LogRequest(service: "web", follow: true)) { _ in
                    server.backend.note("line")
                }
            }
            #expect(try await server.eventually { server.backend.notes.contains("line") })
            await server.server.stop()
            let outcome = await following.result
            #expect(throws: ControlError.self) { try outcome.get() }
        }
    }

    @Test("exec carries input and output at the same time, arguments and exit status")
    func exec() async throws {
        try await TestServer.run { (server: TestServer) async throws in
            // Each piece is sent only when the one before has come back: both directions at once.
            let (echoes, echo) = AsyncStream.makeStream(of: String.self)
            let iterator = Mutex(0)
            let received = Mutex("")
            let code = try await server.client.exec(
                ExecRequest(slot: SlotID(service: "web", ordinal: 0), command: ["cat"]),
                input: {
                    let number = iterator.withLock { number in
                        number += 1
                        return number
                    }
                    if number > 1 { for await _ in echoes { break } }
                    return number > 20 ? nil : Array("piece \(number);".utf8)
                }
            ) { output in
                guard case .standardOutput(let bytes) = output else { return }
                received.withLock { $0 += String(decoding: bytes, as: UTF8.self) }
                echo.yield("")
            }
            #expect(code == 0)
            #expect(
                received.withLock { $0 } == (1...20).map { "piece \($0);" }.joined())
            var outputs: [ExecOutput] = []
            let status = try await server.client.exec(
                ExecRequest(
                    slot: SlotID(service: "web", ordinal: 0), container: "app",
                    command: ["args", "a b", "é&=%", ""]), input: nil
            ) { outputs.append($0) }
            #expect(status == 7)
            #expect(
                outputs == [
                    .standardOutput(Array("args|a b|é&=%|".utf8)),
                    .standardError(Array("app".utf8)),
                ])
        }
    }

    @Test("exec that fails, before or after it began, says so; unread input does not hang it")
    func execFailures() async throws {
        try await TestServer.run { (server: TestServer) async throws in
            let slot = SlotID(service: "web", ordinal: 0)
            let endless: @Sendable () async throws -> [UInt8]? = {
                [UInt8](repeating: 1, count: 65_536)
            }
            for (command, message) in [
                ("none", "there is no set web.0"), ("fail", "host h2 went away"),
            ] {
                let error = await refusal {
                    _ = try await server.client.exec(
                        ExecRequest(slot: slot, command: [command]), input: endless
                    ) { _ in }
                }
                #expect(error?.message == message)
            }
            let code = try await server.client.exec(
                ExecRequest(slot: slot, command: ["args"]), input: endless
            ) { _ in }
            #expect(code == 7)
            #expect(try await server.client.hosts().count == 1)
        }
    }
}

/// Bytes handed out piece by piece.
private final class Pieces: Sendable {
    private let rest: Mutex<[UInt8]>
    private let size: Int

    init(_ bytes: [UInt8], size: Int) {
        rest = Mutex(bytes)
        self.size = size
    }

    func next() -> [UInt8]? {
        rest.withLock { rest in
            guard !rest.isEmpty else { return nil }
            defer { rest.removeFirst(min(size, rest.count)) }
            return Array(rest.prefix(size))
        }
    }
}
