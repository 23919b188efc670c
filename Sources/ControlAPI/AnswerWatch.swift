import NIOCore
import Synchronization

/// Looks after an exchange until its answer begins: an agent that hangs, or whose connections are
/// all in use, takes a connection and then says nothing.
///
/// Answers may rightly be long in coming: an image is unpacked, a followed log is silent. So the
/// agent is asked for its status on another connection now and then; only if that is not answered
/// either, the exchange is given up.
final class AnswerWatch: Sendable {
    /// How long an agent may say nothing.
    struct Patience: Hashable, Sendable {
        /// Before it is asked for its status.
        var untilAsked: Duration
        /// After that, before it is given up.
        var onceAsked: Duration
    }

    private let socketPath: String
    private let patience: Patience
    private let silence = Mutex<ControlError?>(nil)
    private let task = Mutex<Task<Void, Never>?>(nil)

    /// Watches the exchange on `channel`.
    init(_ channel: any Channel, socketPath: String, patience: Patience) {
        self.socketPath = socketPath
        self.patience = patience
        let watching = Task {
            do {
                while true {
                    try await Task.sleep(for: patience.untilAsked)
                    try await self.ask()
                }
            } catch let error as ControlError {
                guard !Task.isCancelled else { return }
                self.silence.withLock { $0 = error }
                channel.close(promise: nil)
            } catch {
                // The answer came.
            }
        }
        task.withLock { $0 = watching }
    }

    /// The answer began, or is not waited for any more.
    func end() { task.withLock { $0?.cancel() } }

    /// Why the exchange was given up; nil when it was not.
    var verdict: ControlError? { silence.withLock { $0 } }

    private func ask() async throws {
        let path = socketPath
        let waited = patience.untilAsked + patience.onceAsked
        _ = try await withDeadline(patience.onceAsked) {
            try await HTTPExchange(
                socketPath: path, method: .GET, target: "/v1/status", patience: nil
            ).run(body: nil)
        } late: {
            AnswerWatch.silent(path, "has not answered for \(waited)")
        }
    }

    /// The error for an agent that is there but says nothing.
    static func silent(_ socketPath: String, _ what: String) -> ControlError {
        ControlError(
            .unreachable, "the agent at \(socketPath) \(what)",
            next:
                "see its log, whether it is stopped (`ps -C shoal -o pid,stat,args`), and who uses up its connections (`ss -xp`)"
        )
    }
}
