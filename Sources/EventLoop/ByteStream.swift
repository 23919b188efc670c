import CLibuv
import Glibc

/// Reads and writes bytes in order: the common part of pipes and TCP connections.
///
/// Used on the loop's thread only. Writes are queued without bound: the caller watches
/// `queuedBytes`. Reading stops when the caller says so, which is what slows the sender down.
package class ByteStream: LoopHandle {
    /// What a read brought.
    package enum Event {
        /// At most 64 KiB.
        case bytes([UInt8])
        /// The other end closed its side; nothing follows.
        case end
        /// The stream is broken; nothing follows.
        case failed(LoopError)
    }

    /// What errors name as the target.
    package var label = "stream"
    private var handler: ((Event) -> Void)?
    private var isReading = false

    var stream: UnsafeMutablePointer<uv_stream_t> {
        storage.assumingMemoryBound(to: uv_stream_t.self)
    }

    /// Bytes given to `write` that the kernel has not taken.
    package var queuedBytes: Int {
        isClosed ? 0 : uv_stream_get_write_queue_size(stream)
    }

    /// Sets who gets what is read, and starts reading.
    package func startReading(_ handler: @escaping (Event) -> Void) {
        self.handler = handler
        resumeReading()
    }

    /// Reads again after `stopReading`.
    package func resumeReading() {
        guard !isClosed, !isReading, handler != nil else { return }
        isReading = true
        let code = uv_read_start(stream, ByteStream.allocate) { stream, count, buffer in
            guard let owner = LoopHandle.owner(stream?.pointee.data, as: ByteStream.self),
                let buffer
            else { return }
            owner.didRead(count, buffer.pointee)
        }
        if code < 0 { fail("read from", code) }
    }

    /// Reads nothing until `resumeReading`; the kernel's buffers fill and slow the sender.
    package func stopReading() {
        guard !isClosed, isReading else { return }
        isReading = false
        uv_read_stop(stream)
    }

    /// Queues bytes; `completion` runs once, later, when the kernel took them or the stream broke.
    package func write(
        _ bytes: [UInt8], completion: ((LoopError?) -> Void)? = nil
    ) throws(LoopError) {
        guard !isClosed else {
            throw LoopError(operation: "write to", target: label, code: UV_EPIPE.rawValue)
        }
        let request = WriteRequest(bytes: bytes, owner: self, completion: completion)
        let code = uv_write(request.request, stream, &request.buffer, 1) { request, status in
            guard let data = request?.pointee.data else { return }
            Unmanaged<WriteRequest>.fromOpaque(data).takeRetainedValue().finish(status)
        }
        guard code < 0 else { return request.retain() }
        throw LoopError(operation: "write to", target: label, code: code)
    }

    /// Closes the writing side once everything queued is written; reading goes on.
    ///
    /// `completion` runs once, later, also when the stream breaks first.
    package func finishWriting(completion: @escaping () -> Void = {}) {
        guard !isClosed else { return }
        let request = UnsafeMutablePointer<uv_shutdown_t>.allocate(capacity: 1)
        let box = Unmanaged.passRetained(CompletionBox(completion))
        request.pointee.data = box.toOpaque()
        let code = uv_shutdown(request, stream) { request, _ in
            guard let request, let data = request.pointee.data else { return }
            request.deallocate()
            Unmanaged<CompletionBox>.fromOpaque(data).takeRetainedValue().body()
        }
        guard code < 0 else { return }
        request.deallocate()
        box.takeRetainedValue().body()
    }

    override func willClose() {
        handler = nil
        isReading = false
    }

    /// The loop's shared buffer: a read is handed on before the next one starts.
    private static let allocate: uv_alloc_cb = { handle, _, buffer in
        guard let owner = LoopHandle.owner(handle?.pointee.data), let buffer else { return }
        buffer.pointee = uv_buf_init(
            owner.loop.readBuffer, UInt32(EventLoop.readBufferBytes))
    }

    private func didRead(_ count: Int, _ buffer: uv_buf_t) {
        if count > 0 {
            let raw = UnsafeRawBufferPointer(start: buffer.base, count: count)
            handler?(.bytes([UInt8](raw)))
        } else if count == Int(UV_EOF.rawValue) {
            stopReading()
            handler?(.end)
        } else if count < 0 {
            fail("read from", Int32(truncatingIfNeeded: count))
        }
    }

    private func fail(_ operation: String, _ code: Int32) {
        stopReading()
        handler?(.failed(LoopError(operation: operation, target: label, code: code)))
    }
}

/// A closure that travels through C.
private final class CompletionBox {
    let body: () -> Void

    init(_ body: @escaping () -> Void) { self.body = body }
}

/// One write on its way: the copy of the bytes, and who wants to know.
private final class WriteRequest {
    let request = UnsafeMutablePointer<uv_write_t>.allocate(capacity: 1)
    var buffer: uv_buf_t
    private let owner: ByteStream
    private let completion: ((LoopError?) -> Void)?

    init(bytes: [UInt8], owner: ByteStream, completion: ((LoopError?) -> Void)?) {
        let copy = UnsafeMutablePointer<CChar>.allocate(capacity: max(bytes.count, 1))
        bytes.withUnsafeBytes { raw in
            UnsafeMutableRawBufferPointer(start: copy, count: raw.count).copyMemory(from: raw)
        }
        buffer = uv_buf_t(base: copy, len: bytes.count)
        self.owner = owner
        self.completion = completion
    }

    deinit {
        buffer.base.deallocate()
        request.deallocate()
    }

    /// Keeps the request alive until its callback.
    ///
    /// libuv calls back in a later turn of the loop.
    func retain() {
        request.pointee.data = Unmanaged.passRetained(self).toOpaque()
    }

    func finish(_ status: Int32) {
        guard let completion else { return }
        guard status < 0 else { return completion(nil) }
        completion(LoopError(operation: "write to", target: owner.label, code: status))
    }
}

/// One end of a pipe, from a descriptor.
package final class BytePipe: ByteStream {
    /// Takes over the descriptor of a pipe's end; it is closed with the stream, or by a failure here.
    package init(loop: EventLoop, descriptor: Int32, label: String) throws(LoopError) {
        super.init(loop: loop, type: UV_NAMED_PIPE)
        let pipe = storage.assumingMemoryBound(to: uv_pipe_t.self)
        var code = uv_pipe_init(loop.uvLoop, pipe, 0)
        if code == 0 {
            opened()
            code = uv_pipe_open(pipe, descriptor)
        }
        self.label = label
        guard code < 0 else { return }
        Glibc.close(descriptor)
        close()
        throw LoopError(operation: "open", target: label, code: code)
    }

    /// Reads what is there without waiting, at most `maximum` bytes: for an end that is given up.
    func readNow(maximum: Int) -> [UInt8] {
        var descriptor: uv_os_fd_t = -1
        guard !isClosed, uv_fileno(base, &descriptor) == 0 else { return [] }
        var result: [UInt8] = []
        while result.count < maximum {
            let count = read(descriptor, loop.readBuffer, EventLoop.readBufferBytes)
            guard count > 0 else { break }
            result += UnsafeRawBufferPointer(start: loop.readBuffer, count: count)
        }
        return result
    }
}
