import CLibuv

/// A system call on a loop failed: what was attempted, on what, and the kernel's reason.
package struct LoopError: Error, Sendable, CustomStringConvertible {
    /// What was attempted, as a verb: "connect".
    package let operation: String
    /// On what: an address, a command, a loop's name.
    package let target: String
    /// The code of libuv: a negated errno or a number of its own.
    package let code: Int32

    package init(operation: String, target: String, code: Int32) {
        self.operation = operation
        self.target = target
        self.code = code
    }

    /// The kernel's reason in words.
    package var reason: String {
        uv_strerror(code).map { String(cString: $0) } ?? "unknown error"
    }

    package var description: String { "could not \(operation) \(target): \(reason)" }

    /// Throws when a libuv call returned a negative code.
    static func check(_ code: Int32, _ operation: String, on target: String) throws(LoopError) {
        guard code < 0 else { return }
        throw LoopError(operation: operation, target: target, code: code)
    }
}
