import CArchive
import Glibc

/// One entry of a tar, as the bytes it has there; nothing of it is checked yet.
struct ArchiveEntry {
    /// What an entry is; the values are those of S_IFMT.
    enum Kind: Equatable {
        case file, folder, symbolicLink, hardLink, characterDevice, blockDevice, pipe
        /// Sockets and what else nobody puts into an image.
        case other
    }

    var path: [UInt8]
    var kind: Kind
    /// The target of a symbolic or hard link.
    var target: [UInt8] = []
    var size: Int64 = 0
    /// Permissions with set-user, set-group and sticky bits.
    var permissions: mode_t = 0
    var user: Int64 = 0
    var group: Int64 = 0
    var modified = timespec()
    var device: (major: UInt64, minor: UInt64) = (0, 0)
    var attributes: [(name: String, value: [UInt8])] = []
}

/// Reads a tar entry by entry with libarchive.
///
/// Not for use from two threads. Only tar is accepted, and of the compressions only those that libarchive does itself: with
/// everything enabled it would start other programs for some, at the bidding of a file's first
/// bytes.
final class ArchiveReader {
    private let handle: OpaquePointer
    private let name: String
    /// What the reader's source is kept alive with.
    private let source: AnyObject

    /// Reads a tar that may be compressed with gzip, zstd, xz or bzip2.
    init(file: OpenFile, naming name: String) throws {
        self.name = name
        source = file
        handle = try ArchiveReader.newHandle()
        _ = archive_read_support_format_tar(handle)
        ArchiveReader.allowCompression(handle)
        guard archive_read_open_fd(handle, file.descriptor, 1 << 16) == ARCHIVE_OK else {
            throw failure()
        }
    }

    /// Reads an uncompressed tar that a stream delivers.
    init(stream: LayerStream, naming name: String) throws {
        self.name = name
        source = stream
        handle = try ArchiveReader.newHandle()
        _ = archive_read_support_format_tar(handle)
        let context = Unmanaged.passUnretained(stream).toOpaque()
        guard archive_read_open(handle, context, nil, readStream, nil) == ARCHIVE_OK else {
            throw failure()
        }
    }

    deinit {
        archive_read_free(handle)
    }

    /// A handle that knows no format yet.
    static func newHandle() throws -> OpaquePointer {
        guard let handle = archive_read_new() else {
            throw ImageError(attempt: "read an archive", code: ENOMEM)
        }
        return handle
    }

    /// The compressions a hostile file may ask for.
    static func allowCompression(_ handle: OpaquePointer) {
        _ = archive_read_support_filter_gzip(handle)
        _ = archive_read_support_filter_zstd(handle)
        _ = archive_read_support_filter_xz(handle)
        _ = archive_read_support_filter_bzip2(handle)
    }

    /// The next entry; nil at the end.
    ///
    /// A warning, such as a name that is not in the locale's
    /// character set, is no failure: names are only bytes here.
    func next() throws -> ArchiveEntry? {
        var pointer: OpaquePointer?
        let status = archive_read_next_header(handle, &pointer)
        if status == ARCHIVE_EOF { return nil }
        guard status == ARCHIVE_OK || status == ARCHIVE_WARN, let entry = pointer else {
            throw failure()
        }
        return ArchiveReader.copy(entry)
    }

    /// Reads the current entry's data into a buffer, holes as zeros; 0 at its end.
    func read(into buffer: UnsafeMutableRawBufferPointer) throws -> Int {
        let count = archive_read_data(handle, buffer.baseAddress, buffer.count)
        guard count >= 0 else { throw failure() }
        return count
    }

    /// Calls back with each piece of the current entry's data and its offset, holes left out.
    func forEachBlock(_ body: (UnsafeRawBufferPointer, Int64) throws -> Void) throws {
        while true {
            var bytes: UnsafeRawPointer?
            var size = 0
            var offset: Int64 = 0
            let status = archive_read_data_block(handle, &bytes, &size, &offset)
            if status == ARCHIVE_EOF { return }
            guard status == ARCHIVE_OK || status == ARCHIVE_WARN else { throw failure() }
            try body(UnsafeRawBufferPointer(start: bytes, count: size), offset)
        }
    }

    private func failure() -> ImageError {
        if let stream = source as? LayerStream, let failure = stream.failure { return failure }
        let why = archive_error_string(handle).map { String(cString: $0) } ?? "it is damaged"
        return ImageError(
            .refused,
            "could not read \(name): \(why); it is damaged or not a tar: make or copy it again")
    }

    private static func copy(_ entry: OpaquePointer) -> ArchiveEntry {
        var copied = ArchiveEntry(
            path: bytes(archive_entry_pathname(entry)),
            kind: kind(archive_entry_filetype(entry)))
        if let target = archive_entry_hardlink(entry) {
            copied.kind = .hardLink
            copied.target = bytes(target)
        } else if copied.kind == .symbolicLink {
            copied.target = bytes(archive_entry_symlink(entry))
        }
        copied.size = archive_entry_size(entry)
        copied.permissions = archive_entry_perm(entry) & 0o7777
        copied.user = archive_entry_uid(entry)
        copied.group = archive_entry_gid(entry)
        copied.modified = timespec(
            tv_sec: archive_entry_mtime(entry),
            tv_nsec: max(0, min(999_999_999, archive_entry_mtime_nsec(entry))))
        copied.device = (
            UInt64(archive_entry_rdevmajor(entry)), UInt64(archive_entry_rdevminor(entry))
        )
        copied.attributes = attributes(entry)
        return copied
    }

    private static func attributes(_ entry: OpaquePointer) -> [(name: String, value: [UInt8])] {
        guard archive_entry_xattr_reset(entry) > 0 else { return [] }
        var found: [(name: String, value: [UInt8])] = []
        var name: UnsafePointer<CChar>?
        var value: UnsafeRawPointer?
        var size = 0
        while archive_entry_xattr_next(entry, &name, &value, &size) == ARCHIVE_OK {
            guard let name else { continue }
            let bytes = UnsafeRawBufferPointer(start: value, count: value == nil ? 0 : size)
            found.append((String(cString: name), Array(bytes)))
        }
        return found
    }

    private static func bytes(_ text: UnsafePointer<CChar>?) -> [UInt8] {
        guard let text else { return [] }
        return Array(UnsafeRawBufferPointer(start: text, count: strlen(text)))
    }

    private static func kind(_ type: mode_t) -> ArchiveEntry.Kind {
        switch type & S_IFMT {
        case S_IFREG: .file
        case S_IFDIR: .folder
        case S_IFLNK: .symbolicLink
        case S_IFCHR: .characterDevice
        case S_IFBLK: .blockDevice
        case S_IFIFO: .pipe
        default: .other
        }
    }
}

/// libarchive asks for the next piece of the tar.
private func readStream(
    _ handle: OpaquePointer?, _ context: UnsafeMutableRawPointer?,
    _ buffer: UnsafeMutablePointer<UnsafeRawPointer?>?
) -> Int {
    guard let context else { return -1 }
    let stream = Unmanaged<LayerStream>.fromOpaque(context).takeUnretainedValue()
    return stream.next(buffer)
}
