import CLibuv
import CLinux
import Glibc

/// A started process and our ends of its pipes; used on the loop's thread only.
///
/// The child gets nothing but the descriptors named: everything else that is open is marked
/// close-on-exec before the fork. libuv resets the child's signal mask and dispositions.
final class ChildProcess: LoopHandle {
    /// The process id; valid until the exit was reported, for the kernel may use it again then.
    private(set) var processID: Int32 = 0
    /// Where to write its standard input; nil when that is /dev/null.
    private(set) var input: BytePipe?
    /// Its standard output.
    private(set) var output: BytePipe?
    /// Its standard error.
    private(set) var error: BytePipe?
    private var onExit: ((Int32) -> Void)?
    private var hasExited = false

    private init(loop: EventLoop) {
        super.init(loop: loop, type: UV_PROCESS)
    }

    /// Starts a command; `onExit` gets the exit code, or 128 + the signal's number.
    ///
    /// Pipes, not libuv's socket pairs: a script that opens /dev/stderr works.
    static func start(
        loop: EventLoop, command: [String], environment: [String]?, wantsInput: Bool,
        extraDescriptors: [Int32], onExit: @escaping (Int32) -> Void
    ) throws(LoopError) -> ChildProcess {
        let child = ChildProcess(loop: loop)
        var childEnds: [Int32] = []
        defer { for end in childEnds { Glibc.close(end) } }
        do throws(LoopError) {
            var inherited: [Int32] = [-1]
            if wantsInput {
                let ends = try pipeEnds(command)
                childEnds.append(ends.read)
                inherited[0] = ends.read
                child.input = try BytePipe(
                    loop: loop, descriptor: ends.write, label: "stdin of \(command.first ?? "")")
            }
            for name in ["stdout", "stderr"] {
                let ends = try pipeEnds(command)
                childEnds.append(ends.write)
                inherited.append(ends.write)
                let pipe = try BytePipe(
                    loop: loop, descriptor: ends.read, label: "\(name) of \(command.first ?? "")")
                if name == "stdout" { child.output = pipe } else { child.error = pipe }
            }
            child.onExit = onExit
            try child.spawn(
                command, environment: environment, descriptors: inherited + extraDescriptors)
        } catch {
            child.closeAll()
            throw error
        }
        return child
    }

    /// Sends a signal, unless the process was reaped.
    func kill(signal: Int32) {
        guard !hasExited, !isClosed, processID > 0 else { return }
        uv_process_kill(storage.assumingMemoryBound(to: uv_process_t.self), signal)
    }

    /// Closes our ends of the pipes and the handle.
    ///
    /// A child that still runs goes on unwatched.
    func closeAll() {
        input?.close()
        output?.close()
        error?.close()
        close()
    }

    override func willClose() { onExit = nil }

    private static func pipeEnds(
        _ command: [String]
    ) throws(LoopError) -> (read: Int32, write: Int32) {
        var ends: [Int32] = [-1, -1]
        // Both ends come close-on-exec.
        try LoopError.check(uv_pipe(&ends, 0, 0), "make a pipe for", on: command.first ?? "")
        return (ends[0], ends[1])
    }

    private func spawn(
        _ command: [String], environment: [String]?, descriptors: [Int32]
    ) throws(LoopError) {
        let program = command.first ?? ""
        // A text with a zero byte would reach the program cut short.
        guard !program.isEmpty,
            !(command + (environment ?? [])).contains(where: { $0.utf8.contains(0) })
        else { throw LoopError(operation: "start", target: program, code: UV_EINVAL.rawValue) }
        let arguments = CStringList(command)
        let variables = environment.map { CStringList($0) }
        var containers = descriptors.map { descriptor in
            var container = uv_stdio_container_t()
            container.flags = descriptor < 0 ? UV_IGNORE : UV_INHERIT_FD
            container.data.fd = descriptor
            return container
        }
        _ = clinux_close_on_exec_from(3)
        let count = Int32(containers.count)
        let code = containers.withUnsafeMutableBufferPointer { stdio -> Int32 in
            var options = uv_process_options_t()
            options.exit_cb = { handle, status, signal in
                LoopHandle.owner(handle?.pointee.data, as: ChildProcess.self)?
                    .didExit(status, signal)
            }
            options.file = UnsafePointer(arguments.pointer[0])
            options.args = arguments.pointer
            options.env = variables?.pointer
            options.stdio = stdio.baseAddress
            options.stdio_count = count
            let process = storage.assumingMemoryBound(to: uv_process_t.self)
            let code = uv_spawn(loop.uvLoop, process, &options)
            // libuv knows the handle even after a failed start: it must be closed like any other.
            opened()
            if code == 0 { processID = process.pointee.pid }
            return code
        }
        try LoopError.check(code, "start", on: program)
    }

    private func didExit(_ status: Int64, _ signal: Int32) {
        hasExited = true
        let handler = onExit
        onExit = nil
        handler?(signal > 0 ? 128 + signal : Int32(truncatingIfNeeded: status))
    }
}

/// A null-terminated list of C strings, as execve(2) wants it.
private final class CStringList {
    let pointer: UnsafeMutablePointer<UnsafeMutablePointer<CChar>?>
    private let count: Int

    init(_ texts: [String]) {
        count = texts.count
        pointer = .allocate(capacity: texts.count + 1)
        for (index, text) in texts.enumerated() { (pointer + index).initialize(to: strdup(text)) }
        (pointer + count).initialize(to: nil)
    }

    deinit {
        for index in 0..<count { free(pointer[index]) }
        pointer.deallocate()
    }
}
