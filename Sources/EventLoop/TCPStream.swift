import Base
import CLibuv
import Glibc

/// A TCP connection; used on the loop's thread only.
///
/// Small writes are sent at once (TCP_NODELAY).
package final class TCPStream: ByteStream {
    private var tcp: UnsafeMutablePointer<uv_tcp_t> {
        storage.assumingMemoryBound(to: uv_tcp_t.self)
    }

    /// Makes an unconnected stream.
    package init(loop: EventLoop) {
        super.init(loop: loop, type: UV_TCP)
        uv_tcp_init(loop.uvLoop, tcp)
        opened()
        label = "TCP connection"
    }

    /// Connects; `completion` runs once, later, unless the stream is closed before.
    ///
    /// The kernel's own timeout is two minutes: a caller with less patience closes the stream.
    package func connect(
        to address: SocketAddress, completion: @escaping (LoopError?) -> Void
    ) throws(LoopError) {
        label = address.description
        let request = ConnectRequest(owner: self, completion: completion)
        let code = address.withKernelAddress { pointer in
            uv_tcp_connect(request.request, tcp, pointer) { request, status in
                guard let data = request?.pointee.data else { return }
                Unmanaged<ConnectRequest>.fromOpaque(data).takeRetainedValue().finish(status)
            }
        }
        try LoopError.check(code, "connect to", on: label)
        request.retain()
    }

    /// Takes a waiting connection from a listener; returns the other end's address.
    func accept(from listener: UnsafeMutablePointer<uv_stream_t>) -> SocketAddress? {
        guard uv_accept(listener, stream) == 0 else { return nil }
        uv_tcp_nodelay(tcp, 1)
        var storage = sockaddr_storage()
        var length = Int32(MemoryLayout<sockaddr_storage>.size)
        let address = withUnsafeMutablePointer(to: &storage) { pointer in
            pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) { pointer in
                uv_tcp_getpeername(tcp, pointer, &length) == 0
                    ? SocketAddress(kernel: pointer) : nil
            }
        }
        label = address?.description ?? label
        return address
    }

    /// Ends the connection with a reset, so that the kernel keeps nothing for it.
    package func reset() {
        guard !isClosed else { return }
        var descriptor: uv_os_fd_t = -1
        if uv_fileno(base, &descriptor) == 0 {
            var option = linger(l_onoff: 1, l_linger: 0)
            setsockopt(
                descriptor, SOL_SOCKET, SO_LINGER, &option, socklen_t(MemoryLayout<linger>.size))
        }
        close()
    }

    fileprivate func didConnect() { uv_tcp_nodelay(tcp, 1) }
}

/// A connection attempt on its way.
private final class ConnectRequest {
    let request = UnsafeMutablePointer<uv_connect_t>.allocate(capacity: 1)
    private let owner: TCPStream
    private let completion: (LoopError?) -> Void

    init(owner: TCPStream, completion: @escaping (LoopError?) -> Void) {
        self.owner = owner
        self.completion = completion
    }

    deinit { request.deallocate() }

    /// Keeps the request alive until its callback, which libuv runs in a later turn.
    func retain() { request.pointee.data = Unmanaged.passRetained(self).toOpaque() }

    func finish(_ status: Int32) {
        guard !owner.isClosed else { return }
        guard status < 0 else {
            owner.didConnect()
            return completion(nil)
        }
        completion(LoopError(operation: "connect to", target: owner.label, code: status))
    }
}

/// A listening TCP socket; used on the loop's thread only.
package final class TCPListener: LoopHandle {
    /// Where it listens, with the port the kernel chose if 0 was asked for.
    package private(set) var address: SocketAddress
    private var handler: ((TCPStream, SocketAddress) -> Void)?

    private var tcp: UnsafeMutablePointer<uv_tcp_t> {
        storage.assumingMemoryBound(to: uv_tcp_t.self)
    }

    /// Listens; `handler` gets every connection and closes those it does not want.
    package init(
        loop: EventLoop, address: SocketAddress, backlog: Int32 = 511,
        handler: @escaping (TCPStream, SocketAddress) -> Void
    ) throws(LoopError) {
        self.address = address
        self.handler = handler
        super.init(loop: loop, type: UV_TCP)
        uv_tcp_init(loop.uvLoop, tcp)
        opened()
        var code = address.withKernelAddress { uv_tcp_bind(tcp, $0, 0) }
        if code == 0 { code = listen(backlog) }
        guard code < 0 else { return }
        close()
        throw LoopError(operation: "listen on TCP", target: address.description, code: code)
    }

    private func listen(_ backlog: Int32) -> Int32 {
        let code = uv_listen(storage.assumingMemoryBound(to: uv_stream_t.self), backlog) {
            stream, status in
            guard status == 0,
                let owner = LoopHandle.owner(stream?.pointee.data, as: TCPListener.self)
            else { return }
            owner.didConnect()
        }
        guard code == 0 else { return code }
        var storage = sockaddr_storage()
        var length = Int32(MemoryLayout<sockaddr_storage>.size)
        return withUnsafeMutablePointer(to: &storage) { pointer in
            pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) { pointer in
                let code = uv_tcp_getsockname(tcp, pointer, &length)
                if code == 0, let bound = SocketAddress(kernel: pointer) {
                    address.port = bound.port
                }
                return code
            }
        }
    }

    override func willClose() { handler = nil }

    private func didConnect() {
        let stream = TCPStream(loop: loop)
        let listener = storage.assumingMemoryBound(to: uv_stream_t.self)
        guard let address = stream.accept(from: listener), let handler else {
            return stream.close()
        }
        handler(stream, address)
    }
}
