/// One start of a host's agent: who sent something, or for whom it is.
package struct PeerIdentity: Hashable, Sendable, CustomStringConvertible {
    /// The host.
    package var hostID: HostID
    /// The start of its agent.
    package var bootEpoch: BootEpoch

    package init(hostID: HostID, bootEpoch: BootEpoch) {
        self.hostID = hostID
        self.bootEpoch = bootEpoch
    }

    package var description: String { "\(hostID.short)/\(bootEpoch.value)" }
}
