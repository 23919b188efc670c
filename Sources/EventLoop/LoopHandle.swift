import CLibuv

/// Owns the memory of one libuv handle; the base of timers, sockets, pipes and processes.
///
/// libuv may touch a handle until its close callback ran, so an open handle holds a reference to
/// its owner and the memory is freed in that callback alone. Used on the loop's thread only.
package class LoopHandle {
    /// The loop the handle belongs to.
    package let loop: EventLoop
    /// The C structure; its type is the subclass's business.
    let storage: UnsafeMutableRawPointer
    /// True from `close()` on.
    package private(set) var isClosed = false
    private var isOpen = false

    init(loop: EventLoop, type: uv_handle_type) {
        precondition(loop.isOnThread, "a handle is made on its loop's thread")
        self.loop = loop
        storage = .allocate(byteCount: uv_handle_size(type), alignment: 16)
    }

    deinit {
        if !isOpen { storage.deallocate() }
    }

    /// The structure as libuv's base type.
    var base: UnsafeMutablePointer<uv_handle_t> {
        storage.assumingMemoryBound(to: uv_handle_t.self)
    }

    /// Records that libuv knows the structure: from here on only `close()` frees it.
    func opened() {
        isOpen = true
        base.pointee.data = Unmanaged.passRetained(self).toOpaque()
    }

    /// Closes the handle; harmless when done twice.
    ///
    /// No callback of the handle runs afterwards.
    package func close() {
        guard isOpen, !isClosed else { return }
        isClosed = true
        willClose()
        uv_close(base) { handle in
            guard let data = handle?.pointee.data else { return }
            let owner = Unmanaged<LoopHandle>.fromOpaque(data).takeRetainedValue()
            owner.isOpen = false
        }
    }

    /// Lets a subclass drop its handlers, which may hold the owner.
    func willClose() {}

    /// The Swift owner of a structure, from the pointer that libuv hands to callbacks.
    static func owner<Owner: LoopHandle>(
        _ data: UnsafeMutableRawPointer?, as type: Owner.Type = Owner.self
    ) -> Owner? {
        guard let data else { return nil }
        return Unmanaged<LoopHandle>.fromOpaque(data).takeUnretainedValue() as? Owner
    }
}
