import ClusterModel

/// What the local API asks of the agent.
///
/// Every method may throw ``ControlError``; any other error becomes ``ControlErrorCode/failed``.
/// Methods are called on no particular thread, many at once. The streams are cancelled when their
/// client goes away, the others when the answer's time is up: they must then return soon.
package protocol ControlBackend: Sendable {
    /// The cluster as this host knows it; with `consistent`, as the leaseholder confirms it.
    func status(consistent: Bool) async throws -> StatusView
    /// All known hosts, sorted by name, then identity.
    func hosts() async throws -> [HostView]
    /// All services, sorted by name.
    func services() async throws -> [ServiceView]
    /// The sets of one service or of all, sorted by service, then ordinal.
    func sets(service: String?) async throws -> [SetView]
    /// Why a set is where it is, and what of its limits does not hold there.
    func explain(_ slot: SlotID) async throws -> ExplanationView
    /// What hosts and the sets on them use, of one service or of all: each host, then its sets, and
    /// with `containers` their containers; a host that does not answer has a row that says so.
    func usage(service: String?, containers: Bool) async throws -> [UsageView]
    /// The newest `limit` events above log index `since`, oldest first.
    func events(since: UInt64?, limit: Int) async throws -> [EventView]
    /// All volumes that hosts hold, those in their trash included.
    func volumes() async throws -> [VolumeView]
    /// Deleted services, oldest first.
    func trash() async throws -> [TrashView]
    /// The backups of all volumes that have some or should.
    func backups() async throws -> [VolumeBackupsView]
    /// The key of all backups of the cluster.
    func backupKey() async throws -> BackupKeyView
    /// Gives a slot to a host that restores its volumes first.
    func restore(_ request: RestorationRequest) async throws -> RestorationView
    /// Forgets the backups of a volume that is gone.
    func forgetBackups(volume: String) async throws -> ApplyResult
    /// The images this host knows, sorted by reference.
    func images() async throws -> [ImageView]

    /// Creates or changes a service; with `dryRun` only says what would happen.
    func apply(_ spec: ServiceSpec, dryRun: Bool) async throws -> ApplyResult
    /// Changes how many sets of a service are wanted.
    func scale(service: String, sets: Int) async throws -> ApplyResult
    /// Changes the limits of a service's sets while they run.
    func resize(service: String, _ resize: ServiceResize) async throws -> ApplyResult
    /// Takes back the limits of a revision that no set has taken.
    func takeBackLimits(service: String, revision: UInt64) async throws -> ApplyResult
    /// Brings a deleted service back, with its volumes.
    func restore(service: String) async throws -> ApplyResult
    /// Deletes a service; its sets stop.
    func delete(service: String) async throws -> ApplyResult
    /// Takes a lost host out of the cluster, by name or identity; with the volumes it holds for
    /// sets only with `withVolumes`.
    func forget(host: String, withVolumes: Bool) async throws -> ForgetResult
    /// What hosts still have of a service's sets, and which of them do not answer.
    func remains(_ request: RemainsRequest) async throws -> [RemainsView]
    /// Loads the images of an archive (OCI layout or `docker save`, tar or tar.gz).
    ///
    /// The archive is a private file that the server removes when this returns. `references` are
    /// the names to give; empty keeps those in the archive.
    func loadImage(archivePath: String, references: [String]) async throws -> [ImageView]

    /// Carries out an operation on a volume, wherever it is; the last line has its outcome.
    ///
    /// It goes on when the client goes away: what is half done is finished, and the volume's host
    /// says in its log what it came to.
    func operate(
        _ operation: VolumeOperation,
        send: @escaping @Sendable (VolumeOperationLine) async throws -> Void
    ) async throws

    /// Sends the log lines of what `request` names, until they end or, with `follow`, for ever.
    func logs(
        _ request: LogRequest, send: @escaping @Sendable (LogLine) async throws -> Void
    ) async throws
    /// Runs a command in a container; `input` is its standard input and ends when the client's does.
    ///
    /// Nothing is answered before the first `send`, so an error thrown before it gets its own
    /// HTTP status. The last output sent must be ``ExecOutput/exit(_:)``.
    func exec(
        _ request: ExecRequest, input: AsyncStream<[UInt8]>,
        send: @escaping @Sendable (ExecOutput) async throws -> Void
    ) async throws
}

/// Whose log lines to send.
package struct LogRequest: Hashable, Sendable {
    /// The service, such as `web`.
    package var service: String
    /// The ordinal of one slot (`web.3`); nil is every set of the service.
    package var ordinal: Int?
    /// One container (`web.3/app`); nil is all of them.
    package var container: String?
    /// True to go on with lines as they come.
    package var follow: Bool
    /// How many of the last lines of each container to begin with; nil is `tailDefault`.
    package var tail: Int?

    /// How many lines of each container are sent when nobody says how many.
    package static let tailDefault = 1_000
    /// The most lines of each container to begin with.
    package static let tailMax = 100_000

    package init(
        service: String, ordinal: Int? = nil, container: String? = nil, follow: Bool = false,
        tail: Int? = nil
    ) {
        self.service = service
        self.ordinal = ordinal
        self.container = container
        self.follow = follow
        self.tail = tail
    }

    /// Reads `web`, `web.3` or `web.3/app`; nil when the text is none of these.
    package init?(target: String, follow: Bool = false, tail: Int? = nil) {
        let parts = target.split(separator: "/", omittingEmptySubsequences: false)
        guard parts.count <= 2, !parts[0].isEmpty, parts.count == 1 || !parts[1].isEmpty else {
            return nil
        }
        let container = parts.count == 2 ? String(parts[1]) : nil
        if parts[0].contains(".") {
            guard let slot = SlotID(String(parts[0])) else { return nil }
            self.init(
                service: slot.service, ordinal: slot.ordinal, container: container,
                follow: follow, tail: tail)
        } else {
            self.init(
                service: String(parts[0]), container: container, follow: follow, tail: tail)
        }
    }
}

/// One line a container wrote.
package struct LogLine: Codable, Hashable, Sendable {
    /// The slot, such as `web.3`.
    package var slot: String
    /// The container.
    package var container: String
    /// `stdout` or `stderr`.
    package var stream: String
    /// When it was written: RFC 3339, UTC.
    package var time: String
    /// The line without its end.
    package var text: String

    package init(slot: String, container: String, stream: String, time: String, text: String) {
        self.slot = slot
        self.container = container
        self.stream = stream
        self.time = time
        self.text = text
    }
}

/// A command to run in a container.
package struct ExecRequest: Hashable, Sendable {
    /// The slot.
    package var slot: SlotID
    /// The container; nil is the set's first.
    package var container: String?
    /// The command and its arguments; never empty.
    package var command: [String]

    package init(slot: SlotID, container: String? = nil, command: [String]) {
        self.slot = slot
        self.container = container
        self.command = command
    }
}

/// What a command run by `exec` gives back.
package enum ExecOutput: Hashable, Sendable {
    /// Bytes it wrote to its standard output.
    case standardOutput([UInt8])
    /// Bytes it wrote to its standard error.
    case standardError([UInt8])
    /// How it ended: the exit status, or 128 plus the signal. The last output.
    case exit(Int32)
}
