import Base
import ClusterModel

/// What may happen to membership.
package enum MembershipInput: Sendable {
    /// Time has passed; hand it in no later than `nextDeadline`.
    case tick
    /// A message arrived whose sender the transport has authenticated; `address` is its source.
    case received(
        MembershipMessage, from: HostID, bootEpoch: BootEpoch, address: SocketAddress)
    /// Ask these hosts for the cluster, again and again until one answers.
    case join([SocketAddress])
    /// Our own facts changed; the version must be higher than before (it is raised if not).
    case updateFacts(HostFacts)
    /// Peers reach us at another address from here on.
    case addressChanged(SocketAddress)
    /// Tell the others that we go. Stop the agent after about a second.
    case leave
}

/// What the interpreter must do for membership.
package enum MembershipOutput: Sendable {
    /// Send one datagram; it may get lost. Its encoding has at most `datagramBytesMax` bytes.
    ///
    /// Only the receiver may take it: that start of that host's agent, or a newer one. It is nil
    /// for a seed, of which no more than the address is known.
    case send(MembershipMessage, to: SocketAddress, receiver: PeerIdentity?)
    /// Take note that a member's status, boot epoch, address or facts changed.
    ///
    /// `from` is the status before; nil when the member is new here.
    case changed(Member, from: MemberStatus?)
}
