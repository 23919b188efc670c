#if canImport(Glibc)
    import Glibc
#endif

/// Why something with images could not be done, in one sentence an operator can act on.
package struct ImageError: Error, Equatable, Sendable, CustomStringConvertible {
    /// What kind of trouble it is; decides what the caller may do about it.
    package enum Reason: String, Equatable, Sendable {
        /// No such image, blob, archive or container root.
        case notFound
        /// What was given is malformed, dishonest or above a limit. Trying again cannot help.
        case refused
        /// The image is fine and not for this host: another architecture, an unknown format.
        case unsupported
        /// The disk is full, or would be left with less than the reserve.
        case noSpace
        /// A running container still uses it.
        case inUse
        /// The operating system refused; the sentence says what and why. Trying again may help.
        case system
    }

    /// The kind of trouble.
    package let reason: Reason
    /// What was attempted on what, why it failed, and what to do.
    package let sentence: String

    init(_ reason: Reason, _ sentence: String) {
        self.reason = reason
        self.sentence = sentence
    }

    /// A failed system call: `could not <attempt>: <why>`.
    init(attempt: String, code: Int32) {
        let full = code == ENOSPC || code == EDQUOT
        reason = full ? .noSpace : (code == EBUSY ? .inUse : .system)
        let advice =
            switch code {
            case ENOSPC, EDQUOT: "; free some disk space and try again"
            case EPERM, EACCES: "; the agent must run as root"
            default: ""
            }
        sentence = "could not \(attempt): \(String(cString: strerror(code)))\(advice)"
    }

    package var description: String { sentence }
}

/// A name from outside for a message: at most 120 bytes of it, and nothing a terminal would obey.
func printable(_ bytes: some Sequence<UInt8>) -> String {
    var scalars = String.UnicodeScalarView()
    for scalar in String(decoding: Array(bytes.prefix(120)), as: UTF8.self).unicodeScalars {
        scalars.append(scalar.value < 32 || (127..<160).contains(scalar.value) ? "?" : scalar)
    }
    return String(scalars)
}
