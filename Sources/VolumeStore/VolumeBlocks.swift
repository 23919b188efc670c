import CLinux
import CSodium
import Glibc

/// The digest of a piece of a volume: 32 bytes of BLAKE2b, or nothing for a piece of zeros.
///
/// Zeros have a digest of their own, so that a hole costs neither reading nor sending.
package struct PieceDigest: Hashable, Sendable {
    /// The bytes: `length` of them, or none for zeros.
    package let bytes: [UInt8]

    /// The length of a digest that is not of zeros.
    package static let length = 32

    /// Makes one of bytes that came from elsewhere; nil when there are not `length` or none.
    package init?(bytes: [UInt8]) {
        guard bytes.isEmpty || bytes.count == PieceDigest.length else { return nil }
        self.bytes = bytes
    }

    /// The digest of a piece.
    init(of piece: [UInt8]) {
        guard !PieceDigest.isZero(piece) else {
            bytes = []
            return
        }
        var output = [UInt8](repeating: 0, count: PieceDigest.length)
        crypto_generichash(&output, output.count, piece, UInt64(piece.count), nil, 0)
        bytes = output
    }

    /// A digest of digests, one after the other: what two sides compare at the end.
    package static func chain(_ digests: [PieceDigest], after before: PieceDigest) -> PieceDigest {
        // The length tells zeros from bytes; the first makes it differ from zeros itself.
        PieceDigest(
            of: [1] + before.bytes + digests.flatMap { [UInt8($0.bytes.count)] + $0.bytes })
    }

    /// The digest of a piece that is a hole, and of nothing.
    package static let zeros = PieceDigest(of: [])

    private static func isZero(_ bytes: [UInt8]) -> Bool {
        guard let first = bytes.first else { return true }
        guard first == 0 else { return false }
        return bytes.withUnsafeBytes { buffer in
            guard let base = buffer.baseAddress else { return true }
            return memcmp(base, base + 1, buffer.count - 1) == 0
        }
    }
}

/// The content of a volume as pieces of one size, for copying it to another host.
///
/// A handle: what it does is done by the store, on its thread.
package final class VolumeBlocks: Sendable {
    /// Bytes of one piece.
    package static let pieceBytes = 256 << 10

    let file: OpenFile
    let attempt: String
    /// Bytes in all.
    package let size: Int
    private let isDevice: Bool

    init(_ file: OpenFile, size: Int, attempt: String) throws(VolumeError) {
        self.file = file
        self.size = size
        self.attempt = attempt
        isDevice = try file.status(attempt: attempt).st_mode & S_IFMT == S_IFBLK
    }

    /// How many pieces there are.
    package var count: Int { (size + VolumeBlocks.pieceBytes - 1) / VolumeBlocks.pieceBytes }

    private func range(_ piece: Int) -> Range<Int> {
        let start = piece * VolumeBlocks.pieceBytes
        return start..<min(size, start + VolumeBlocks.pieceBytes)
    }

    func digest(_ piece: Int) throws(VolumeError) -> PieceDigest {
        try isHole(piece) ? .zeros : PieceDigest(of: try read(piece))
    }

    private func isHole(_ piece: Int) throws(VolumeError) -> Bool {
        guard !isDevice else { return false }
        let range = range(piece)
        let data = clinux_volume_next_data(file.descriptor, Int64(range.lowerBound))
        if data >= 0 { return data >= Int64(range.upperBound) }
        guard data == -Int64(ENXIO) else { throw .system(attempt: attempt, code: Int32(-data)) }
        return true
    }

    func read(_ piece: Int) throws(VolumeError) -> [UInt8] {
        let range = range(piece)
        var bytes = [UInt8](repeating: 0, count: range.count)
        var done = 0
        while done < bytes.count {
            let count = bytes.withUnsafeMutableBytes { buffer in
                pread(
                    file.descriptor, buffer.baseAddress.map { $0 + done }, buffer.count - done,
                    off_t(range.lowerBound + done))
            }
            if count < 0, errno == EINTR { continue }
            guard count > 0 else {
                throw .system(attempt: attempt, code: count == 0 ? EIO : errno)
            }
            done += count
        }
        return bytes
    }

    /// Writes a piece; no bytes stand for zeros.
    func write(_ piece: Int, _ bytes: [UInt8]) throws(VolumeError) {
        let range = range(piece)
        if bytes.isEmpty, !isDevice,
            clinux_volume_punch(
                file.descriptor, Int64(range.lowerBound), Int64(range.count)) == 0
        {
            return
        }
        let bytes = bytes.isEmpty ? [UInt8](repeating: 0, count: range.count) : bytes
        guard bytes.count == range.count else {
            throw .badRequest("piece \(piece) of a copy has \(bytes.count) bytes")
        }
        var done = 0
        while done < bytes.count {
            let count = bytes.withUnsafeBytes { buffer in
                pwrite(
                    file.descriptor, buffer.baseAddress.map { $0 + done }, buffer.count - done,
                    off_t(range.lowerBound + done))
            }
            if count < 0, errno == EINTR { continue }
            guard count > 0 else { throw .system(attempt: attempt, code: errno) }
            done += count
        }
    }

    /// Brings what was written to the disk, so that what is read next comes from there.
    func settle() throws(VolumeError) {
        try file.synchronize(attempt: attempt)
        _ = posix_fadvise(file.descriptor, 0, 0, POSIX_FADV_DONTNEED)
    }
}
