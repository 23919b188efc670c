import ClusterModel

/// Talks to the agent on this host over its local socket: one connection per request.
///
/// All methods throw ``ControlError``: the server's own, or `unreachable` when no agent answers.
package struct ControlClient: Sendable {
    /// The socket of the agent.
    package let socketPath: String
    /// How long to wait for the answer to a request that is not a stream.
    package let timeout: Duration

    /// The socket used when neither `--socket` nor `SHOAL_SOCKET` names one.
    package static let defaultSocketPath = "/run/shoal/shoal.sock"

    package init(
        socketPath: String = ControlClient.defaultSocketPath, timeout: Duration = .seconds(35)
    ) {
        self.socketPath = socketPath
        self.timeout = timeout
    }
}
