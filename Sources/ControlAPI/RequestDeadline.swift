import HummingbirdCore
import NIOCore

/// Ends a connection whose client takes too long for a request, from the connection, or from the
/// end of the last answer, to the request's end.
///
/// However it goes about it: one byte a second is no different from silence. How long the answer
/// takes is not its business. Taken out of the pipeline by requests that may go on for long.
final class RequestDeadline: ChannelDuplexHandler, RemovableChannelHandler {
    // Hummingbird's own names: those of the package they come from are no dependency of ours.
    typealias InboundIn = HTTPConnectionStateHandler.InboundIn
    typealias InboundOut = HTTPConnectionStateHandler.InboundOut
    typealias OutboundIn = HTTPConnectionStateHandler.OutboundIn
    typealias OutboundOut = HTTPConnectionStateHandler.OutboundOut

    private let limit: TimeAmount
    private var timer: Scheduled<Void>?
    /// Requests that were begun and whose answers have not ended.
    private var underWay = 0

    init(_ limit: TimeAmount) {
        self.limit = limit
    }

    func handlerAdded(context: ChannelHandlerContext) { arm(context) }

    func handlerRemoved(context: ChannelHandlerContext) { disarm() }

    func channelInactive(context: ChannelHandlerContext) {
        disarm()
        context.fireChannelInactive()
    }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        switch unwrapInboundIn(data) {
        case .head:
            underWay += 1
            // Armed already, unless it was sent before the answer to the one before had ended.
            arm(context)
        case .body: break
        case .end: disarm()
        }
        context.fireChannelRead(data)
    }

    func write(context: ChannelHandlerContext, data: NIOAny, promise: EventLoopPromise<Void>?) {
        if case .end = unwrapOutboundIn(data) {
            underWay -= 1
            if underWay == 0 { arm(context) }
        }
        context.write(data, promise: promise)
    }

    private func arm(_ context: ChannelHandlerContext) {
        guard timer == nil else { return }
        let channel = context.channel
        timer = context.eventLoop.scheduleTask(in: limit) { channel.close(promise: nil) }
    }

    private func disarm() {
        timer?.cancel()
        timer = nil
    }
}

extension ControlResponder {
    /// Lets this request take its time; without `keepsIdleTimer` it may also be silent for ever.
    func liftDeadlines(of channel: any Channel, keepsIdleTimer: Bool) async {
        try? await channel.eventLoop.submit {
            let pipeline = channel.pipeline.syncOperations
            if let deadline = try? pipeline.context(handlerType: RequestDeadline.self) {
                pipeline.removeHandler(context: deadline, promise: nil)
            }
            guard !keepsIdleTimer,
                let idle = try? pipeline.context(handlerType: HTTPConnectionStateHandler.self)
            else { return }
            pipeline.removeHandler(context: idle, promise: nil)
        }.get()
    }
}
