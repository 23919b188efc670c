import Base
import ClusterModel

extension ReplicatedState {
    /// Applies the next entry of the log.
    package mutating func apply(
        _ entry: CommandEnvelope, at index: LogIndex, epoch: Epoch
    ) -> CommandOutcome {
        CommandOutcome(result: .applied)
    }

    /// What a host should do with a set that it runs for the decision at `placementIndex`.
    package func verdict(
        on slot: SlotID, placementIndex: LogIndex, host: HostID
    ) -> SetVerdict {
        .unknown
    }
}
