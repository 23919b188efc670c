import ControlAPI
import Glibc

/// A server on a socket in a folder of its own, with what belongs to it.
struct TestServer: Sendable {
    let backend = FakeBackend()
    let folder: String
    let server: ControlServer
    let client: ControlClient

    var socketPath: String { "\(folder)/s.sock" }

    /// Runs a test against a server and takes everything away afterwards.
    static func run(
        _ change: (inout ControlServerConfiguration) -> Void = { _ in },
        _ test: (TestServer) async throws -> Void
    ) async throws {
        // Work for a loop that has ended is then no message among many, but ends the tests.
        setenv("SWIFTNIO_STRICT", "1", 1)
        var name = Array("/tmp/shoalt-XXXXXX".utf8CString)
        guard mkdtemp(&name) != nil else { throw ControlError(.failed, "no temporary folder") }
        let folder = String(decoding: name.dropLast().map(UInt8.init(bitPattern:)), as: UTF8.self)
        var configuration = ControlServerConfiguration(
            socketPath: "\(folder)/s.sock", spoolFolder: "\(folder)/spool")
        change(&configuration)
        let setup = try await TestServer(folder: folder, configuration)
        do {
            try await test(setup)
        } catch {
            await setup.end()
            throw error
        }
        await setup.end()
    }

    private init(folder: String, _ configuration: ControlServerConfiguration) async throws {
        self.folder = folder
        server = try await ControlServer.start(configuration, backend: backend)
        client = ControlClient(socketPath: configuration.socketPath, timeout: .seconds(10))
    }

    private func end() async {
        await server.stop()
        rmdir("\(folder)/spool")
        rmdir(folder)
    }

    /// Files waiting in the spool.
    var spooled: [String] {
        guard let entries = opendir("\(folder)/spool") else { return [] }
        defer { closedir(entries) }
        var names: [String] = []
        while let entry = readdir(entries) {
            let name = withUnsafePointer(to: &entry.pointee.d_name) {
                $0.withMemoryRebound(to: CChar.self, capacity: 256) { String(cString: $0) }
            }
            if !name.hasPrefix(".") { names.append(name) }
        }
        return names
    }

    /// Polls until something holds; false when it does not within five seconds.
    func eventually(_ condition: () -> Bool) async throws -> Bool {
        for _ in 0..<500 {
            if condition() { return true }
            try await Task.sleep(for: .milliseconds(10))
        }
        return condition()
    }
}

/// A plain connection that sends bytes as they are.
struct RawConnection: ~Copyable {
    private let descriptor: Int32

    init(_ path: String) throws {
        descriptor = socket(AF_UNIX, Int32(SOCK_STREAM.rawValue), 0)
        var address = sockaddr_un()
        address.sun_family = sa_family_t(AF_UNIX)
        withUnsafeMutableBytes(of: &address.sun_path) { $0.copyBytes(from: Array(path.utf8)) }
        let size = socklen_t(MemoryLayout<sockaddr_un>.size)
        let result = withUnsafePointer(to: &address) {
            $0.withMemoryRebound(to: sockaddr.self, capacity: 1) { connect(descriptor, $0, size) }
        }
        guard result == 0 else { throw ControlError(.failed, "cannot connect to \(path)") }
        _ = fcntl(descriptor, F_SETFL, fcntl(descriptor, F_GETFL) | O_NONBLOCK)
    }

    deinit { close(descriptor) }

    /// Sends what it can; a server may have closed already.
    func send(_ bytes: [UInt8]) {
        _ = Glibc.send(descriptor, bytes, bytes.count, Int32(MSG_NOSIGNAL))
    }

    /// Sends a text.
    func send(_ text: String) { send(Array(text.utf8)) }

    /// Tells the server that nothing more comes.
    func finish() { shutdown(descriptor, Int32(SHUT_WR)) }

    /// Reads until the text holds `end`, the server closes, or five seconds pass.
    ///
    /// Never blocks: the server under test shares the few threads of this process.
    func receive(until end: String? = nil) async throws -> String {
        var bytes: [UInt8] = []
        var run = [UInt8](repeating: 0, count: 65_536)
        let clock = ContinuousClock()
        let deadline = clock.now.advanced(by: .seconds(5))
        while clock.now < deadline {
            let count = recv(descriptor, &run, run.count, 0)
            if count < 0, errno == EAGAIN {
                try await Task.sleep(for: .milliseconds(5))
                continue
            }
            guard count > 0 else { break }
            bytes += run.prefix(count)
            if let end, String(decoding: bytes, as: UTF8.self).contains(end) { break }
        }
        return String(decoding: bytes, as: UTF8.self)
    }
}

/// The bytes of a file.
func fileBytes(_ path: String) throws -> [UInt8] {
    guard let file = fopen(path, "r") else { throw ControlError(.failed, "cannot open \(path)") }
    defer { fclose(file) }
    var bytes: [UInt8] = []
    var run = [UInt8](repeating: 0, count: 65_536)
    while true {
        let count = fread(&run, 1, run.count, file)
        guard count > 0 else { return bytes }
        bytes += run.prefix(count)
    }
}

/// The permission bits of a file.
func fileMode(_ path: String) -> UInt32 {
    var facts = stat()
    return stat(path, &facts) == 0 ? facts.st_mode & 0o7777 : 0
}

/// The error a call throws; nil when it throws none or another kind.
func refusal(_ call: () async throws -> Void) async -> ControlError? {
    do {
        try await call()
        return nil
    } catch {
        return error as? ControlError
    }
}
