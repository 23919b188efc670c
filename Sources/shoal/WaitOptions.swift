import ArgumentParser
import ControlAPI
import Glibc

/// Whether a change is waited for, and how long.
struct WaitOptions: ParsableArguments {
    @Flag(help: "Wait until it has come about; show the progress.")
    var wait = false

    @Option(help: ArgumentHelp("Give up waiting after so many seconds.", valueName: "seconds"))
    var timeout = 120

    func validate() throws {
        guard (1...86_400).contains(timeout) else {
            throw ValidationError("--timeout must be from 1 to 86400 seconds")
        }
    }
}

/// Waits for services to be as asked, showing how far they are.
struct Waiting {
    let client: ControlClient
    let timeout: Int
    private var line = ""
    private var reached = false

    /// The host asked follows the log, and its copy may be older than the change.
    static let notHeard = "waiting for this host to hear of it"

    init(client: ControlClient, options: WaitOptions) {
        self.init(client: client, timeout: options.timeout)
    }

    init(client: ControlClient, timeout: Int) {
        self.client = client
        self.timeout = timeout
    }

    /// Until every wanted set of each service runs the revision of its change.
    ///
    /// At the time limit it prints why each set that is missing does not run, and fails.
    mutating func untilRunning(_ changes: [ApplyResult]) async throws {
        var missing: [String] = []
        let index = changes.map(\.index).max() ?? 0
        try await poll { client in
            missing = []
            var trouble = ""
            var parts: [String] = []
            guard try await client.status().appliedIndex >= index else {
                return (Waiting.notHeard, false)
            }
            for change in changes {
                let services = try await client.services()
                guard let service = services.first(where: { $0.name == change.service }) else {
                    throw ControlError(.notFound, "\(change.service) was deleted meanwhile")
                }
                let sets = try await client.sets(service: change.service)
                let running = sets.filter {
                    $0.phase == "running" && $0.revision >= change.revision
                        && $0.limitsRevision ?? 0 >= change.revision
                }
                let others = sets.filter { !running.contains($0) }
                let done = running.count >= service.sets && others.isEmpty
                // What may pass by itself is waited for, and said at once.
                if let failed = others.first(where: { $0.isInTrouble }) {
                    trouble = "\(failed.slot) \(failed.phase): \(failed.reason ?? "")"
                }
                parts.append("\(change.service): \(running.count) of \(service.sets) running")
                if !done {
                    missing += others.map {
                        "\($0.slot) \($0.phase): \($0.reason ?? "no reason known yet")"
                    }
                    if others.isEmpty { missing += service.problems }
                    if missing.isEmpty { missing = ["\(change.service) is not placed yet"] }
                }
            }
            let line = parts.joined(separator: ", ")
            return (trouble.isEmpty ? line : "\(line); \(trouble)", missing.isEmpty)
        }
        try fail(unless: missing)
    }

    /// Until nothing of the deleted service runs any more on the hosts that ran it.
    mutating func untilGone(_ change: ApplyResult, from hosts: [String]) async throws {
        let service = change.service
        var missing: [String] = []
        try await poll { client in
            guard try await client.status().appliedIndex >= change.index else {
                return (Waiting.notHeard, false)
            }
            let remains = try await client.remains(service: service, hosts: hosts)
            missing = remains.map { left in
                left.problem.map { "what runs on \(left.host) ends when it answers again: \($0)" }
                    ?? "\(left.sets.joined(separator: ", ")) on \(left.host) still end"
            }
            let silent = remains.count { $0.problem != nil }
            let left = remains.reduce(0) { $0 + $1.sets.count }
            return (
                "\(service): \(left) sets left"
                    + (silent > 0 ? ", \(silent) hosts do not answer" : ""), remains.isEmpty
            )
        }
        try fail(unless: missing)
    }

    func fail(unless missing: [String]) throws {
        guard !reached else { return }
        Output.standardError(
            "shoal: not done after \(timeout) seconds; it goes on without waiting\n")
        for reason in missing.prefix(20) { Output.standardError(Output.printable(reason) + "\n") }
        if missing.count > 20 { Output.standardError("and \(missing.count - 20) more\n") }
        throw ExitCode(1)
    }

    mutating func poll(
        _ look: (ControlClient) async throws -> (line: String, done: Bool)
    ) async throws {
        let clock = ContinuousClock()
        let start = clock.now
        let deadline = start.advanced(by: .seconds(timeout))
        var pause: Duration = .milliseconds(50)
        repeat {
            do {
                let now = try await look(client)
                show(now.line)
                reached = now.done
            } catch let error as ControlError where error.code.isPassing {
                // A new leaseholder is being elected, or the agent restarts: go on looking.
                show(error.message)
            }
            if reached { break }
            try await Task.sleep(for: pause)
            pause = min(pause * 2, .milliseconds(400))
        } while clock.now < deadline
        finishLine()
    }

    private mutating func show(_ text: String) {
        guard text != line else { return }
        if Output.errorIsTerminal {
            Output.standardError("\r\u{1B}[K\(Output.printable(text))")
        } else {
            Output.standardError(Output.printable(text) + "\n")
        }
        line = text
    }

    private func finishLine() {
        if Output.errorIsTerminal, !line.isEmpty { Output.standardError("\n") }
    }
}

extension SetView {
    /// True when waiting alone will hardly make it run.
    fileprivate var isInTrouble: Bool {
        phase == "failed" || phase == "backingOff" || (phase == "pending" && reason != nil)
    }
}

extension ControlErrorCode {
    /// True for what may pass by itself.
    var isPassing: Bool { self == .noQuorum || self == .unavailable || self == .unreachable }
}
