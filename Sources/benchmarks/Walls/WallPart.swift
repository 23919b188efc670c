import Glibc

/// What runs inside sets while walls are measured: attackers, their victims, and who counts.
///
/// `benchmarks --part "NAME ARGUMENTS"` is one of them. It is our own program, since what a machine
/// has of others differs, and starting them is slow in virtual machines.
enum WallPart {
    /// Shell text that becomes a part.
    static func script(_ part: String) -> String {
        "exec '\(CommandLine.arguments[0])' --part '\(part)'"
    }

    /// Shell text that wants the processor four times over.
    static let burners = "for i in 1 2 3 4; do while :; do :; done & done; wait"

    /// Runs the part of that name.
    static func run(_ text: String) throws {
        signal(SIGPIPE, SIG_IGN)
        let words = text.split(separator: " ").map(String.init)
        func number(_ index: Int) throws -> Int {
            guard index < words.count, let value = Int(words[index]) else {
                throw BenchmarkError("`\(text)` is not a part of the walls")
            }
            return value
        }
        func word(_ index: Int) throws -> String {
            guard index < words.count else {
                throw BenchmarkError("`\(text)` is not a part of the walls")
            }
            return words[index]
        }
        switch words.first {
        case "spurts": spurts(milliseconds: try number(1))
        case "hold": try hold(bytes: try number(1))
        case "read", "write", "random":
            try disk(
                words[0], path: try word(1), bytes: try number(2),
                milliseconds: try number(3))
        case "serve": try serve(port: try number(1))
        case "source": try source(port: try number(1))
        case "sink": try sink(try word(1), port: try number(2), milliseconds: try number(3))
        case "trickle": try trickle(try word(1), port: try number(2))
        case "flood": try flood(try word(1), port: try number(2))
        case "count": try count(port: try number(1), milliseconds: try number(2))
        default: throw BenchmarkError("`\(text)` is not a part of the walls")
        }
    }

    // MARK: - Processor and memory

    /// Says that it has started and waits for a line, since starting costs the processor, too; then
    /// idles and wants so much of the processor at once, eight times.
    private static func spurts(milliseconds: Int) {
        print("ready")
        fflush(nil)
        _ = getchar()
        for _ in 0..<8 {
            usleep(200_000)
            let end = processorTime() + Double(milliseconds) / 1_000
            while processorTime() < end {}
        }
    }

    private static func processorTime() -> Double {
        var time = timespec()
        clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &time)
        return Double(time.tv_sec) + Double(time.tv_nsec) / 1e9
    }

    /// Takes so much memory, says that it has it, and keeps it until its input ends.
    private static func hold(bytes: Int) throws {
        let step = 1 << 20
        var kept: [UnsafeMutableRawPointer] = []
        for _ in 0..<(bytes / step) {
            guard let block = malloc(step) else { throw BenchmarkError("no memory") }
            // Not zero, which the kernel could share.
            memset(block, 0x5a, step)
            kept.append(block)
        }
        print("held")
        fflush(nil)
        _ = getchar()
        for block in kept { free(block) }
    }

    // MARK: - Disk

    /// O_DIRECT of <fcntl.h>, which Swift does not see: it differs between processors.
    #if arch(arm64)
        private static let uncached: Int32 = 0o200000
    #else
        private static let uncached: Int32 = 0o40000
    #endif

    /// Reads (in order or at random) or writes a file past the cache for a while; prints bytes and operations a second.
    private static func disk(_ kind: String, path: String, bytes: Int, milliseconds: Int) throws {
        let isWriting = kind == "write"
        let file = open(path, (isWriting ? O_WRONLY : O_RDONLY) | uncached | O_CLOEXEC)
        var block: UnsafeMutableRawPointer?
        guard file >= 0, posix_memalign(&block, 4_096, bytes) == 0, let block else {
            throw BenchmarkError("cannot open \(path) past the cache: error \(errno)")
        }
        memset(block, 0x5a, bytes)
        let size = max(lseek(file, 0, Int32(SEEK_END)), bytes)
        var offset = 0
        var operations = 0
        func step() throws {
            if kind == "random" { offset = Int.random(in: 0..<(size / bytes)) * bytes }
            if offset + bytes > size { offset = 0 }
            let done =
                isWriting ? pwrite(file, block, bytes, offset) : pread(file, block, bytes, offset)
            guard done == bytes else { throw BenchmarkError("\(kind): error \(errno)") }
            offset += bytes
        }
        // The kernel lets what was saved up go at once; that is no rate.
        let warm = ContinuousClock.now + .milliseconds(500)
        repeat { try step() } while ContinuousClock.now < warm
        let start = ContinuousClock.now
        let end = start + .milliseconds(milliseconds)
        repeat {
            try step()
            operations += 1
        } while ContinuousClock.now < end
        let seconds = (ContinuousClock.now - start).inSeconds
        print(Double(operations * bytes) / seconds, Double(operations) / seconds)
    }

    // MARK: - Network

    /// A small web server: one page, one process.
    private static func serve(port: Int) throws {
        let listener = try listening(port)
        let answer = Array("HTTP/1.0 200 OK\r\nContent-Length: 6\r\n\r\nhello\n".utf8)
        var buffer = [UInt8](repeating: 0, count: 4_096)
        while true {
            let client = accept(listener, nil, nil)
            guard client >= 0 else { continue }
            if read(client, &buffer, buffer.count) > 0 { _ = write(client, answer, answer.count) }
            close(client)
        }
    }

    /// Sends to whoever connects, as fast as it can, one after the other.
    private static func source(port: Int) throws {
        let listener = try listening(port)
        let block = [UInt8](repeating: 0, count: 1 << 16)
        while true {
            let client = accept(listener, nil, nil)
            guard client >= 0 else { continue }
            while write(client, block, block.count) > 0 {}
            close(client)
        }
    }

    /// Takes what a source sends, from one second after connecting on; prints payload bytes a second.
    private static func sink(_ address: String, port: Int, milliseconds: Int) throws {
        let descriptor = socket(AF_INET, Int32(SOCK_STREAM.rawValue) | O_CLOEXEC, 0)
        var name = try internetAddress(address, port)
        var status: Int32 = -1
        // The source may be about to start.
        for _ in 0..<100 where status != 0 {
            status = named(&name) { connect(descriptor, $0, $1) }
            if status != 0 { usleep(50_000) }
        }
        guard status == 0 else { throw BenchmarkError("no connection to \(address):\(port)") }
        print(
            try rate(milliseconds) { buffer in read(descriptor, buffer.baseAddress, buffer.count) })
    }

    /// Asks for a page, one line for each line of its input, and prints what came when that ends.
    private static func trickle(_ address: String, port: Int) throws {
        let descriptor = socket(AF_INET, Int32(SOCK_STREAM.rawValue) | O_CLOEXEC, 0)
        var name = try internetAddress(address, port)
        func send(_ text: String) throws {
            let bytes = Array(text.utf8)
            guard write(descriptor, bytes, bytes.count) == bytes.count else {
                throw BenchmarkError("the connection broke: error \(errno)")
            }
        }
        guard named(&name, { connect(descriptor, $0, $1) }) == 0 else {
            throw BenchmarkError("no connection to \(address):\(port)")
        }
        try send("GET / HTTP/1.0\r\n")
        while readLine() != nil { try send("X-More: yes\r\n") }
        try send("\r\n")
        var buffer = [UInt8](repeating: 0, count: 4_096)
        let count = read(descriptor, &buffer, buffer.count)
        let answer = String(decoding: buffer[..<max(count, 0)], as: UTF8.self)
        guard answer.contains(" 200 ") else { throw BenchmarkError("no page came: \(answer)") }
        print(answer)
    }

    /// Sends full datagrams as fast as it can.
    private static func flood(_ address: String, port: Int) throws {
        let descriptor = socket(AF_INET, Int32(SOCK_DGRAM.rawValue) | O_CLOEXEC, 0)
        var name = try internetAddress(address, port)
        let block = [UInt8](repeating: 0, count: 1_472)
        while true {
            let sent = named(&name) { sendto(descriptor, block, block.count, 0, $0, $1) }
            if sent < 0 { usleep(1_000) }
        }
    }

    /// Counts what comes of a flood: bytes on the wire a second.
    private static func count(port: Int, milliseconds: Int) throws {
        let descriptor = socket(AF_INET, Int32(SOCK_DGRAM.rawValue) | O_CLOEXEC, 0)
        var room = Int32(4 << 20)
        let size = socklen_t(MemoryLayout<Int32>.size)
        setsockopt(descriptor, SOL_SOCKET, SO_RCVBUF, &room, size)
        var name = try internetAddress("0.0.0.0", port)
        guard named(&name, { bind(descriptor, $0, $1) }) == 0 else {
            throw BenchmarkError("port \(port) is taken")
        }
        let headers = 42
        print(
            try rate(milliseconds) { buffer in
                let count = recv(descriptor, buffer.baseAddress, buffer.count, 0)
                return count > 0 ? count + headers : count
            })
    }

    /// Bytes a second, from a second after the first on, when senders have found their pace.
    private static func rate(
        _ milliseconds: Int, _ receive: (UnsafeMutableRawBufferPointer) -> Int
    ) throws -> Double {
        let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: 1 << 16, alignment: 16)
        defer { buffer.deallocate() }
        func step() throws -> Int {
            let count = receive(buffer)
            guard count > 0 else { throw BenchmarkError("nothing comes any more") }
            return count
        }
        _ = try step()
        let settled = ContinuousClock.now + .seconds(1)
        while ContinuousClock.now < settled { _ = try step() }
        let start = ContinuousClock.now
        let end = start + .milliseconds(milliseconds)
        var total = 0
        while ContinuousClock.now < end { total += try step() }
        return Double(total) / (ContinuousClock.now - start).inSeconds
    }

    private static func listening(_ port: Int) throws -> Int32 {
        let descriptor = socket(AF_INET, Int32(SOCK_STREAM.rawValue) | O_CLOEXEC, 0)
        var on: Int32 = 1
        let size = socklen_t(MemoryLayout<Int32>.size)
        setsockopt(descriptor, SOL_SOCKET, SO_REUSEADDR, &on, size)
        var name = try internetAddress("0.0.0.0", port)
        guard named(&name, { bind(descriptor, $0, $1) }) == 0, listen(descriptor, 128) == 0 else {
            throw BenchmarkError("port \(port) is taken")
        }
        return descriptor
    }

    private static func internetAddress(_ text: String, _ port: Int) throws -> sockaddr_in {
        var address = sockaddr_in()
        address.sin_family = sa_family_t(AF_INET)
        address.sin_port = UInt16(clamping: port).bigEndian
        guard inet_pton(AF_INET, text, &address.sin_addr) == 1 else {
            throw BenchmarkError("\(text) is no IPv4 address")
        }
        return address
    }

    private static func named<Value>(
        _ address: inout sockaddr_in, _ body: (UnsafePointer<sockaddr>, socklen_t) -> Value
    ) -> Value {
        withUnsafePointer(to: &address) { pointer in
            pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                body($0, socklen_t(MemoryLayout<sockaddr_in>.size))
            }
        }
    }
}
