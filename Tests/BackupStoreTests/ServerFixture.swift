import Foundation
import NIOCore
import NIOPosix
import Testing

@testable import BackupStore

/// A server in a folder of its own, and an engine beside it.
final class ServerFixture: Sendable {
    let backups: BackupFixture
    let server: BackupServer
    var socket: String { server.settings.socketPath }

    init(
        quota: Int = 1 << 40, fileBytesMax: Int = 256 << 20, isAppendOnly: Bool = true,
        folder: String? = nil
    ) async throws {
        backups = try BackupFixture()
        var settings = BackupServerSettings(
            folder: folder ?? "\(backups.folder)/peers",
            socketPath: "\(backups.folder)/run/backups.sock", quotaBytes: quota,
            isAppendOnly: isAppendOnly)
        settings.fileBytesMax = fileBytesMax
        server = try await BackupServer.start(settings)
    }

    /// Runs the body with a repository that is reached over a bridge and a pair of streams.
    func withBridge<Value: Sendable>(
        _ body: (BackupRepository) async throws -> Value
    ) async throws -> Value {
        let server = server
        return try await BackupBridge.with(connect: {
            let (near, far) = MemoryStream.pair()
            Task { try await server.serve(far) }
            return near
        }) { try await body(try backups.repository(in: $0)) }
    }

    /// Sends a request as it is and returns all that comes back until the end.
    func exchange(_ text: String, _ body: [UInt8] = []) throws -> String {
        let connection = try RawConnection(socket: socket)
        try connection.send(Array(text.utf8) + body)
        return String(decoding: connection.receiveAll(), as: UTF8.self)
    }

    /// The status of the answer to a request.
    func status(
        _ method: String, _ path: String, headers: String = "", body: [UInt8]? = nil
    ) throws -> Int? {
        let length = body.map { "Content-Length: \($0.count)\r\n" } ?? ""
        let answer = try exchange(
            "\(method) \(path) HTTP/1.1\r\nHost: shoal\r\nConnection: close\r\n\(length)\(headers)\r\n",
            body ?? [])
        return answer.split(separator: " ").dropFirst().first.flatMap { Int($0) }
    }

    /// The names of all files below the server's folder.
    func files() -> [String] {
        let folder = server.settings.folder
        let names = FileManager.default.enumerator(atPath: folder)?.allObjects as? [String] ?? []
        return names.filter {
            var isFolder: ObjCBool = false
            return FileManager.default.fileExists(
                atPath: "\(folder)/\($0)", isDirectory: &isFolder) && !isFolder.boolValue
        }.sorted()
    }
}

/// A connection to a unix socket without any library in between.
final class RawConnection {
    private let descriptor: Int32

    init(socket path: String) throws {
        descriptor = Glibc.socket(AF_UNIX, Int32(SOCK_STREAM.rawValue), 0)
        var address = sockaddr_un()
        address.sun_family = sa_family_t(AF_UNIX)
        withUnsafeMutableBytes(of: &address.sun_path) { $0.copyBytes(from: Array(path.utf8)) }
        let descriptor = descriptor
        let result = withUnsafePointer(to: &address) {
            $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                Glibc.connect(descriptor, $0, socklen_t(MemoryLayout<sockaddr_un>.size))
            }
        }
        try #require(result == 0)
        var limit = timeval(tv_sec: 20, tv_usec: 0)
        setsockopt(
            descriptor, SOL_SOCKET, SO_RCVTIMEO, &limit, socklen_t(MemoryLayout<timeval>.size))
    }

    deinit { close(descriptor) }

    func send(_ bytes: [UInt8]) throws {
        var sent = 0
        while sent < bytes.count {
            let count = bytes[sent...].withUnsafeBytes {
                Glibc.send(descriptor, $0.baseAddress, $0.count, Int32(MSG_NOSIGNAL))
            }
            // It may have refused and closed already.
            guard count > 0 else { return }
            sent += count
        }
    }

    func receiveAll() -> [UInt8] {
        var bytes: [UInt8] = []
        var buffer = [UInt8](repeating: 0, count: 65_536)
        while true {
            let count = recv(descriptor, &buffer, buffer.count, 0)
            guard count > 0 else { return bytes }
            bytes += buffer.prefix(count)
        }
    }
}

/// One end of a pair of streams in memory.
final class MemoryStream: BackupStream {
    private let outgoing: MemoryQueue
    private let incoming: MemoryQueue

    private init(outgoing: MemoryQueue, incoming: MemoryQueue) {
        self.outgoing = outgoing
        self.incoming = incoming
    }

    static func pair() -> (MemoryStream, MemoryStream) {
        let (left, right) = (MemoryQueue(), MemoryQueue())
        return (
            MemoryStream(outgoing: left, incoming: right),
            MemoryStream(outgoing: right, incoming: left)
        )
    }

    func send(_ bytes: [UInt8]) async throws { try await outgoing.add(bytes) }
    func receive() async throws -> [UInt8]? { try await incoming.next() }
    func finish() async { await outgoing.finish() }

    func cancel() {
        Task {
            await outgoing.fail()
            await incoming.fail()
        }
    }
}

/// Bytes on their way from one end to the other.
actor MemoryQueue {
    private var runs: [[UInt8]] = []
    private var isFinished = false
    private var isBroken = false
    private var reader: CheckedContinuation<Void, Never>?
    private var writers: [CheckedContinuation<Void, Never>] = []

    func add(_ bytes: [UInt8]) async throws {
        while runs.count >= 16, !isBroken {
            await withCheckedContinuation { writers.append($0) }
        }
        guard !isBroken, !isFinished else { throw CancellationError() }
        runs.append(bytes)
        wake()
    }

    func next() async throws -> [UInt8]? {
        while true {
            if isBroken { throw CancellationError() }
            if !runs.isEmpty {
                defer { wakeWriters() }
                return runs.removeFirst()
            }
            if isFinished { return nil }
            await withCheckedContinuation { reader = $0 }
        }
    }

    func finish() {
        isFinished = true
        wake()
    }

    func fail() {
        isBroken = true
        wake()
        wakeWriters()
    }

    private func wake() {
        reader?.resume()
        reader = nil
    }

    private func wakeWriters() {
        for writer in writers { writer.resume() }
        writers = []
    }
}
