import Base
import ClusterModel
import ClusterState
import PeerCore

/// What users asked for, and what they were told.
struct Users {
    private(set) var lastTicket: UInt64 = 0
    /// Writes that wait for an answer: the agent that took each may crash and never answer.
    private var open: [(ticket: UInt64, command: Command)] = []

    /// What users were told last: scenarios look at it.
    private(set) var answers: [(ticket: UInt64, answer: Answer)] = []

    /// How a write ended.
    enum Answer {
        case applied(CommandOutcome.Result)
        case failed(SubmitFailure)
    }

    /// What the user with this ticket was told.
    func answer(to ticket: UInt64) -> Answer? { answers.last { $0.ticket == ticket }?.answer }

    private mutating func note(_ ticket: UInt64, _ answer: Answer) {
        if answers.count == 100 { answers.removeFirst() }
        answers.append((ticket, answer))
    }

    mutating func ask(_ command: Command) -> UInt64 {
        lastTicket += 1
        open.append((lastTicket, command))
        return lastTicket
    }

    mutating func answered(
        _ ticket: UInt64, _ outcome: CommandOutcome, _ index: LogIndex, _ checker: inout Checker
    ) {
        guard let position = open.firstIndex(where: { $0.ticket == ticket }) else { return }
        open.remove(at: position)
        note(ticket, .applied(outcome.result))
        checker.acknowledged(index)
    }

    mutating func unanswered(_ ticket: UInt64, _ failure: SubmitFailure) {
        open.removeAll { $0.ticket == ticket }
        note(ticket, .failed(failure))
    }
}

extension World {
    /// A user does something at some host, and the next is planned.
    mutating func write() {
        guard faultsAreOn else { return }
        queue.schedule(
            .write,
            at: now
                + writeRandom.duration(
                    in: .zero...(.nanoseconds(2 * options.writeEvery.inNanoseconds))))
        let host = Int.random(in: 0..<hosts.count, using: &writeRandom)
        let command = nextCommand()
        guard hosts[host].peer != nil else { return }
        submit(command, at: host)
    }

    /// A user asks this host for a write; returns the ticket to find the answer by.
    @discardableResult
    mutating func submit(_ command: Command, at host: Int) -> UInt64 {
        let ticket = users.ask(command)
        feed(.submit(ticket: ticket, command), to: host)
        return ticket
    }

    private mutating func nextCommand() -> Command {
        let service = ["web", "db", "batch"].randomElement(using: &writeRandom) ?? "web"
        switch Int.random(in: 0..<12, using: &writeRandom) {
        case 0...1:
            return .registerImage(
                ImageRecord(
                    reference: "demo/app:1",
                    manifestDigest: "sha256:" + String(repeating: "a", count: 64),
                    sizeBytes: 1_000, loadedBy: hosts[0].id))
        case 2...4: return .applyService(spec(service))
        case 10...11:
            return .resize(
                service: service,
                ServiceResize(
                    cpuRequestMillicores: Int.random(in: 50...600, using: &writeRandom),
                    memoryRequestBytes: (64 << 20) << Int.random(in: 0...1, using: &writeRandom)))
        case 5...8:
            return .scale(service: service, sets: Int.random(in: 0...12, using: &writeRandom))
        default: return .deleteService(service)
        }
    }

    private mutating func spec(_ name: String) -> ServiceSpec {
        ServiceSpec(
            name: name, sets: Int.random(in: 1...10, using: &writeRandom),
            priority: Int.random(in: 0...100, using: &writeRandom),
            containers: [
                ContainerSpec(
                    name: "app", image: "demo/app:1",
                    environment: [
                        EnvironmentVariable(
                            name: "TRY",
                            value: String(Int.random(in: 0...3, using: &writeRandom)))
                    ],
                    cpu: CPUSpec(
                        requestMillicores: Int.random(in: 50...600, using: &writeRandom),
                        limitMillicores: 1_000),
                    memory: MemorySpec(requestBytes: 64 << 20, limitBytes: 128 << 20))
            ],
            placement: PlacementSpec(apartFrom: name == "batch" ? ["db"] : []),
            volumes: volumes(of: name))
    }
}
