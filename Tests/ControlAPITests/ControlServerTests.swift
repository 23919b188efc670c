import ClusterModel
import ControlAPI
import Glibc
import Synchronization
import Testing

private let web = ServiceSpec(
    name: "web", sets: 2, containers: [ContainerSpec(name: "app", image: "demo/web:1")])

@Suite(.serialized) struct ControlServerTests {
    @Test("every route answers what the backend says")
    func routes() async throws {
        try await TestServer.run { (server: TestServer) async throws in
            let client = server.client
            #expect(try await client.status() == server.backend.status(consistent: false))
            #expect(try await client.hosts() == server.backend.hosts())
            #expect(try await client.images() == server.backend.images())
            #expect(try await client.events(since: 5, limit: 9).count == 1)
            #expect(server.backend.notes == ["events 5 9"])
            #expect(try await client.apply(web, dryRun: true).outcome == .created)
            #expect(try await client.services().isEmpty)
            #expect(try await client.apply(web).outcome == .created)
            #expect(try await client.apply(web).outcome == .unchanged)
            #expect(try await client.scale(service: "web", sets: 3).outcome == .updated)
            #expect(
                try await client.sets(service: "web").map(\.slot) == ["web.0", "web.1", "web.2"])
            #expect(try await client.services().first?.sets == 3)
            let explanation = try await client.explain("web.2")
            #expect(explanation.slot == "web.2" && explanation.notes == ["no pressure here"])
            #expect(explanation.hosts.map(\.fits) == [true, false])
            #expect(explanation.containers.allSatisfy { $0.environment.isEmpty })
            #expect(await refusal { _ = try await client.explain("web") }?.code == .invalid)
            #expect(await refusal { _ = try await client.explain("none.0") }?.code == .notFound)
            let usage = try await client.usage(service: "web", containers: true)
            #expect(usage.map(\.problem) == [nil, "it is lost"])
            #expect(server.backend.notes.last == "usage web true")
            let resize = ServiceResize(cpuLimitMillicores: 2_000, egressBitsPerSecond: 0)
            #expect(try await client.resize(service: "web", resize).revision == 2)
            let nothing = await refusal {
                _ = try await client.resize(service: "web", ServiceResize())
            }
            #expect(nothing?.message.contains("nothing to resize") == true)
            #expect(try await client.takeBackLimits(service: "web", revision: 2).revision == 3)
            let stale = await refusal {
                _ = try await client.takeBackLimits(service: "web", revision: 1)
            }
            #expect(stale?.message == "revision 2 is the newest")
            #expect(try await client.delete(service: "web").outcome == .deleted)
            await #expect(throws: ControlError.self) { try await client.forget(host: "h 3") }
            let forgotten = try await client.forget(host: "h 3", withVolumes: true)
            #expect(forgotten.host.name == "h 3" && forgotten.volumes == ["db.0/data"])
            #expect(try await client.volumes().map(\.state) == ["trash"])
            #expect(try await client.trash().map(\.volumeBytes) == [64 << 20])
            #expect(try await client.restore(service: "web").outcome == .created)
            #expect(try await client.backups().map(\.durability.copies) == [1])
            #expect(try await client.backupKey().password == "secret")
            let order = RestorationRequest(volume: "web.0/data", host: "h2")
            #expect(try await client.restore(order).index == 30)
            #expect(try await client.forgetBackups(volume: "web.0/data").index == 31)
            #expect(try await client.sets().isEmpty)
        }
    }

    @Test("a refusal keeps its code, sentence, next step and problems")
    func refusals() async throws {
        try await TestServer.run { (server: TestServer) async throws in
            let missing = await refusal {
                _ = try await server.client.scale(service: "x/y", sets: 1)
            }
            #expect(
                missing
                    == ControlError(
                        .notFound, "there is no service x/y", next: "`shoal services` lists them"))
            let quorum = await refusal { _ = try await server.client.status(consistent: true) }
            #expect(quorum?.code == .noQuorum)
            var bad = web
            bad.sets = -1
            let invalid = await refusal { _ = try await server.client.apply(bad) }
            #expect(invalid?.code == .invalid)
            #expect(invalid?.problems.map(\.path) == ["sets"])
        }
    }

    @Test("the socket has mode 0660 and is gone after the end; a stale one is replaced")
    func socketFile() async throws {
        try await TestServer.run { (server: TestServer) async throws in
            #expect(fileMode(server.socketPath) == 0o660)
            #expect(fileMode("\(server.folder)/spool") == 0o700)
            let again = await refusal {
                _ = try await ControlServer.start(
                    ControlServerConfiguration(
                        socketPath: server.socketPath, spoolFolder: "\(server.folder)/spool"),
                    backend: FakeBackend())
            }
            #expect(again?.message.contains("another agent listens there") == true)
            await server.server.stop()
            #expect(fileMode(server.socketPath) == 0)
            let absent = await refusal { _ = try await server.client.hosts() }
            #expect(absent?.message == "no agent listens at \(server.socketPath)")
            makeStaleSocket(server.socketPath)
            let next = try await ControlServer.start(
                ControlServerConfiguration(
                    socketPath: server.socketPath, spoolFolder: "\(server.folder)/spool"),
                backend: FakeBackend())
            #expect(try await server.client.hosts().count == 1)
            await next.stop()
        }
    }

    @Test(
        "broken requests are refused and the server goes on",
        arguments: [
            ("POST /v1/services", "{\"name\":", 400, "the body is not JSON"),
            ("POST /v1/services", "{\"name\":\"web\",\"shape\":1}", 400, "unknown key 'shape'"),
            ("POST /v1/services", "{\"name\":\"web\"}", 400, "is missing"),
            ("POST /v1/services", "[1]", 400, "must be an object"),
            ("POST /v1/services?dryrun=1", "{}", 400, "unknown query item 'dryrun'"),
            ("POST /v1/services/web/scale", "{\"sets\":1,\"pace\":2}", 400, "unknown key 'pace'"),
            ("POST /v1/services/web/scale", "{\"sets\":\"1\"}", 400, "must be a whole number"),
            ("POST /v1/services/web/scale", "{\"sets\":1e99}", 400, "does not fit"),
            ("POST /v1/services/web/resize", "{\"cpu\":1}", 400, "unknown key 'cpu'"),
            ("POST /v1/services/web/resize", "{\"pidsMax\":true}", 400, "must be a whole number"),
            (
                "POST /v1/services", String(repeating: "[", count: 100_000), 400,
                "the body is not JSON"
            ),
            (
                "POST /v1/services",
                String(repeating: "{\"a\":", count: 400) + "1" + String(repeating: "}", count: 400),
                400, "unknown key 'a'"
            ),
            ("GET /v1/events?limit=0", "", 400, "whole number from 1"),
            ("GET /v1/events?limit=%zz", "", 400, "broken percent escape"),
            ("GET /v1/logs?target=a/b/c", "", 400, "target must be"),
            ("GET /v1/logs?target=none", "", 404, "there is no service none"),
            ("POST /v1/exec?slot=web.0", "", 400, "at least one argument"),
            ("POST /v1/exec?slot=web&argument=x", "", 400, "slot must be"),
            ("POST /v1/exec?slot=web.0&argument=", "", 400, "the command's name is empty"),
            ("POST /v1/exec?slot=web.0&argument=x", "", 404, "there is no set web.0"),
            ("POST /v1/images", "", 400, "archive is empty"),
            ("GET /v2/status", "", 404, "no such route"), ("GET /", "", 404, "no such route"),
            ("PUT /v1/services", "", 404, "no such route"),
        ])
    func brokenRequests(
        line: String, body: String, status: Int, message: String
    ) async throws {
        try await TestServer.run { (server: TestServer) async throws in
            let connection = try RawConnection(server.socketPath)
            connection.send(
                "\(line) HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
                    + "Content-Length: \(body.utf8.count)\r\n\r\n\(body)")
            let answer = try await connection.receive()
            #expect(answer.hasPrefix("HTTP/1.1 \(status) "))
            #expect(answer.contains(message))
            #expect(answer.contains("\"code\":"))
            #expect(try await server.client.hosts().count == 1)
        }
    }

    @Test("garbage, half requests and silence do not harm the server")
    func garbage() async throws {
        try await TestServer.run({ $0.idleTimeout = .milliseconds(200) }) {
            (server: TestServer) async throws in
            for bytes in [
                Array("\u{16}\u{3}garbage\r\n\r\n".utf8), [UInt8](repeating: 0, count: 100_000),
                Array("GET / HTTP/9.9\r\n\r\n".utf8),
                Array(("GET /" + String(repeating: "a", count: 200_000)).utf8),
            ] {
                let connection = try RawConnection(server.socketPath)
                connection.send(bytes)
                connection.finish()
                let answer = try await connection.receive()
                #expect(answer.isEmpty || answer.hasPrefix("HTTP/1.1 400 "))
            }
            let silent = try RawConnection(server.socketPath)
            #expect(try await silent.receive().isEmpty)
            let half = try RawConnection(server.socketPath)
            half.send("POST /v1/services HTTP/1.1\r\nContent-Length: 100\r\n\r\n{")
            #expect(try await !half.receive().hasPrefix("HTTP/1.1 200"))
            #expect(try await server.client.hosts().count == 1)
        }
    }

    @Test("a JSON body above the limit is refused with 413")
    func oversizeBody() async throws {
        try await TestServer.run({ $0.jsonBytesMax = 1_000 }) { (server: TestServer) async throws in
            var spec = web
            spec.containers[0].command = [String(repeating: "x", count: 2_000)]
            let error = await refusal { _ = try await server.client.apply(spec) }
            #expect(error?.code == .tooLarge)
            #expect(try await server.client.hosts().count == 1)
        }
    }

    @Test("a backend that hangs is given up after the time limit")
    func slowBackend() async throws {
        try await TestServer.run({ $0.answerTimeout = .zero }) {
            (server: TestServer) async throws in
            let error = await refusal { _ = try await server.client.hosts() }
            // With no time at all either side may win; a refusal must say what happened.
            #expect(error == nil || error?.code == .unavailable)
        }
    }
}

/// Leaves a socket file behind on which nobody listens.
private func makeStaleSocket(_ path: String) {
    let descriptor = socket(AF_UNIX, Int32(SOCK_STREAM.rawValue), 0)
    var address = sockaddr_un()
    address.sun_family = sa_family_t(AF_UNIX)
    withUnsafeMutableBytes(of: &address.sun_path) { $0.copyBytes(from: Array(path.utf8)) }
    let size = socklen_t(MemoryLayout<sockaddr_un>.size)
    _ = withUnsafePointer(to: &address) {
        $0.withMemoryRebound(to: sockaddr.self, capacity: 1) { bind(descriptor, $0, size) }
    }
    close(descriptor)
}
