import Base
import Consensus
import Membership
import Scheduling

/// The times and bounds of one host's brain.
package struct PeerConfiguration: Sendable {
    /// Gossip.
    package var membership = MembershipConfig()
    /// The log and the lease.
    package var consensus = ConsensusConfig()
    /// Placing.
    package var scheduling = SchedulerConfig()
    /// How long a write may wait for its answer.
    package var submitTimeout: Duration = .seconds(10)
    /// How long a write waits before it is sent to the leaseholder again; doubles each time.
    package var submitRetry: Duration = .seconds(1)
    /// The most writes that wait at one host; further ones are refused.
    package var submitsMax = 4_096
    /// The most decisions in one log entry.
    package var decisionsMax = 512
    /// A registered host that a new leaseholder has not met within this time counts as lost.
    package var unseenGrace: Duration = .seconds(15)
    /// First delay before a container is started again; doubled with every further exit.
    package var restartDelayMin: Duration = .seconds(1)
    /// Longest delay before a container is started again.
    package var restartDelayMax: Duration = .seconds(60)
    /// A container that ran this long counts as healthy: its next delay is the first one again.
    package var restartReset: Duration = .seconds(60)
    /// Applied entries after which a snapshot is taken.
    package var snapshotEvery: UInt64 = 4_096
    package init() {}
}
