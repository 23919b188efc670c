/// An operation on a container that failed: what was attempted on what, why, and what to do.
package struct RuntimeError: Error, Equatable, CustomStringConvertible {
    /// What kind of failure, for decisions.
    package enum Kind: Sendable, Equatable {
        /// A program is missing; no container can run on this host until it is installed.
        case missingProgram
        /// The launch itself is wrong (bad id, unknown user): trying again cannot help.
        case badLaunch
        /// The runtime refused it; may be the image's fault (no such command) or the host's.
        case refused
        /// The container is not there, or not in the state that the operation needs.
        case notRunning
        /// A file or process of the host could not be handled.
        case host
        /// It did not answer in time.
        case timedOut
    }

    /// What kind of failure.
    package var kind: Kind
    /// What was attempted on what.
    package var attempt: String
    /// Why it failed.
    package var cause: String
    /// What the operator may do.
    package var advice: String

    package init(_ kind: Kind, _ attempt: String, cause: String, advice: String = "") {
        self.kind = kind
        self.attempt = attempt
        self.cause = cause
        self.advice = advice
    }

    package var description: String {
        advice.isEmpty ? "\(attempt): \(cause)" : "\(attempt): \(cause); \(advice)"
    }
}
