import ControlAPI
import Glibc
import Hummingbird
import HummingbirdCore
import NIOCore
import NIOPosix
import VolumeStore

/// What a handler knows of the connection its request came on.
struct BackupContext: RequestContext {
    var coreContext: CoreRequestContextStorage
    /// The connection.
    let channel: any Channel

    init(source: ApplicationRequestContextSource) {
        coreContext = CoreRequestContextStorage(source: source)
        channel = source.channel
    }
}

/// Answers the requests of restic's REST protocol, versions 1 and 2.
///
/// Source: restic's documentation, "REST Backend".
struct BackupResponder: HTTPResponder {
    typealias Context = BackupContext

    /// Bytes of one run of an answer.
    private static let runBytes = 256 << 10
    private static let version2 = "application/vnd.x.restic.rest.v2"

    let settings: BackupServerSettings
    let store: BlobStore
    let permits: PruningPermits

    /// Never throws but for broken HTTP.
    func respond(to request: Request, context: BackupContext) async throws -> Response {
        do {
            guard let path = BlobPath(request.uri.path) else { throw BlobRefusal.improper }
            return try await answer(request, path)
        } catch let refusal as BlobRefusal {
            guard request.method == .post else { return Response(status: status(of: refusal)) }
            // The rest of a body is not wanted; the answer gets time to arrive.
            let channel = context.channel
            channel.eventLoop.scheduleTask(in: .seconds(1)) { channel.close(promise: nil) }
            return Response(status: status(of: refusal), headers: [.connection: "close"])
        }
    }

    private func answer(_ request: Request, _ path: BlobPath) async throws -> Response {
        switch (request.method, path.kind, path.name) {
        case (.post, nil, _):
            guard request.uri.query == "create=true" else { throw BlobRefusal.improper }
            try await blocking { try store.create(path) }
            return Response(status: .ok)
        case (_, nil, _): throw BlobRefusal.forbidden
        case (.get, .some(let kind), nil) where kind != .config:
            return try await list(request, path)
        case (_, .some(let kind), nil) where kind != .config: throw BlobRefusal.improper
        case (.head, _, _):
            let size = try await blocking { try store.open(path).size }
            return Response(status: .ok, headers: [.contentLength: String(size)])
        case (.get, _, _): return try await get(request, path)
        case (.post, _, _):
            try await receive(request, path)
            return Response(status: .ok)
        case (.delete, .some(let kind), _):
            guard kind == .locks || !settings.isAppendOnly || permits.allows(path.repositoryPath)
            else { throw BlobRefusal.forbidden }
            try await blocking { try store.remove(path) }
            return Response(status: .ok)
        default: throw BlobRefusal.improper
        }
    }

    private func list(_ request: Request, _ path: BlobPath) async throws -> Response {
        let isVersion2 = request.headers[.accept] == Self.version2
        let found = try await blocking { try store.list(path) }
        // Names are 64 digits: nothing in them has to be escaped.
        let elements = found.map {
            isVersion2 ? #"{"name":"\#($0.name)","size":\#($0.size)}"# : "\"\($0.name)\""
        }
        return Response(
            status: .ok,
            headers: [
                .contentType: isVersion2 ? Self.version2 : "application/vnd.x.restic.rest.v1"
            ],
            body: ResponseBody(
                byteBuffer: ByteBuffer(string: "[\(elements.joined(separator: ","))]")))
    }

    private func get(_ request: Request, _ path: BlobPath) async throws -> Response {
        let (file, size) = try await blocking { try store.open(path) }
        var headers: HTTPFields = [.contentType: "application/octet-stream"]
        var range = 0..<size
        if let text = request.headers[.range] {
            guard let wanted = ByteRange.parse(text, size: size) else {
                return Response(
                    status: .rangeNotSatisfiable, headers: [.contentRange: "bytes */\(size)"])
            }
            range = wanted
            headers[.contentRange] = "bytes \(range.lowerBound)-\(range.upperBound - 1)/\(size)"
        }
        let (bounds, isPart) = (range, request.headers[.range] != nil)
        let body = ResponseBody(contentLength: bounds.count) { writer in
            var offset = bounds.lowerBound
            while offset < bounds.upperBound {
                let (start, wanted) = (offset, min(Self.runBytes, bounds.upperBound - offset))
                let run = try await blocking { try read(file, wanted, at: start) }
                try await writer.write(ByteBuffer(bytes: run))
                offset += run.count
            }
            try await writer.finish(nil)
        }
        return Response(status: isPart ? .partialContent : .ok, headers: headers, body: body)
    }

    /// Takes a file in; when there is no room, the rest is read all the same, up to its bound, so
    /// that the refusal arrives.
    private func receive(_ request: Request, _ path: BlobPath) async throws {
        if let text = request.headers[.contentLength] {
            guard let length = Int(text), (0...settings.fileBytesMax).contains(length) else {
                throw BlobRefusal.tooLarge
            }
        }
        var writer: BlobWriter? = try await BlobWriter(store, path)
        var total = 0
        var refusal: BlobRefusal?
        for try await run in request.body {
            total += run.readableBytes
            guard total <= settings.fileBytesMax else { throw BlobRefusal.tooLarge }
            guard let current = writer else { continue }
            do throws(BlobRefusal) {
                try await current.add(Array(run.readableBytesView))
            } catch {
                refusal = error
                writer = nil
            }
        }
        if let refusal { throw refusal }
        try await writer?.finish()
    }

    private func read(_ file: OpenFile, _ count: Int, at offset: Int) throws -> [UInt8] {
        var bytes = [UInt8](repeating: 0, count: count)
        let got = pread(file.descriptor, &bytes, count, off_t(offset))
        guard got > 0 else { throw BlobRefusal.missing }
        return Array(bytes.prefix(got))
    }

    private func status(of refusal: BlobRefusal) -> HTTPResponse.Status {
        switch refusal {
        case .missing: .notFound
        case .improper, .wrongContent: .badRequest
        case .forbidden: .forbidden
        case .tooLarge: .contentTooLarge
        case .noRoom: HTTPResponse.Status(code: 507, reasonPhrase: "Insufficient Storage")
        case .failed: .internalServerError
        }
    }
}

/// Receives one file, on threads that may block.
private actor BlobWriter {
    private let blob: UnfinishedBlob

    init(_ store: BlobStore, _ path: BlobPath) async throws {
        blob = try store.begin(path)
    }

    func add(_ bytes: [UInt8]) throws(BlobRefusal) { try blob.add(bytes) }

    func finish() throws(BlobRefusal) { try blob.finish() }
}

/// Runs what may wait for a disk on a thread that may.
private func blocking<Value: Sendable>(
    _ body: @escaping @Sendable () throws -> Value
) async throws -> Value {
    try await NIOThreadPool.singleton.runIfActive(body)
}

/// A range of bytes in a request.
enum ByteRange {
    /// Reads `bytes=FIRST-LAST`, `bytes=FIRST-` or `bytes=-COUNT`; nil when it lies outside or is none.
    static func parse(_ text: String, size: Int) -> Range<Int>? {
        guard text.hasPrefix("bytes="), text.utf8.count <= 64 else { return nil }
        let parts = text.dropFirst(6).split(separator: "-", omittingEmptySubsequences: false)
        guard parts.count == 2, parts.allSatisfy({ $0.utf8.allSatisfy { 48...57 ~= $0 } })
        else { return nil }
        if parts[0].isEmpty {
            guard let count = Int(parts[1]), count > 0, size > 0 else { return nil }
            return max(0, size - count)..<size
        }
        guard let first = Int(parts[0]), first < size else { return nil }
        guard !parts[1].isEmpty else { return first..<size }
        guard let last = Int(parts[1]), last >= first else { return nil }
        return first..<min(last, size - 1) + 1
    }
}
