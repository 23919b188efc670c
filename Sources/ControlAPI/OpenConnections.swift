import NIOCore
import Synchronization

/// The connections that are open now, so that stopping can close them.
package final class OpenConnections: Sendable {
    private let channels = Mutex<[ObjectIdentifier: any Channel]>([:])

    package init() {}

    /// Closes all of them; further ones are closed by ``ControlServer`` before this.
    package func close() {
        let open = channels.withLock { Array($0.values) }
        for channel in open { channel.close(promise: nil) }
    }

    fileprivate func add(_ channel: any Channel) {
        channels.withLock { $0[ObjectIdentifier(channel)] = channel }
    }

    fileprivate func remove(_ channel: any Channel) {
        _ = channels.withLock { $0.removeValue(forKey: ObjectIdentifier(channel)) }
    }
}

/// Notes when its connection opens and closes; changes nothing that passes.
package final class ConnectionNoter: ChannelInboundHandler, RemovableChannelHandler {
    package typealias InboundIn = NIOAny
    package typealias InboundOut = NIOAny

    private let connections: OpenConnections

    package init(_ connections: OpenConnections) {
        self.connections = connections
    }

    package func handlerAdded(context: ChannelHandlerContext) { connections.add(context.channel) }

    package func handlerRemoved(context: ChannelHandlerContext) {
        connections.remove(context.channel)
    }
}
