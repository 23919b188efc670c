import ClusterModel
import ControlAPI
import Glibc
import Synchronization
import Testing

/// Clients that take up room, and agents that say nothing.
@Suite(.serialized) struct HostileClientTests {
    private static let halves = [
        "", "G", "GET /v1/hosts HTTP/1.1\r\nHost: x\r\n",
        "POST /v1/services HTTP/1.1\r\nContent-Length: 100\r\n\r\n{",
        "POST /v1/services HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n1\r\n{\r\n",
        "GET /v1/hosts HTTP/1.1\r\nHost: x\r\n\r\n",
        "GET /v1/hosts HTTP/1.1\r\nHost: x\r\n\r\nGET /v1/hosts HTTP/1.1\r\n",
    ]

    @Test("a request that does not come to its end gives up its place")
    func halfRequests() async throws {
        try await TestServer.run({
            $0.connectionsMax = Self.halves.count + 1
            $0.requestTimeout = .seconds(1)
        }) { (server: TestServer) async throws in
            defer { Held.closeAll() }
            for _ in 0..<2 {
                for half in Self.halves { try Held.open(server.socketPath, half) }
                // One byte now and then is no better than silence.
                let slow = try RawConnection(server.socketPath)
                slow.send("GET /v1/hosts HTTP/1.1\r\n")
                for _ in 0..<10 {
                    slow.send("X-Slow: x\r\n")
                    try await Task.sleep(for: .milliseconds(20))
                }
                #expect(try await server.client.hosts().count == 1)
                #expect(try await slow.receive().isEmpty)
            }
        }
    }

    @Test("an upload and a command's input may take longer than a request")
    func slowStreams() async throws {
        try await TestServer.run({ $0.requestTimeout = .seconds(1) }) {
            (server: TestServer) async throws in
            let count = Mutex(0)
            let pieces: @Sendable () async throws -> [UInt8]? = {
                let number = count.withLock { count in
                    count += 1
                    return count
                }
                try await Task.sleep(for: .milliseconds(300))
                return number % 6 == 0 ? nil : Array("piece".utf8)
            }
            #expect(try await server.client.loadImage(references: ["a:1"], next: pieces).count == 1)
            let received = Mutex(0)
            let code = try await server.client.exec(
                ExecRequest(slot: SlotID(service: "web", ordinal: 0), command: ["cat"]),
                input: pieces
            ) { output in
                guard case .standardOutput(let bytes) = output else { return }
                received.withLock { $0 += bytes.count }
            }
            #expect(code == 0)
            #expect(received.withLock { $0 } == 5 * "piece".utf8.count)
        }
    }

    @Test("streams leave room for short requests; a further one is refused in words")
    func streamsMax() async throws {
        try await TestServer.run({
            $0.streamsMax = 2
            $0.connectionsMax = 3
        }) { (server: TestServer) async throws in
            let follow = LogRequest(service: "web", follow: true)
            let following = (0..<2).map { number in
                Task {
                    try await server.client.logs(follow) { _ in
                        server.backend.note("line of \(number)")
                    }
                }
            }
            #expect(
                try await server.eventually {
                    Set(server.backend.notes).isSuperset(of: ["line of 0", "line of 1"])
                })
            let refused = await refusal { try await server.client.logs(follow) { _ in } }
            #expect(refused?.code == .unavailable)
            #expect(refused?.message.contains("2 logs are being followed") == true)
            #expect(try await server.client.hosts().count == 1)
            for task in following { task.cancel() }
            for task in following { _ = await task.result }
            #expect(
                try await server.eventually {
                    server.backend.notes.count { $0 == "logs ended" } == 2
                })
            try await server.client.logs(LogRequest(service: "web")) { _ in }
        }
    }

    @Test("an agent that takes connections and says nothing is given up, whatever was asked")
    func silentAgent() async throws {
        let listener = try SilentListener()
        let client = ControlClient(
            socketPath: listener.path, patience: .milliseconds(50),
            statusTimeout: .milliseconds(50))
        let slot = SlotID(service: "web", ordinal: 0)
        let zeros: @Sendable () async throws -> [UInt8]? = { [UInt8](repeating: 0, count: 65_536) }
        let requests: [@Sendable () async throws -> Void] = [
            { _ = try await client.hosts() },
            { try await client.logs(LogRequest(service: "web", follow: true)) { _ in } },
            {
                _ = try await client.exec(
                    ExecRequest(slot: slot, command: ["ls"]), input: nil
                ) { _ in }
            },
            {
                _ = try await client.exec(
                    ExecRequest(slot: slot, command: ["cat"]), input: zeros
                ) { _ in }
            },
            { _ = try await client.loadImage(next: zeros) },
        ]
        for request in requests {
            let error = await refusal(request)
            #expect(error?.code == .unreachable)
            #expect(error?.message.contains("has not answered for") == true, "\(error as Any)")
            #expect(error?.next?.contains("see its log") == true)
        }
    }

    @Test("an agent that answers others is waited for, however long the first word takes")
    func slowAnswer() async throws {
        try await TestServer.run { (server: TestServer) async throws in
            let client = ControlClient(
                socketPath: server.socketPath, patience: .milliseconds(20),
                statusTimeout: .seconds(20))
            let count = Mutex(0)
            try await client.logs(LogRequest(service: "late")) { _ in count.withLock { $0 += 1 } }
            #expect(count.withLock { $0 } == 3)
        }
    }

    @Test("servers that start and stop under load leave no work for a loop that has ended")
    func stopping() async throws {
        for round in 0..<30 {
            try await TestServer.run { (server: TestServer) async throws in
                let following = (0..<round % 6).map { _ in
                    Task {
                        try await server.client.logs(LogRequest(service: "web", follow: true)) {
                            _ in
                        }
                    }
                }
                await server.server.stop()
                for task in following { _ = await task.result }
            }
        }
    }
}

/// Connections that stay open until they are let go.
private enum Held {
    private static let descriptors = Mutex<[Int32]>([])

    /// Connects and sends a beginning.
    static func open(_ path: String, _ text: String) throws {
        let descriptor = try connected(path)
        _ = send(descriptor, text, text.utf8.count, Int32(MSG_NOSIGNAL))
        descriptors.withLock { $0.append(descriptor) }
    }

    static func closeAll() {
        let open = descriptors.withLock { descriptors in
            defer { descriptors = [] }
            return descriptors
        }
        for descriptor in open { close(descriptor) }
    }
}

/// A socket that the kernel takes connections for and nobody ever accepts one of.
private struct SilentListener: ~Copyable {
    let path: String
    private let descriptor: Int32

    init() throws {
        path = "/tmp/shoalt-silent-\(UInt32.random(in: .min ... .max)).sock"
        descriptor = socket(AF_UNIX, Int32(SOCK_STREAM.rawValue), 0)
        let isBound = withAddress(path) { bind(descriptor, $0, $1) } == 0
        guard isBound, listen(descriptor, 64) == 0 else {
            throw ControlError(.failed, "cannot listen at \(path)")
        }
    }

    deinit {
        close(descriptor)
        unlink(path)
    }
}

/// A connection to a unix socket.
private func connected(_ path: String) throws -> Int32 {
    let descriptor = socket(AF_UNIX, Int32(SOCK_STREAM.rawValue), 0)
    guard withAddress(path, { connect(descriptor, $0, $1) }) == 0 else {
        close(descriptor)
        throw ControlError(.failed, "cannot connect to \(path)")
    }
    return descriptor
}

private func withAddress(
    _ path: String, _ use: (UnsafePointer<sockaddr>, socklen_t) -> Int32
) -> Int32 {
    var address = sockaddr_un()
    address.sun_family = sa_family_t(AF_UNIX)
    withUnsafeMutableBytes(of: &address.sun_path) { $0.copyBytes(from: Array(path.utf8)) }
    let size = socklen_t(MemoryLayout<sockaddr_un>.size)
    return withUnsafePointer(to: &address) {
        $0.withMemoryRebound(to: sockaddr.self, capacity: 1) { use($0, size) }
    }
}
