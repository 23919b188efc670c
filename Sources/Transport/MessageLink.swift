import Base
import EventLoop

/// The messages on their way to one peer, and the connection they take.
///
/// On the loop's thread only.
///
/// The connection opens with the first message and is kept. When it breaks or does not come about,
/// what waits is dropped and counted: consensus and the rest repeat what still matters. Then the
/// next message calls again, after a back-off that doubles up to `backOffMax`.
final class MessageLink {
    /// Bytes given to the connection ahead of the kernel.
    private static let writeAheadMax = 256 << 10

    let host: HostID
    private(set) var address: SocketAddress
    private unowned let plane: PlaneCore
    private var queue: [[UInt8]] = []
    private var queuedBytes = 0
    /// Bytes of the first message that are sent.
    private var sentBytes = 0
    private var connection: Connection?
    private var isReady = false
    private var failures = 0
    private var backOff: LoopTimer?
    private var isBackingOff = false
    private var idleTicks = 0

    init(host: HostID, address: SocketAddress, plane: PlaneCore) {
        self.host = host
        self.address = address
        self.plane = plane
    }

    /// Queues a message, or drops it when too many wait.
    func send(_ message: [UInt8], at address: SocketAddress) {
        if address != self.address { move(to: address) }
        idleTicks = 0
        let configuration = plane.configuration
        guard queue.count < configuration.queuedMessagesMax,
            queuedBytes + message.count <= configuration.queuedMessageBytesMax
        else {
            plane.counters.queueFull += 1
            return
        }
        queue.append(message)
        queuedBytes += message.count
        connectIfNeeded()
        pump()
    }

    /// Counts an idle tick; true when the link is of no more use.
    func tick(idleTicksMax: Int) -> Bool {
        guard queue.isEmpty else { return false }
        idleTicks += 1
        return idleTicks > idleTicksMax
    }

    /// Ends the link; what waits is dropped.
    func close() {
        backOff?.close()
        connection?.close(.closedHere)
        dropQueue()
    }

    private func move(to address: SocketAddress) {
        self.address = address
        connection?.close(.closedHere)
        failures = 0
        isBackingOff = false
        backOff?.stop()
    }

    private func connectIfNeeded() {
        guard connection == nil, !isBackingOff else { return }
        let connection = plane.makeConnection(to: address)
        self.connection = connection
        connection.handler = { [weak self] in self?.handle($0) }
        connection.start(expecting: host)
    }

    private func handle(_ event: Connection.Event) {
        switch event {
        case .established: connection?.send(.openMessages)
        case .frame(.ready, _):
            isReady = true
            failures = 0
            pump()
        case .frame: connection?.close(.protocolError("an answer on a message connection"))
        case .wrote: pump()
        case .closed: didClose()
        }
    }

    private func didClose() {
        connection = nil
        if !isReady { plane.counters.connectFailed += 1 }
        isReady = false
        dropQueue()
        startBackOff()
    }

    private func dropQueue() {
        plane.counters.messagesLost += UInt64(queue.count)
        queue = []
        queuedBytes = 0
        sentBytes = 0
    }

    private func startBackOff() {
        let configuration = plane.configuration
        let delay = min(
            configuration.backOffMin * (1 << min(failures, 10)), configuration.backOffMax)
        failures += 1
        isBackingOff = true
        if backOff == nil {
            let link = LoopBound(value: self)
            backOff = LoopTimer(loop: plane.loop) { link.value?.backOffEnded() }
        }
        backOff?.start(after: delay)
    }

    private func backOffEnded() {
        isBackingOff = false
        if !queue.isEmpty { connectIfNeeded() }
    }

    /// Hands on what waits, in frames, as long as the connection takes it.
    private func pump() {
        var taken = 0
        while isReady, let connection, taken < queue.count,
            connection.queuedBytes < MessageLink.writeAheadMax
        {
            let message = queue[taken]
            let end = min(message.count, sentBytes + Connection.framePayloadMax)
            let isLast = end == message.count
            connection.send(isLast ? .messageEnd : .messagePart, message[sentBytes..<end])
            // A failed write has dropped the queue.
            guard isReady else { return }
            sentBytes = isLast ? 0 : end
            guard isLast else { continue }
            taken += 1
            queuedBytes -= message.count
            plane.counters.messagesSent += 1
        }
        queue.removeFirst(taken)
    }
}

/// Lets a `@Sendable` handler reach an object of the loop without keeping it.
///
/// Unchecked: the object and all readers of `value` are on the loop's thread.
struct LoopBound<Value: AnyObject>: @unchecked Sendable {
    weak var value: Value?
}
