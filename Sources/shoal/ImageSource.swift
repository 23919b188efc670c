import ControlAPI
import Glibc

/// The bytes of an image archive: a file, standard input, or a folder as `tar` packs it.
struct ImageSource: Sendable {
    /// The size in bytes, when known beforehand.
    let size: Int?
    private let bytes: DescriptorBytes
    private let packer: pid_t?
    private let name: String

    /// Opens what is named; throws ``ControlError`` when it cannot be.
    init(_ name: String) throws {
        self.name = name
        guard name != "-" else {
            (size, packer, bytes) = (nil, nil, DescriptorBytes(0, name: "standard input"))
            return
        }
        let descriptor = open(name, O_RDONLY | O_CLOEXEC)
        guard descriptor >= 0 else {
            throw ControlError(.invalid, "cannot open \(name): \(String(cString: strerror(errno)))")
        }
        let folder = open(name, O_RDONLY | O_DIRECTORY | O_CLOEXEC)
        guard folder >= 0 else {
            // A pipe has no size; a file is read from its beginning.
            let end = lseek(descriptor, 0, SEEK_END)
            lseek(descriptor, 0, SEEK_SET)
            size = end >= 0 ? Int(end) : nil
            packer = nil
            bytes = DescriptorBytes(descriptor, name: name)
            return
        }
        close(folder)
        close(descriptor)
        let (child, output) = try ImageSource.pack(name)
        (size, packer, bytes) = (nil, child, DescriptorBytes(output, name: name))
    }

    /// The next bytes; nil at the end.
    ///
    /// Throws when `tar` failed, so that no half image is loaded.
    func next() async throws -> [UInt8]? {
        if let run = try await bytes.next() { return run }
        guard let packer else { return nil }
        var status: Int32 = 0
        while waitpid(packer, &status, 0) < 0, errno == EINTR {}
        guard status == 0 else {
            throw ControlError(.invalid, "cannot load \(name): tar could not read the folder")
        }
        return nil
    }

    /// Starts `tar` on a folder; gives its process and the end of the pipe it writes to.
    private static func pack(_ folder: String) throws -> (pid_t, Int32) {
        var ends: [Int32] = [0, 0]
        guard pipe(&ends) == 0 else {
            throw ControlError(.failed, "cannot make a pipe: \(String(cString: strerror(errno)))")
        }
        defer { close(ends[1]) }
        for end in ends { _ = fcntl(end, F_SETFD, FD_CLOEXEC) }
        var actions = posix_spawn_file_actions_t()
        posix_spawn_file_actions_init(&actions)
        defer { posix_spawn_file_actions_destroy(&actions) }
        posix_spawn_file_actions_adddup2(&actions, ends[1], 1)
        let arguments = ["tar", "-C", folder, "-cf", "-", "."]
        var pointers: [UnsafeMutablePointer<CChar>?] = arguments.map { strdup($0) } + [nil]
        defer { for pointer in pointers { free(pointer) } }
        var child: pid_t = 0
        let code = posix_spawnp(&child, "tar", &actions, nil, &pointers, environ)
        guard code == 0 else {
            throw ControlError(
                .failed, "cannot start tar: \(String(cString: strerror(code)))",
                next: "install the package tar")
        }
        return (child, ends[0])
    }
}
