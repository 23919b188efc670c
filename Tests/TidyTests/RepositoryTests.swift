import Foundation
import Testing

/// What is in the repository, and what must never be.
@Suite("repository")
struct RepositoryTests {
    /// The largest file: larger ones are made by a tool, not kept.
    static let fileBytesMax = 1 << 20

    /// Folders of whoever wrote a line, in two parts so that this file may name them.
    static let machineFolders = ["/wo" + "rk/", "/ro" + "ot/"]

    /// Files that run inside the lab's machines, and rightly name those machines' own folders.
    static let guestFiles = "Tools/lab.d/guest/"

    @Test("the root of the repository is found")
    func rootIsFound() {
        #expect(Repository.files.contains { $0.path == "Package.swift" })
        #expect(Repository.swiftFiles.count > 100)
    }

    @Test("no file names a folder of the machine it was written on")
    func noMachinePaths() {
        var found: [String] = []
        for file in Repository.textFiles where !file.path.hasPrefix(RepositoryTests.guestFiles) {
            for (index, line) in file.lines.enumerated() {
                let names = RepositoryTests.machineFolders.contains { beginsPath($0, in: line) }
                if names { found.append("\(file.path):\(index + 1)") }
            }
        }
        #expect(found.isEmpty, "use a path from the repository: \(found)")
    }

    /// True when an absolute path in the line begins with the folder.
    ///
    /// `$base` before it makes it another path.
    private func beginsPath(_ folder: String, in line: String) -> Bool {
        var rest = line[...]
        while let range = rest.range(of: folder) {
            let before = line[..<range.lowerBound].last
            let isInside =
                before.map { $0.isLetter || $0.isNumber || "_-.}/".contains($0) } ?? false
            if !isInside { return true }
            rest = rest[range.upperBound...]
        }
        return false
    }

    @Test("the resolved versions are not committed: exact versions stand in Package.swift")
    func resolvedVersionsAreNotCommitted() throws {
        let name = "Package.resolved"
        let ignored = try #require(Repository.files.first { $0.path == ".gitignore" })
        #expect(ignored.lines.contains(name))
        if let tracked = Repository.trackedPaths() { #expect(!tracked.contains(name)) }
        let package = try #require(Repository.files.first { $0.path == "Package.swift" })
        let loose = package.lines.filter { $0.contains(".package(url:") && !$0.contains("exact:") }
        #expect(loose.isEmpty, "pin exactly: \(loose)")
    }

    @Test("no file is larger than a mebibyte")
    func filesAreSmall() {
        let large = Repository.files.filter { $0.size > RepositoryTests.fileBytesMax }.map(\.path)
        #expect(large.isEmpty, "make it with a tool, or test with less: \(large)")
    }
}

/// What people read.
@Suite("documents")
struct DocumentTests {
    static let documents = Repository.files.filter { $0.path.hasSuffix(".md") }

    /// The lines outside of code blocks, with their numbers from 1.
    private func prose(_ file: RepositoryFile) -> [(number: Int, text: String)] {
        var isCode = false
        var prose: [(number: Int, text: String)] = []
        for (index, line) in file.lines.enumerated() {
            if line.drop(while: { $0 == " " }).hasPrefix("```") {
                isCode.toggle()
            } else if !isCode {
                prose.append((index + 1, line))
            }
        }
        return prose
    }

    @Test("a document has exactly one title")
    func oneTitle() {
        let wrong = DocumentTests.documents.compactMap { file -> String? in
            let count = prose(file).count { $0.text.hasPrefix("# ") }
            return count == 1 ? nil : "\(file.path): \(count) titles"
        }
        #expect(wrong.isEmpty, "\(wrong)")
    }

    @Test("a document's links lead somewhere")
    func linksResolve() {
        var dead: [String] = []
        for file in DocumentTests.documents {
            for line in prose(file) {
                for target in links(in: line.text) where !resolves(target, from: file) {
                    dead.append("\(file.path):\(line.number): \(target)")
                }
            }
        }
        #expect(dead.isEmpty, "\(dead)")
    }

    /// Targets of `[text](target)` and of `<doc:Page>`.
    private func links(in line: String) -> [String] {
        let plain = /\]\(([^)\s]+)\)/
        let page = /<(doc:[^>]+)>/
        return line.matches(of: plain).map { String($0.output.1) }
            + line.matches(of: page).map { String($0.output.1) }
    }

    private func resolves(_ target: String, from file: RepositoryFile) -> Bool {
        let folder = file.url.deletingLastPathComponent()
        let path = String(target.prefix { $0 != "#" })
        if path.hasPrefix("doc:") {
            return FileManager.default.fileExists(
                atPath: folder.appendingPathComponent(path.dropFirst(4) + ".md").path)
        }
        if path.isEmpty || path.hasPrefix("https://") || path.hasPrefix("http://") { return true }
        guard !path.hasPrefix("/") else { return false }
        return FileManager.default.fileExists(atPath: folder.appendingPathComponent(path).path)
    }
}
