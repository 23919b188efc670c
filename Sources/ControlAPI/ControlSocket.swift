import Glibc

/// The path, folder, mode and group of the unix socket the local API listens on.
package struct ControlSocket {
    /// The socket's path.
    let path: String

    /// A socket at a path; nothing is made yet.
    package init(path: String) { self.path = path }

    /// The longest path the kernel takes (`sun_path` less its terminator).
    static let pathBytesMax = 107

    /// Makes the folder and takes away a socket file on which nobody listens.
    package func prepare() throws(ControlError) {
        guard path.utf8.count <= ControlSocket.pathBytesMax, path.hasPrefix("/") else {
            throw ControlError(
                .failed,
                "cannot listen at \(path): a socket path must begin with / and have at "
                    + "most \(ControlSocket.pathBytesMax) bytes")
        }
        try makeFolder(String(path[..<(path.lastIndex(of: "/") ?? path.startIndex)]), mode: 0o755)
        var facts = stat()
        guard lstat(path, &facts) == 0 else { return }
        guard facts.st_mode & S_IFMT == S_IFSOCK else {
            throw ControlError(
                .failed, "cannot listen at \(path): a file that is no socket is there",
                next: "remove it, or name another path")
        }
        guard try !isListenedOn() else {
            throw ControlError(
                .failed, "cannot listen at \(path): another agent listens there",
                next: "stop it, or name another path with --socket")
        }
        unlink(path)
    }

    /// Gives the socket mode 0660 and, where the host has it, the group.
    func share(withGroup name: String) throws(ControlError) {
        guard chmod(path, 0o660) == 0 else {
            throw ControlError(.failed, "cannot set the mode of \(path): \(errorText(errno))")
        }
        guard let group = groupID(name) else { return }
        guard chown(path, uid_t.max, group) == 0 else {
            throw ControlError(
                .failed, "cannot give \(path) to group \(name): \(errorText(errno))")
        }
    }

    /// True when somebody accepts connections there.
    private func isListenedOn() throws(ControlError) -> Bool {
        let descriptor = socket(AF_UNIX, Int32(SOCK_STREAM.rawValue), 0)
        guard descriptor >= 0 else {
            throw ControlError(.failed, "cannot open a socket: \(errorText(errno))")
        }
        defer { close(descriptor) }
        var address = sockaddr_un()
        address.sun_family = sa_family_t(AF_UNIX)
        withUnsafeMutableBytes(of: &address.sun_path) { $0.copyBytes(from: Array(path.utf8)) }
        let size = socklen_t(MemoryLayout<sockaddr_un>.size)
        let result = withUnsafePointer(to: &address) {
            $0.withMemoryRebound(to: sockaddr.self, capacity: 1) { connect(descriptor, $0, size) }
        }
        if result == 0 { return true }
        switch errno {
        case ECONNREFUSED, ENOENT: return false
        case EAGAIN: return true
        default:
            throw ControlError(
                .failed, "cannot tell whether an agent listens at \(path): \(errorText(errno))")
        }
    }

    private func groupID(_ name: String) -> gid_t? {
        var record = group()
        var found: UnsafeMutablePointer<group>?
        var text = [CChar](repeating: 0, count: 16_384)
        guard getgrnam_r(name, &record, &text, text.count, &found) == 0, found != nil else {
            return nil
        }
        return record.gr_gid
    }
}

/// Makes a folder and what leads to it; leaves one that exists as it is.
func makeFolder(_ path: String, mode: mode_t) throws(ControlError) {
    var made = ""
    for part in path.split(separator: "/") {
        made += "/" + part
        guard mkdir(made, mode) == 0 || errno == EEXIST || errno == EROFS else {
            throw ControlError(.failed, "cannot make folder \(made): \(errorText(errno))")
        }
    }
}

/// What an errno means.
func errorText(_ code: Int32) -> String {
    var text = [CChar](repeating: 0, count: 256)
    guard strerror_r(code, &text, text.count) == 0 else { return "error \(code)" }
    return String(decoding: text.prefix { $0 != 0 }.map(UInt8.init(bitPattern:)), as: UTF8.self)
}
