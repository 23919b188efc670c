import CLinux
import Glibc

/// Looks into a container's root, which is an image's and not trusted: every step of a path stays
/// inside it, whatever links it has.
final class ContainerRoot {
    /// The container's id, for messages.
    let container: String
    private let root: Int32

    init(_ path: String, of container: String) throws {
        self.container = container
        root = clinux_open_root(path)
        guard root >= 0 else {
            throw RuntimeError(
                .host, "open the root \(path) of the container \(container)",
                cause: HostFiles.lastError, advice: "see whether the image is mounted")
        }
    }

    deinit { close(root) }

    /// A file's text; empty when there is none, it is no regular file or too long.
    func text(_ path: String) -> String {
        let descriptor = clinux_open_in_root(root, path)
        guard descriptor >= 0 else { return "" }
        defer { close(descriptor) }
        var status = stat()
        guard fstat(descriptor, &status) == 0, status.st_mode & S_IFMT == S_IFREG else { return "" }
        let bytes = HostFiles.read(descriptor, bytesMax: HostFiles.bytesMax) ?? []
        return String(decoding: bytes, as: UTF8.self)
    }

    /// Throws `badLaunch` unless these files of the host can be put over the image's own in `/etc`.
    ///
    /// What is not there the OCI runtime makes. Links are followed inside the root, as it does;
    /// what it cannot follow it refuses too, but in words that only its authors understand.
    func requireRoom(inEtcFor names: [String]) throws {
        try requireNoDeadEnd("etc", isFolder: true)
        for name in names { try requireNoDeadEnd("etc/\(name)", isFolder: false) }
    }

    private func requireNoDeadEnd(_ path: String, isFolder: Bool) throws {
        let descriptor = clinux_open_in_root(root, path)
        guard descriptor >= 0 else {
            let code = errno
            // A file below a link that leads nowhere yet is made there, a folder is not.
            let isDeadEnd = [ELOOP, EXDEV, ENOTDIR].contains(code) || code == ENOENT && isFolder
            guard isDeadEnd, isLink(path) else { return }
            throw noRoom(
                path, "is a symbolic link to no \(isFolder ? "folder" : "file") inside the image")
        }
        defer { close(descriptor) }
        var status = stat()
        guard fstat(descriptor, &status) == 0 else { return }
        if (status.st_mode & S_IFMT == S_IFDIR) != isFolder {
            throw noRoom(path, isFolder ? "is not a folder" : "is a folder")
        }
    }

    /// True when the last name of a path, none of whose other parts is a link, is a link.
    private func isLink(_ path: String) -> Bool {
        var status = stat()
        return fstatat(root, path, &status, AT_SYMLINK_NOFOLLOW) == 0
            && status.st_mode & S_IFMT == S_IFLNK
    }

    private func noRoom(_ path: String, _ why: String) -> RuntimeError {
        let isEtc = path == "etc"
        return RuntimeError(
            .badLaunch, "put the host's files into /etc of the container \(container)",
            cause: "/\(path) of its image \(why)",
            advice: "make it \(isEtc ? "a folder" : "a file, or leave it out,") when building the "
                + "image, and load that")
    }
}
