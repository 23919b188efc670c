import Base
import ClusterState

/// Brings what happened on this host into the cluster's log, in order: each notice is tried until the
/// cluster has taken it.
final class HostNotices: Sendable {
    private let driver: PeerDriver
    private let notices: AsyncStream<HostNotice>
    private let queue: AsyncStream<HostNotice>.Continuation
    /// The most that wait while the cluster takes none; the newest are kept.
    static let waitingMax = 256
    private static let retry = Duration.seconds(5)

    init(driver: PeerDriver) {
        self.driver = driver
        (notices, queue) = AsyncStream<HostNotice>.makeStream(
            bufferingPolicy: .bufferingNewest(HostNotices.waitingMax))
    }

    /// Takes a notice; nobody waits for it.
    func take(_ notice: HostNotice) { queue.yield(notice) }

    /// Works until it is cancelled.
    func run() async {
        let (host, bootEpoch) = await driver.read { peer, _ in (peer.id, peer.bootEpoch) }
        for await notice in notices {
            let command = Command.notice(host: host, bootEpoch: bootEpoch, notice)
            while !Task.isCancelled, await !isTaken(driver.submit(command)) {
                try? await Task.sleep(for: HostNotices.retry)
            }
        }
    }

    /// False of what may be taken later: without a majority, or before the host is registered.
    private func isTaken(_ result: PeerDriver.SubmitResult) -> Bool {
        guard case .done(let outcome, _) = result else { return false }
        guard case .refused(let refusal) = outcome.result else { return true }
        return refusal.code != .hostUnknown
    }
}
