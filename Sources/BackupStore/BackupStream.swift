import NIOCore
import NIOPosix

/// A pair of byte streams to another agent, as ``BackupBridge`` and ``BackupServer`` need it; the
/// streams between peers have just this form.
package protocol BackupStream: Sendable {
    /// Sends bytes, in the order of the calls; waits while the other side does not read.
    func send(_ bytes: [UInt8]) async throws
    /// What comes next; nil when the other side has finished.
    func receive() async throws -> [UInt8]?
    /// Finishes our side after all that was sent.
    func finish() async
    /// Ends both directions at once.
    func cancel()
}

/// A channel whose bytes are read and written as they are.
typealias ByteChannel = NIOAsyncChannel<ByteBuffer, ByteBuffer>

extension NIOAsyncChannel where Inbound == ByteBuffer, Outbound == ByteBuffer {
    /// Makes one of a channel, in which each direction ends by itself.
    static func halfClosing(_ channel: any Channel) throws -> ByteChannel {
        try ByteChannel(
            wrappingChannelSynchronously: channel,
            configuration: NIOAsyncChannel.Configuration(isOutboundHalfClosureEnabled: true))
    }
}

/// Which side of a connection speaks first, as a client of HTTP.
enum ClientSide {
    /// The connection: we are at the client's host.
    case connection
    /// The stream: we are at the server's host.
    case stream
}

/// Carries bytes between a connection and a stream until the client has ended, or one broke.
///
/// `first` was read from the connection already. A client of HTTP that ends its side wants no more
/// answers, so both directions end with it; a server that ends its side has the rest delivered first.
func carry(
    _ first: [UInt8], _ inbound: NIOAsyncChannelInboundStream<ByteBuffer>.AsyncIterator,
    _ outbound: NIOAsyncChannelOutboundWriter<ByteBuffer>, _ stream: any BackupStream,
    client: ClientSide
) async throws {
    // Only the first task uses it, and this function no more.
    nonisolated(unsafe) var inbound = inbound
    defer { stream.cancel() }
    try await withThrowingTaskGroup(of: ClientSide.self) { group in
        group.addTask {
            if !first.isEmpty { try await stream.send(first) }
            while let run = try await inbound.next() {
                try await stream.send(Array(run.readableBytesView))
            }
            await stream.finish()
            return .connection
        }
        group.addTask {
            while let bytes = try await stream.receive() {
                try await outbound.write(ByteBuffer(bytes: bytes))
            }
            outbound.finish()
            return .stream
        }
        do {
            while let ended = try await group.next() {
                if ended == client { break }
            }
        } catch {
            // A task that waits for the stream learns of the end from the stream.
            stream.cancel()
            throw error
        }
        stream.cancel()
        group.cancelAll()
    }
}
