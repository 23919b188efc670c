import CLinux
import Glibc

/// Copies a file piece by piece, and leaves holes where it has holes.
struct FileCopy {
    /// The most that one step copies, in bytes.
    private static let stepBytes = 4 << 20

    private let source: OpenFile
    private let target: OpenFile
    private let size: Int
    private let attempt: String
    private var buffer = [UInt8](repeating: 0, count: FileCopy.stepBytes)

    /// Bytes that are done, holes included.
    private(set) var done = 0

    /// The target is empty and has its size already.
    init(
        from source: OpenFile, to target: OpenFile, size: Int, attempt: String
    ) throws(VolumeError) {
        self.source = source
        self.target = target
        self.size = size
        self.attempt = attempt
    }

    /// Copies the next piece; false when all is done.
    mutating func step() throws(VolumeError) -> Bool {
        guard done < size else { return false }
        let data = clinux_volume_next_data(source.descriptor, Int64(done))
        if data < 0 {
            guard data == -Int64(ENXIO) else {
                throw .system(attempt: attempt, code: Int32(-data))
            }
            done = size
            return false
        }
        done = Int(data)
        let end = clinux_volume_next_hole(source.descriptor, data)
        guard end >= 0 else { throw .system(attempt: attempt, code: Int32(-end)) }
        let wanted = min(Int(end) - done, FileCopy.stepBytes, size - done)
        guard wanted > 0 else { return done < size }
        let count = pread(source.descriptor, &buffer, wanted, off_t(done))
        guard count > 0 else { throw .system(attempt: attempt, code: count == 0 ? EIO : errno) }
        var written = 0
        while written < count {
            let piece = buffer[written..<count].withUnsafeBytes {
                pwrite(target.descriptor, $0.baseAddress, $0.count, off_t(done + written))
            }
            guard piece > 0 else { throw .system(attempt: attempt, code: errno) }
            written += piece
        }
        done += count
        return done < size
    }
}
