import Base
import PeerCore
import Transport

/// Says so when a host that has others to join hears of none of them.
///
/// A wrong token and a wrong address look the same from here, since hosts of another cluster do
/// not answer: the agent goes on trying, and this is what the operator finds in its log.
struct JoinWatch: Sendable {
    let driver: PeerDriver
    let clusterID: ClusterID
    /// What was joined through, as the operator gave it or as it was remembered.
    let names: [String]
    let log: AgentLog

    /// How long others may take to answer before the first word; doubled for every further one.
    static let patience = Duration.seconds(5)
    /// The longest time between two words.
    static let patienceMax = Duration.seconds(300)
    /// The most names that are listed.
    private static let namesMax = 5

    /// Until another host is alive, or the task is cancelled.
    func run() async {
        guard !names.isEmpty else { return }
        var patience = JoinWatch.patience
        var waited = Duration.zero
        while (try? await Task.sleep(for: patience)) != nil {
            waited += patience
            let alone = await driver.read { peer, _ in peer.membership.aliveIDs == [peer.id] }
            guard alone else { return }
            let more = names.count > JoinWatch.namesMax ? ", ..." : ""
            let listed = names.prefix(JoinWatch.namesMax).joined(separator: ", ") + more
            log.warning(
                "no host of cluster \(clusterID) answered at \(listed) for \(waited.inMilliseconds / 1_000) s; trying on. See that an agent runs there, that UDP and TCP reach it, and that the token is of its cluster"
            )
            patience = min(patience * 2, JoinWatch.patienceMax)
        }
    }
}
