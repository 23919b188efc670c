import CArchive
import Glibc

/// Decompresses a layer's blob and computes the digest of what comes out, its diffID.
///
/// Not for use from two threads. An error inside is kept in `failure`, because it has to pass
/// through libarchive, which would forget it.
final class LayerStream {
    private let handle: OpaquePointer
    private let file: OpenFile
    private let name: String
    private let bytesMax: Int
    private let buffer: UnsafeMutableRawBufferPointer
    private var hasher = DigestHasher()
    /// What went wrong, if something did.
    private(set) var failure: ImageError?

    /// Opens the blob; the file must be at its start.
    init(file: OpenFile, bytesMax: Int, naming name: String) throws {
        self.file = file
        self.name = name
        self.bytesMax = bytesMax
        handle = try ArchiveReader.newHandle()
        buffer = .allocate(byteCount: 1 << 16, alignment: 16)
        _ = archive_read_support_format_raw(handle)
        ArchiveReader.allowCompression(handle)
        var entry: OpaquePointer?
        guard
            archive_read_open_fd(handle, file.descriptor, 1 << 16) == ARCHIVE_OK,
            archive_read_next_header(handle, &entry) == ARCHIVE_OK
        else { throw damage() }
    }

    deinit {
        archive_read_free(handle)
        buffer.deallocate()
    }

    /// Hands libarchive the next piece: its size, 0 at the end, -1 on failure.
    func next(_ piece: UnsafeMutablePointer<UnsafeRawPointer?>?) -> Int {
        guard failure == nil else { return -1 }
        let count = archive_read_data(handle, buffer.baseAddress, buffer.count)
        guard count >= 0 else {
            failure = damage()
            return -1
        }
        hasher.update(UnsafeRawBufferPointer(rebasing: buffer[..<count]))
        guard hasher.size <= bytesMax else {
            failure = ImageError(
                .refused,
                "could not unpack \(name): uncompressed it has more than \(bytesMax) bytes; make a "
                    + "smaller image")
            return -1
        }
        piece?.pointee = UnsafeRawPointer(buffer.baseAddress)
        return count
    }

    /// Reads what follows the tar's end mark and returns the digest of everything.
    func finish() throws -> Digest {
        while next(nil) > 0 {}
        if let failure { throw failure }
        return hasher.finish()
    }

    private func damage() -> ImageError {
        let why = archive_error_string(handle).map { String(cString: $0) } ?? "it is damaged"
        return ImageError(
            .refused, "could not unpack \(name): \(why); make or copy the image again")
    }
}
