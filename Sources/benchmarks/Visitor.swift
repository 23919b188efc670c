import Glibc

/// Fetches a page again and again, each time on a new connection, as `benchmarks --visit` does
/// inside a host's network.
enum Visitor {
    private static let pause: UInt32 = 5_000

    /// Prints how long each page took, in milliseconds.
    ///
    /// Visitors come from elsewhere: that they share our processors must not be seen, so they go
    /// first where the kernel lets them.
    static func run(_ target: String, for duration: Duration) throws {
        var priority = sched_param()
        priority.sched_priority = 10
        _ = sched_setscheduler(0, SCHED_FIFO, &priority)
        let parts = target.split(separator: ":")
        guard parts.count == 2, let port = UInt16(parts[1]) else {
            throw BenchmarkError("\(target) is not ADDRESS:PORT")
        }
        var address = sockaddr_in()
        address.sin_family = sa_family_t(AF_INET)
        address.sin_port = port.bigEndian
        guard inet_pton(AF_INET, String(parts[0]), &address.sin_addr) == 1 else {
            throw BenchmarkError("\(parts[0]) is no IPv4 address")
        }
        let end = ContinuousClock.now + duration
        var times: [Double] = []
        while ContinuousClock.now < end {
            let start = ContinuousClock.now
            try fetch(address)
            times.append((ContinuousClock.now - start).inSeconds * 1_000)
            usleep(pause)
        }
        for time in times { print(time) }
    }

    private static func fetch(_ address: sockaddr_in) throws {
        let descriptor = socket(AF_INET, Int32(SOCK_STREAM.rawValue) | O_CLOEXEC, 0)
        defer { close(descriptor) }
        var limit = timeval(tv_sec: 5, tv_usec: 0)
        let size = socklen_t(MemoryLayout<timeval>.size)
        setsockopt(descriptor, SOL_SOCKET, SO_RCVTIMEO, &limit, size)
        var name = address
        let status = withUnsafePointer(to: &name) { pointer in
            pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                connect(descriptor, $0, socklen_t(MemoryLayout<sockaddr_in>.size))
            }
        }
        let request = Array("GET / HTTP/1.0\r\n\r\n".utf8)
        guard status == 0, write(descriptor, request, request.count) == request.count else {
            throw BenchmarkError("no connection: \(String(cString: strerror(errno)))")
        }
        var buffer = [UInt8](repeating: 0, count: 4_096)
        var total = 0
        while true {
            let count = read(descriptor, &buffer, buffer.count)
            guard count > 0 else { break }
            total += count
        }
        guard total > 0 else { throw BenchmarkError("an empty page") }
    }
}
