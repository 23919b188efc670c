import Foundation
import Glibc
import Testing

@testable import Agent

/// Small files that are there whole or not at all.
@Suite("durable files")
struct DurableFileTests {
    @Test("what was written is there, private, and nothing beside it")
    func write() throws {
        let folder = try TemporaryFolder()
        let path = "\(folder.path)/secret"
        for text in ["one", "", String(repeating: "x", count: 300_000)] {
            try DurableFile.write(Array(text.utf8), to: path)
            #expect(bytes(of: path) == Array(text.utf8))
            #expect(folder.names == ["secret"])
        }
        let mode = try FileManager.default.attributesOfItem(atPath: path)[.posixPermissions]
        #expect(mode as? Int == 0o600)
    }

    @Test("what a crash left half-written is neither read nor in the way")
    func leftover() throws {
        let folder = try TemporaryFolder()
        let path = "\(folder.path)/epoch"
        try DurableFile.write(Array("17\n".utf8), to: path)
        // As a power cut leaves it: the beginning of the next write, beside the file.
        try Data("18".utf8).write(to: URL(fileURLWithPath: path + ".new"))
        #expect(bytes(of: path) == Array("17\n".utf8))
        try DurableFile.write(Array("19\n".utf8), to: path)
        #expect(bytes(of: path) == Array("19\n".utf8))
        #expect(folder.names == ["epoch"])
    }

    @Test("a reader sees one write's bytes or another's, never a mixture or a part")
    func readers() async throws {
        let folder = try TemporaryFolder()
        let path = "\(folder.path)/record"
        // Lengths that differ, so that a part of one would show.
        let versions = (1...40).map { [UInt8](repeating: UInt8($0), count: 20_000 + $0 * 997) }
        try DurableFile.write(versions[0], to: path)
        await withTaskGroup(of: Void.self) { group in
            for _ in 0..<2 {
                group.addTask {
                    var seen: [UInt8]?
                    repeat {
                        // Two readers may have all the threads there are.
                        await Task.yield()
                        seen = bytes(of: path)
                        #expect(seen.map(versions.contains) == true, "\(seen?.count ?? -1) bytes")
                    } while seen != versions.last && seen.map(versions.contains) == true
                }
            }
            group.addTask {
                #expect(throws: Never.self) {
                    for version in versions { try DurableFile.write(version, to: path) }
                }
            }
        }
        #expect(bytes(of: path) == versions.last)
    }

    @Test("a full disk leaves the file as it was", .enabled(if: getuid() == 0))
    func fullDisk() throws {
        let folder = try TemporaryFolder()
        let place = "\(folder.path)/small"
        try FileManager.default.createDirectory(
            atPath: place, withIntermediateDirectories: false)
        guard mount("none", place, "tmpfs", 0, "size=64k") == 0 else {
            throw Trouble("mount: errno \(errno)")
        }
        defer { umount(place) }
        let path = "\(place)/record"
        try DurableFile.write(Array("whole".utf8), to: path)
        #expect {
            try DurableFile.write([UInt8](repeating: 1, count: 1 << 20), to: path)
        } throws: { error in
            "\(error)".contains(path) && "\(error)".contains("free space on its disk")
        }
        #expect(bytes(of: path) == Array("whole".utf8))
        #expect(try FileManager.default.contentsOfDirectory(atPath: place) == ["record"])
        // The room of the failed write is free again.
        try DurableFile.write([UInt8](repeating: 2, count: 32 << 10), to: path)
        #expect(bytes(of: path)?.count == 32 << 10)
    }

    @Test("a place that cannot be written is named")
    func refusals() throws {
        let folder = try TemporaryFolder()
        let missing = "\(folder.path)/none/record"
        #expect {
            try DurableFile.write([1], to: missing)
        } throws: {
            "\($0)".contains(missing) && "\($0)".contains("No such file")
        }
        let taken = "\(folder.path)/taken"
        try FileManager.default.createDirectory(
            atPath: "\(taken)/inside", withIntermediateDirectories: true)
        #expect(throws: AgentError.self) { try DurableFile.write([1], to: taken) }
        #expect(folder.names == ["taken"])
    }
}
