import Foundation
import ImageStore

/// A folder of one test; unmounts what is mounted in it, and removes itself, at the end.
final class TestFolder: Sendable {
    let path: String

    init() throws {
        path = "/tmp/shoalt-image-\(getpid())-\(UInt32.random(in: 0...UInt32.max))"
        try FileManager.default.createDirectory(
            atPath: path, withIntermediateDirectories: false)
    }

    deinit {
        let mounts = (try? String(contentsOfFile: "/proc/self/mounts", encoding: .utf8)) ?? ""
        for line in mounts.split(separator: "\n") {
            let fields = line.split(separator: " ")
            if fields.count > 1, fields[1].hasPrefix(path) { umount2(String(fields[1]), 2) }
        }
        try? FileManager.default.removeItem(atPath: path)
    }

    var storePath: String { "\(path)/store" }

    /// Opens a store in here.
    func store(_ limits: ImageLimits = ImageLimits()) throws -> ImageStore {
        try ImageStore(root: storePath, limits: limits)
    }

    /// Writes one file and returns its path.
    func write(_ name: String, _ bytes: [UInt8]) throws -> String {
        let file = "\(path)/\(name)"
        try FileManager.default.createDirectory(
            atPath: (file as NSString).deletingLastPathComponent,
            withIntermediateDirectories: true)
        try Data(bytes).write(to: URL(fileURLWithPath: file))
        return file
    }

    /// Writes files by path and returns their folder.
    func write(folder name: String, _ files: [(path: String, bytes: [UInt8])]) throws -> String {
        for file in files { _ = try write("\(name)/\(file.path)", file.bytes) }
        return "\(path)/\(name)"
    }

    /// Everything that is in the store's folder, with sizes: to see that nothing has changed.
    func listing() -> [String] {
        let all = FileManager.default.subpaths(atPath: storePath) ?? []
        return all.sorted().map { "\($0) \(status("\(storePath)/\($0)").st_size)" }
    }

    /// What lstat(2) says of a path.
    func status(_ path: String) -> stat {
        var facts = stat()
        lstat(path, &facts)
        return facts
    }

    /// The size of an extended attribute in bytes; nil when the file has none of that name.
    ///
    /// getxattr(2) is looked up by name because Foundation does not show it.
    func attributeSize(_ path: String, _ name: String) -> Int? {
        typealias GetAttribute =
            @convention(c) (
                UnsafePointer<CChar>, UnsafePointer<CChar>, UnsafeMutableRawPointer?, Int
            ) -> Int
        guard let address = dlsym(nil, "getxattr") else { return nil }
        let size = unsafeBitCast(address, to: GetAttribute.self)(path, name, nil, 0)
        return size < 0 ? nil : size
    }
}

/// Unpacking gives files their owners, which only root may do.
let isRoot = geteuid() == 0

/// Mounting needs root, overlayfs, and a folder that is not on overlayfs itself.
let canMount: Bool = {
    let systems = (try? String(contentsOfFile: "/proc/filesystems", encoding: .utf8)) ?? ""
    let mounts = (try? String(contentsOfFile: "/proc/self/mounts", encoding: .utf8)) ?? ""
    var below = ""
    for line in mounts.split(separator: "\n") {
        let fields = line.split(separator: " ").map(String.init)
        if fields.count > 2, ["/", "/tmp"].contains(fields[1]) { below = fields[2] }
    }
    return isRoot && systems.contains("overlay") && below != "overlay"
}()
