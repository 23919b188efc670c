import Glibc
import NIOPosix

/// The bytes of an open descriptor, read on a thread that may block: a file, a pipe, a terminal.
package struct DescriptorBytes: Sendable {
    private let descriptor: Int32
    private let name: String

    /// The most bytes of one run.
    package static let runBytes = 256 << 10

    /// Reads from a descriptor that the caller keeps open; `name` is for errors.
    package init(_ descriptor: Int32, name: String) {
        self.descriptor = descriptor
        self.name = name
    }

    /// The next bytes; nil at the end.
    ///
    /// Throws ``ControlError`` when the descriptor cannot be read.
    package func next() async throws -> [UInt8]? {
        let bytes = try await NIOThreadPool.singleton.runIfActive {
            try [UInt8](unsafeUninitializedCapacity: DescriptorBytes.runBytes) { buffer, count in
                while true {
                    let result = read(descriptor, buffer.baseAddress, buffer.count)
                    if result < 0, errno == EINTR { continue }
                    guard result >= 0 else {
                        throw ControlError(
                            .invalid, "cannot read \(name): \(errorText(errno))")
                    }
                    count = result
                    return
                }
            }
        }
        return bytes.isEmpty ? nil : bytes
    }
}
