import Foundation
import Glibc

/// A folder of one test's own, taken away with everything in it.
struct TemporaryFolder: ~Copyable {
    /// Its path.
    let path: String

    init() throws {
        var template = Array("/tmp/shoalt-XXXXXX".utf8CString)
        guard mkdtemp(&template) != nil else { throw Trouble("mkdtemp: errno \(errno)") }
        path = String(decoding: template.dropLast().map(UInt8.init(bitPattern:)), as: UTF8.self)
    }

    deinit { try? FileManager.default.removeItem(atPath: path) }

    /// What lies in it, sorted.
    var names: [String] {
        ((try? FileManager.default.contentsOfDirectory(atPath: path)) ?? []).sorted()
    }
}

/// Why a test could not be set up.
struct Trouble: Error {
    let what: String

    init(_ what: String) { self.what = what }
}

/// A file's bytes; nil when there is none.
func bytes(of path: String) -> [UInt8]? {
    FileManager.default.contents(atPath: path).map { Array($0) }
}
