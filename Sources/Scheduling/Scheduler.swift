import Base
import ClusterModel
import ClusterState

/// Settings of the scheduler.
package struct SchedulerConfig: Equatable, Sendable {
    /// How many percent of a service's sets may be replaced by a newer revision at once; one at
    /// least. A larger share updates faster and takes more sets away meanwhile.
    package var updatePercent = 10

    package init() {}
}

/// Decides which host runs which slot: a pure function of the replicated state.
///
/// Its decisions become a `decide` command; nothing takes effect before that is in the log.
package struct Scheduler: Sendable {
    /// The settings.
    package let config: SchedulerConfig

    package init(config: SchedulerConfig = SchedulerConfig()) {
        self.config = config
    }

    /// The next decisions, most important service first, at most `maximum` of them.
    ///
    /// `usable` are the hosts that new sets may go to, sorted: alive in membership. The caller
    /// proposes the answer as one `decide` with `basedOn` = `state.appliedIndex` and plans again
    /// only after that was applied.
    package func plan(
        _ state: ReplicatedState, usable: [HostID], maximum: Int = 512
    ) -> [SlotDecision] {
        []
    }
}
