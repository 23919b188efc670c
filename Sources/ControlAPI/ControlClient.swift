import ClusterModel
import NIOCore
import NIOHTTP1
import NIOPosix

/// Talks to the agent on this host over its local socket: one connection per request.
///
/// All methods throw ``ControlError``: the server's own, or `unreachable` when no agent answers.
package struct ControlClient: Sendable {
    /// The socket of the agent.
    package let socketPath: String
    /// How long to wait for the answer to a request that is not a stream.
    package let timeout: Duration
    /// How long the agent may say nothing, whatever was asked, before it is given up.
    private let patience: AnswerWatch.Patience

    /// The socket used when neither `--socket` nor `SHOAL_SOCKET` names one.
    package static let defaultSocketPath = "/run/shoal/shoal.sock"

    /// A client of the agent at a socket.
    ///
    /// An agent that says nothing for `patience` is asked for its status, and given up when that
    /// does not come within `statusTimeout`: also while an image is loaded or a log followed.
    package init(
        socketPath: String = ControlClient.defaultSocketPath, timeout: Duration = .seconds(35),
        patience: Duration = .seconds(8), statusTimeout: Duration = .seconds(8)
    ) {
        self.socketPath = socketPath
        self.timeout = timeout
        self.patience = AnswerWatch.Patience(untilAsked: patience, onceAsked: statusTimeout)
    }

    /// The cluster as the agent's host knows it; with `consistent`, as the leaseholder confirms it.
    package func status(consistent: Bool = false) async throws -> StatusView {
        try await get("/v1/status", consistent ? [("consistent", "1")] : [])
    }

    /// All known hosts.
    package func hosts() async throws -> [HostView] { try await get("/v1/hosts") }

    /// All services.
    package func services() async throws -> [ServiceView] { try await get("/v1/services") }

    /// The sets of one service or of all.
    package func sets(service: String? = nil) async throws -> [SetView] {
        try await get("/v1/sets", service.map { [("service", $0)] } ?? [])
    }

    /// Why a set is where it is, and what of its limits does not hold there.
    package func explain(_ slot: String) async throws -> ExplanationView {
        try await get("/v1/sets/\(percentEncoded(slot))/explanation")
    }

    /// What hosts and the sets on them use, of one service or of all.
    package func usage(
        service: String? = nil, containers: Bool = false
    ) async throws -> [UsageView] {
        var query = service.map { [("service", $0)] } ?? []
        if containers { query.append(("containers", "1")) }
        return try await get("/v1/top", query)
    }

    /// The newest `limit` events above log index `since`, oldest first.
    package func events(since: UInt64? = nil, limit: Int = 200) async throws -> [EventView] {
        var query = [("limit", String(limit))]
        if let since { query.append(("since", String(since))) }
        return try await get("/v1/events", query)
    }

    /// All volumes that hosts hold, those in their trash included.
    package func volumes() async throws -> [VolumeView] { try await get("/v1/volumes") }

    /// Deleted services, oldest first.
    package func trash() async throws -> [TrashView] { try await get("/v1/trash") }

    /// Brings a deleted service back, with its volumes.
    package func restore(service: String) async throws -> ApplyResult {
        try await call(.POST, "/v1/trash/\(percentEncoded(service))/restore")
    }

    /// The backups of all volumes that have some or should.
    package func backups() async throws -> [VolumeBackupsView] { try await get("/v1/backups") }

    /// The key of all backups of the cluster.
    package func backupKey() async throws -> BackupKeyView { try await get("/v1/backup-key") }

    /// Gives a slot to a host that restores its volumes first.
    package func restore(_ request: RestorationRequest) async throws -> RestorationView {
        try await call(.POST, "/v1/restorations", body: try StrictJSON.encode(request))
    }

    /// Forgets the backups of a volume that is gone.
    package func forgetBackups(volume: String) async throws -> ApplyResult {
        try await call(.DELETE, "/v1/backups/\(percentEncoded(volume))")
    }

    /// The images the agent's host knows.
    package func images() async throws -> [ImageView] { try await get("/v1/images") }

    /// Creates or changes a service; with `dryRun` only says what would happen.
    package func apply(_ spec: ServiceSpec, dryRun: Bool = false) async throws -> ApplyResult {
        try await call(
            .POST, "/v1/services", dryRun ? [("dryRun", "1")] : [],
            body: try StrictJSON.encode(spec))
    }

    /// Changes how many sets of a service are wanted.
    package func scale(service: String, sets: Int) async throws -> ApplyResult {
        try await call(
            .POST, "/v1/services/\(percentEncoded(service))/scale",
            body: try StrictJSON.encode(ScaleRequest(sets: sets)))
    }

    /// Changes the limits of a service's sets while they run.
    package func resize(service: String, _ resize: ServiceResize) async throws -> ApplyResult {
        try await call(
            .POST, "/v1/services/\(percentEncoded(service))/resize",
            body: try StrictJSON.encode(resize))
    }

    /// Takes back the limits of a revision that no set has taken.
    package func takeBackLimits(service: String, revision: UInt64) async throws -> ApplyResult {
        try await call(
            .POST, "/v1/services/\(percentEncoded(service))/take-back",
            body: try StrictJSON.encode(TakeBackRequest(revision: revision)))
    }

    /// Deletes a service.
    package func delete(service: String) async throws -> ApplyResult {
        try await call(.DELETE, "/v1/services/\(percentEncoded(service))")
    }

    /// Takes a lost host out of the cluster; with the volumes it holds only with `withVolumes`.
    package func forget(host: String, withVolumes: Bool = false) async throws -> ForgetResult {
        try await call(
            .DELETE, "/v1/hosts/\(percentEncoded(host))", withVolumes ? [("withVolumes", "1")] : [])
    }

    /// What hosts still have of a deleted service's sets.
    package func remains(service: String, hosts: [String]) async throws -> [RemainsView] {
        try await call(
            .POST, "/v1/remains",
            body: try StrictJSON.encode(RemainsRequest(service: service, hosts: hosts)))
    }

    private func get<Answer: Decodable & Sendable>(
        _ path: String, _ query: [(String, String)] = []
    ) async throws -> Answer {
        try await call(.GET, path, query)
    }

    private func call<Answer: Decodable & Sendable>(
        _ method: HTTPMethod, _ path: String, _ query: [(String, String)] = [], body: [UInt8]? = nil
    ) async throws -> Answer {
        let exchange = exchange(method, target(path, query))
        let limit = timeout
        let bytes = try await withDeadline(limit) {
            try await exchange.run(body: body)
        } late: {
            AnswerWatch.silent(exchange.socketPath, "did not answer within \(limit)")
        }
        return try decodeAnswer(bytes)
    }

    /// One request, not sent yet.
    func exchange(_ method: HTTPMethod, _ target: String) -> HTTPExchange {
        HTTPExchange(socketPath: socketPath, method: method, target: target, patience: patience)
    }

    /// The answer as the type the route promises.
    func decodeAnswer<Answer: Decodable>(_ bytes: [UInt8]) throws -> Answer {
        do {
            return try StrictJSON.decodeLenient(Answer.self, from: bytes)
        } catch {
            throw ControlError(
                .unreachable, "the agent at \(socketPath) answered something unexpected",
                next: "check that the agent and this command have the same version")
        }
    }

    /// A path with its query, escaped.
    func target(_ path: String, _ query: [(String, String)]) -> String {
        guard !query.isEmpty else { return path }
        return path + "?"
            + query.map { "\(percentEncoded($0.0))=\(percentEncoded($0.1))" }
            .joined(separator: "&")
    }
}
