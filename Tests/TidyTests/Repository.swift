import Foundation

/// The files of this repository, as the tidy tests read them.
///
/// Everything a clone has is looked at, and what was written but not committed yet; what a build
/// leaves behind is not.
enum Repository {
    /// The folder that holds `Package.swift`, found from this file, also through links to it.
    static let root = URL(fileURLWithPath: #filePath).resolvingSymlinksInPath()
        .deletingLastPathComponent().deletingLastPathComponent().deletingLastPathComponent()

    /// Folders that tools make, by name or beginning of the name.
    private static let made = [".git", ".build", ".swiftpm"]

    /// Every file there is, sorted by path.
    static let files: [RepositoryFile] = {
        let keys: [URLResourceKey] = [.isRegularFileKey, .fileSizeKey]
        guard
            let walk = FileManager.default.enumerator(
                at: root, includingPropertiesForKeys: keys)
        else { return [] }
        var files: [RepositoryFile] = []
        for case let url as URL in walk {
            let name = url.lastPathComponent
            guard name == ".gitignore" || !made.contains(where: { name.hasPrefix($0) }) else {
                walk.skipDescendants()
                continue
            }
            guard let values = try? url.resourceValues(forKeys: Set(keys)),
                values.isRegularFile == true
            else { continue }
            files.append(
                RepositoryFile(
                    path: String(url.path.dropFirst(root.path.count + 1)), url: url,
                    size: values.fileSize ?? 0))
        }
        return files.sorted { $0.path < $1.path }
    }()

    /// Our Swift, in `Sources` and `Tests`.
    static let swiftFiles = files.filter {
        $0.path.hasSuffix(".swift") && ($0.path.hasPrefix("Sources/") || $0.isTest)
    }

    /// The same, read: once for all tests.
    static let sources = swiftFiles.map { (file: $0, source: SwiftSource($0.lines)) }

    /// What is text by its name: what a person may open and edit.
    static let textFiles = files.filter { file in
        let extensions = [
            "swift", "md", "yaml", "yml", "sh", "c", "h", "modulemap", "txt", "json", "py",
            "service", "",
        ]
        return extensions.contains(file.url.pathExtension)
    }

    /// What git knows: nil where this is no checkout, or git is not there to ask.
    static func trackedPaths() -> [String]? {
        let git = Process()
        git.executableURL = URL(fileURLWithPath: "/usr/bin/env")
        git.arguments = ["git", "-C", root.path, "ls-files"]
        let output = Pipe()
        git.standardOutput = output
        git.standardError = FileHandle.nullDevice
        do { try git.run() } catch { return nil }
        let text = String(
            decoding: output.fileHandleForReading.readDataToEndOfFile(), as: UTF8.self)
        git.waitUntilExit()
        guard git.terminationStatus == 0 else { return nil }
        return text.split(separator: "\n").map(String.init)
    }
}

/// One file of the repository.
struct RepositoryFile: Sendable {
    /// The path from the root.
    let path: String
    /// Where it is.
    let url: URL
    /// Its bytes.
    let size: Int

    /// True below `Tests`.
    var isTest: Bool { path.hasPrefix("Tests/") }

    /// The target it belongs to: the second part of its path.
    var room: String {
        let parts = path.split(separator: "/")
        return parts.count > 2 ? String(parts[1]) : ""
    }

    /// The file as text; nil when it is not UTF-8.
    var text: String? { (try? Data(contentsOf: url)).flatMap { String(data: $0, encoding: .utf8) } }

    /// Its lines, without their ends.
    var lines: [String] {
        (text ?? "").split(separator: "\n", omittingEmptySubsequences: false).map(String.init)
    }
}
