import Base
import CLibuv
import Glibc

/// A UDP socket; used on the loop's thread only.
///
/// An IPv6 socket on "::" also takes IPv4; addresses are given and taken as IPv4 then.
package final class DatagramSocket: LoopHandle {
    private let isIPv6: Bool
    private var handler: ((SocketAddress, [UInt8]) -> Void)?

    private var udp: UnsafeMutablePointer<uv_udp_t> {
        storage.assumingMemoryBound(to: uv_udp_t.self)
    }

    /// Binds and receives; `handler` gets every datagram, of up to 64 KiB.
    package init(
        loop: EventLoop, address: SocketAddress,
        handler: @escaping (SocketAddress, [UInt8]) -> Void
    ) throws(LoopError) {
        isIPv6 = !address.isIPv4
        super.init(loop: loop, type: UV_UDP)
        self.handler = handler
        uv_udp_init(loop.uvLoop, udp)
        opened()
        var code = address.withKernelAddress { uv_udp_bind(udp, $0, 0) }
        if code == 0 { code = startReceiving() }
        guard code < 0 else { return }
        close()
        throw LoopError(operation: "bind UDP", target: address.description, code: code)
    }

    /// Sends without waiting; false when the kernel did not take it (full buffer, no route).
    package func send(_ bytes: [UInt8], to address: SocketAddress) -> Bool {
        guard !isClosed, isIPv6 || address.isIPv4 else { return false }
        return bytes.withUnsafeBytes { raw in
            // libuv reads the buffer only.
            let base = UnsafeMutableRawPointer(mutating: raw.baseAddress)?
                .assumingMemoryBound(to: CChar.self)
            var buffer = uv_buf_t(base: base, len: raw.count)
            return address.withKernelAddress(mapped: isIPv6) {
                uv_udp_try_send(udp, &buffer, 1, $0) >= 0
            }
        }
    }

    override func willClose() { handler = nil }

    private func startReceiving() -> Int32 {
        // A burst from a large cluster must not be lost while the loop does something else.
        var size: Int32 = 1 << 20
        uv_recv_buffer_size(base, &size)
        return uv_udp_recv_start(
            udp,
            { handle, _, buffer in
                guard let owner = LoopHandle.owner(handle?.pointee.data), let buffer else {
                    return
                }
                buffer.pointee = uv_buf_init(
                    owner.loop.readBuffer, UInt32(EventLoop.readBufferBytes))
            },
            { udp, count, buffer, address, _ in
                guard count >= 0, let buffer, let address = SocketAddress(kernel: address),
                    let owner = LoopHandle.owner(udp?.pointee.data, as: DatagramSocket.self)
                else { return }
                let raw = UnsafeRawBufferPointer(start: buffer.pointee.base, count: count)
                owner.handler?(address, [UInt8](raw))
            })
    }
}
