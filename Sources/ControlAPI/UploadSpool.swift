import Base
import Glibc
import NIOCore
import NIOPosix

/// The folder in which uploads wait: one private file each, bounded in size and number.
actor UploadSpool {
    private let folder: String
    private let bytesMax: Int
    private let uploadsMax: Int
    private var uploads = 0

    /// How much is gathered before it is written.
    private static let runBytes = 1 << 20

    init(folder: String, bytesMax: Int, uploadsMax: Int) {
        self.folder = folder
        self.bytesMax = bytesMax
        self.uploadsMax = uploadsMax
    }

    /// Makes the folder and removes what an earlier run left.
    nonisolated func prepare() throws(ControlError) {
        try makeFolder(folder, mode: 0o700)
        guard let entries = opendir(folder) else {
            throw ControlError(.failed, "cannot read folder \(folder): \(errorText(errno))")
        }
        defer { closedir(entries) }
        while let entry = readdir(entries) {
            let name = withUnsafePointer(to: &entry.pointee.d_name) {
                $0.withMemoryRebound(to: CChar.self, capacity: 256) { String(cString: $0) }
            }
            if name.hasPrefix("upload-") { unlink("\(folder)/\(name)") }
        }
    }

    /// Writes `body` into a file, hands its path to `use`, and removes it in every case.
    func store<Body: AsyncSequence & Sendable, Answer: Sendable>(
        _ body: Body, use: @Sendable (String) async throws -> Answer
    ) async throws -> Answer where Body.Element == ByteBuffer {
        guard uploads < uploadsMax else {
            throw ControlError(
                .refused, "\(uploads) images are being loaded already", next: "try again later")
        }
        uploads += 1
        defer { uploads -= 1 }
        var random = SystemRandomNumberGenerator()
        let path =
            "\(folder)/upload-\(hexadecimal((0..<12).map { _ in UInt8(truncatingIfNeeded: random.next()) }))"
        let file = open(path, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0o600)
        guard file >= 0 else {
            throw ControlError(.failed, "cannot make \(path): \(errorText(errno))")
        }
        defer { unlink(path) }
        do {
            try await write(body, to: file, path: path)
        } catch {
            close(file)
            throw error
        }
        close(file)
        return try await use(path)
    }

    private func write<Body: AsyncSequence & Sendable>(
        _ body: Body, to file: Int32, path: String
    ) async throws where Body.Element == ByteBuffer {
        var gathered = ByteBuffer()
        var total = 0
        for try await run in body {
            total += run.readableBytes
            guard total <= bytesMax else {
                throw ControlError(
                    .tooLarge, "the image archive is above the limit of \(bytesMax) bytes")
            }
            gathered.writeImmutableBuffer(run)
            if gathered.readableBytes >= UploadSpool.runBytes {
                try await flush(&gathered, to: file, path: path)
            }
        }
        try await flush(&gathered, to: file, path: path)
        guard total > 0 else { throw ControlError(.invalid, "the image archive is empty") }
    }

    /// Writes on a thread that may block, so that a slow disk holds up nobody else.
    private func flush(_ gathered: inout ByteBuffer, to file: Int32, path: String) async throws {
        let bytes = gathered
        gathered.clear()
        try await NIOThreadPool.singleton.runIfActive {
            try bytes.withUnsafeReadableBytes { buffer in
                var rest = buffer[...]
                while !rest.isEmpty {
                    let count = Glibc.write(
                        file, UnsafeRawBufferPointer(rebasing: rest).baseAddress, rest.count)
                    if count < 0, errno == EINTR { continue }
                    guard count > 0 else {
                        throw ControlError(
                            .refused, "cannot keep the upload in \(path): \(errorText(errno))",
                            next: "make room on that file system and try again")
                    }
                    rest = rest.dropFirst(count)
                }
            }
        }
    }
}
