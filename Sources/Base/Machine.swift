/// One protocol machine: the same inputs, instants and seed give the same outputs.
///
/// Cores are machines. They hold no clock, no task, no socket and no global randomness; the agent
/// and the simulator feed them inputs and carry out their outputs, in order.
package protocol Machine {
    /// What may happen to the machine.
    associatedtype Input
    /// What the interpreter must do; each case documents the duty.
    associatedtype Output

    /// Advances the machine and appends what must be done, in the order it must be done.
    mutating func handle(_ input: Input, at now: Instant, into outputs: inout [Output])

    /// When a tick must be handed in at the latest; nil when the machine waits for nothing.
    var nextDeadline: Instant? { get }
}
