import NIOCore
import Synchronization

/// How many streams may be open at once, so that some connections are left for short requests.
final class StreamPlaces: Sendable {
    private let maximum: Int
    private let taken = Mutex(0)

    init(_ maximum: Int) {
        self.maximum = maximum
    }

    /// Takes a place until the connection ends.
    ///
    /// Throws ``ControlError`` when none is left.
    func take(for channel: any Channel) throws(ControlError) {
        let isTaken = taken.withLock { taken in
            guard taken < maximum else { return false }
            taken += 1
            return true
        }
        guard isTaken else {
            throw ControlError(
                .unavailable,
                "\(maximum) logs are being followed or commands run by way of this agent already",
                next: "end some of them: `pgrep -af 'shoal (logs|exec)'` lists them")
        }
        channel.closeFuture.whenComplete { _ in self.taken.withLock { $0 -= 1 } }
    }
}
