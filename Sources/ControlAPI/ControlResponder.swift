import ClusterModel
import Hummingbird
import HummingbirdCore
import Logging
import NIOCore
import NIOHTTP1

/// What a handler knows of the connection its request came on.
struct ControlContext: RequestContext {
    var coreContext: CoreRequestContextStorage
    /// The connection.
    let channel: any Channel

    init(source: ApplicationRequestContextSource) {
        coreContext = CoreRequestContextStorage(source: source)
        channel = source.channel
    }
}

/// Turns requests into calls of the backend and their outcome into answers.
struct ControlResponder: HTTPResponder {
    typealias Context = ControlContext

    let backend: any ControlBackend
    let configuration: ControlServerConfiguration
    let spool: UploadSpool
    let streams: StreamPlaces

    /// Never throws but for broken HTTP: every other error becomes an ``ErrorView``.
    func respond(to request: Request, context: ControlContext) async throws -> Response {
        do {
            let path = request.uri.path.split(separator: "/").map(String.init)
            guard path.first == "v1" else { throw noSuchRoute(request) }
            return try await route(request, Array(path.dropFirst()), context)
        } catch let error as HTTPParserError {
            throw error
        } catch {
            // The rest of a body is not wanted.
            guard request.method != .get else { return refusal(of: error) }
            closeSoon(context.channel)
            var response = refusal(of: error)
            response.headers[.connection] = "close"
            return response
        }
    }

    private func route(
        _ request: Request, _ path: [String], _ context: ControlContext
    ) async throws -> Response {
        switch (request.method.rawValue, path) {
        case ("GET", ["logs"]): return try await logs(request, context)
        case ("POST", ["exec"]): return try await exec(request, context)
        case ("POST", ["volumes"]): return try await operate(request, context)
        case ("POST", ["images"]): return try await loadImage(request, context)
        case ("GET", _): return try await list(request, path)
        default: return try await change(request, path)
        }
    }

    private func list(_ request: Request, _ path: [String]) async throws -> Response {
        func query(_ known: String...) throws -> RequestQuery {
            try RequestQuery(request.uri.query, known: known)
        }
        switch path {
        case ["status"]:
            let consistent = try query("consistent").flag("consistent")
            return try await answer { try await backend.status(consistent: consistent) }
        case ["hosts"]:
            _ = try query()
            return try await answer { try await backend.hosts() }
        case ["services"]:
            _ = try query()
            return try await answer { try await backend.services() }
        case ["sets"]:
            let service = try query("service")["service"]
            return try await answer { try await backend.sets(service: service) }
        case ["top"]:
            let items = try query("service", "containers")
            let (service, containers) = (items["service"], try items.flag("containers"))
            return try await answer {
                try await backend.usage(service: service, containers: containers)
            }
        case _ where path.count == 3 && path[0] == "sets" && path[2] == "explanation":
            _ = try query()
            guard let slot = percentDecoded(path[1]).flatMap({ SlotID($0) }) else {
                throw ControlError(
                    .invalid, "'\(path[1].prefix(100))' is no set", next: "write web.3")
            }
            return try await answer { try await backend.explain(slot) }
        case ["events"]:
            let items = try query("since", "limit")
            let since = try items.number("since", in: 0...UInt64.max)
            let limit = try items.number("limit", in: 1...10_000) ?? 200
            return try await answer { try await backend.events(since: since, limit: limit) }
        case ["images"]:
            _ = try query()
            return try await answer { try await backend.images() }
        case ["volumes"]:
            _ = try query()
            return try await answer { try await backend.volumes() }
        case ["backups"]:
            _ = try query()
            return try await answer { try await backend.backups() }
        case ["backup-key"]:
            _ = try query()
            return try await answer { try await backend.backupKey() }
        case ["trash"]:
            _ = try query()
            return try await answer { try await backend.trash() }
        default: throw noSuchRoute(request)
        }
    }

    private func change(_ request: Request, _ path: [String]) async throws -> Response {
        switch (request.method.rawValue, path.count) {
        case ("POST", 1) where path == ["services"]:
            let items = try RequestQuery(request.uri.query, known: ["dryRun"])
            let dryRun = try items.flag("dryRun")
            let spec = try StrictJSON.decode(
                ServiceSpec.self, from: try await jsonBody(of: request), example: exampleService())
            try refuseProblems(of: spec)
            return try await answer { try await backend.apply(spec, dryRun: dryRun) }
        case ("POST", 3) where path[0] == "services" && path[2] == "scale":
            _ = try RequestQuery(request.uri.query, known: [])
            let name = try serviceName(path[1])
            let scale = try StrictJSON.decode(
                ScaleRequest.self, from: try await jsonBody(of: request),
                example: ScaleRequest(sets: 1))
            return try await answer { try await backend.scale(service: name, sets: scale.sets) }
        case ("POST", 3) where path[0] == "services" && path[2] == "resize":
            _ = try RequestQuery(request.uri.query, known: [])
            let name = try serviceName(path[1])
            let resize = try StrictJSON.decode(
                ServiceResize.self, from: try await jsonBody(of: request),
                example: exampleResize())
            return try await answer { try await backend.resize(service: name, resize) }
        case ("POST", 3) where path[0] == "services" && path[2] == "take-back":
            _ = try RequestQuery(request.uri.query, known: [])
            let name = try serviceName(path[1])
            let wanted = try StrictJSON.decode(
                TakeBackRequest.self, from: try await jsonBody(of: request),
                example: TakeBackRequest(revision: 1))
            return try await answer {
                try await backend.takeBackLimits(service: name, revision: wanted.revision)
            }
        case ("POST", 3) where path[0] == "trash" && path[2] == "restore":
            _ = try RequestQuery(request.uri.query, known: [])
            let name = try serviceName(path[1])
            return try await answer { try await backend.restore(service: name) }
        case ("POST", 1) where path == ["remains"]:
            _ = try RequestQuery(request.uri.query, known: [])
            let asked = try StrictJSON.decode(
                RemainsRequest.self, from: try await jsonBody(of: request),
                example: RemainsRequest(service: "web", hosts: [""]))
            guard asked.hosts.count <= RemainsRequest.hostsMax else {
                throw ControlError(
                    .invalid, "more than \(RemainsRequest.hostsMax) hosts are named")
            }
            return try await answer { try await backend.remains(asked) }
        case ("POST", 1) where path == ["restorations"]:
            _ = try RequestQuery(request.uri.query, known: [])
            let wanted = try StrictJSON.decode(
                RestorationRequest.self, from: try await jsonBody(of: request),
                example: RestorationRequest(volume: "web.3/data", backup: "a", host: "h1"))
            return try await answer { try await backend.restore(wanted) }
        case ("DELETE", 2) where path[0] == "backups":
            _ = try RequestQuery(request.uri.query, known: [])
            let volume = try serviceName(path[1])
            return try await answer { try await backend.forgetBackups(volume: volume) }
        case ("DELETE", 2) where path[0] == "services":
            _ = try RequestQuery(request.uri.query, known: [])
            let name = try serviceName(path[1])
            return try await answer { try await backend.delete(service: name) }
        case ("DELETE", 2) where path[0] == "hosts":
            let items = try RequestQuery(request.uri.query, known: ["withVolumes"])
            let withVolumes = try items.flag("withVolumes")
            let name = try serviceName(path[1])
            return try await answer {
                try await backend.forget(host: name, withVolumes: withVolumes)
            }
        default: throw noSuchRoute(request)
        }
    }

    private func loadImage(
        _ request: Request, _ context: ControlContext
    ) async throws -> Response {
        let items = try RequestQuery(request.uri.query, known: ["reference"])
        let references = items.all("reference")
        guard references.count <= 100, references.allSatisfy({ $0.utf8.count <= 512 }) else {
            throw ControlError(.invalid, "too many or too long references")
        }
        await liftDeadlines(of: context.channel, keepsIdleTimer: true)
        let images = try await spool.store(request.body) { path in
            try await backend.loadImage(archivePath: path, references: references)
        }
        return try jsonResponse(images)
    }

    private func refuseProblems(of spec: ServiceSpec) throws(ControlError) {
        let problems = spec.problems().map { ProblemView(path: $0.path, message: $0.sentence) }
        guard problems.isEmpty else {
            throw ControlError(
                .invalid, "the service breaks \(problems.count) rule(s)", problems: problems)
        }
    }

    private func serviceName(_ text: String) throws -> String {
        guard let name = percentDecoded(text), !name.isEmpty else {
            throw ControlError(.invalid, "the path has a broken percent escape")
        }
        return name
    }

    private func noSuchRoute(_ request: Request) -> ControlError {
        ControlError(
            .notFound, "no such route: \(request.method.rawValue) \(request.uri.path.prefix(200))",
            next: "check that the agent and the caller have the same version")
    }
}

/// The body of `POST /v1/services/NAME/scale`.
package struct ScaleRequest: Codable, Hashable, Sendable {
    /// How many sets are wanted.
    package var sets: Int

    package init(sets: Int) {
        self.sets = sets
    }
}

/// The body of `POST /v1/services/NAME/take-back`.
package struct TakeBackRequest: Codable, Hashable, Sendable {
    /// The revision whose limits every host refused.
    package var revision: UInt64

    package init(revision: UInt64) {
        self.revision = revision
    }
}
