import Foundation
import Testing

@testable import BackupStore

/// What a peer that means harm can ask of the server, and does not get.
@Suite("REST server", .serialized)
struct ServerTests {
    /// The SHA-256 of `hello`.
    static let hello = "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824"
    static let base = "/abc/web.0.data"

    @Test("keeps what is named by its content, and gives it back whole and in parts")
    func keeps() async throws {
        let fixture = try await ServerFixture()
        let path = "\(Self.base)/data/\(Self.hello)"
        let body = Array("hello".utf8)
        #expect(try fixture.status("POST", path, body: body) == 404, "no repository yet")
        #expect(try fixture.status("POST", "\(Self.base)/?create=true", body: []) == 200)
        #expect(try fixture.status("HEAD", "\(Self.base)/config") == 404)
        #expect(try fixture.status("POST", "\(Self.base)/config", body: body) == 200)
        #expect(try fixture.status("POST", "\(Self.base)/config", body: [1]) == 403)
        #expect(try fixture.status("POST", path, body: body) == 200)
        #expect(try fixture.status("POST", path, body: body) == 200, "the same again")
        #expect(fixture.server.usedBytes == 10)
        #expect(try fixture.exchange(get(path)).hasSuffix("\r\n\r\nhello"))
        let part = try fixture.exchange(get(path, "Range: bytes=1-3\r\n"))
        #expect(part.hasPrefix("HTTP/1.1 206") && part.hasSuffix("\r\n\r\nell"))
        let rest = try fixture.exchange(get(path, "Range: bytes=3-\r\n"))
        #expect(rest.hasSuffix("\r\n\r\nlo"))
        #expect(try fixture.status("GET", path, headers: "Range: bytes=5-\r\n") == 416)
        let head = try fixture.exchange(
            "HEAD \(path) HTTP/1.1\r\nHost: s\r\nConnection: close\r\n\r\n")
        #expect(head.lowercased().contains("content-length: 5\r\n") && head.hasSuffix("\r\n\r\n"))
        #expect(try fixture.exchange(get("\(Self.base)/data/")).hasSuffix("[\"\(Self.hello)\"]"))
        let listed = try fixture.exchange(
            get("\(Self.base)/data/", "Accept: application/vnd.x.restic.rest.v2\r\n"))
        #expect(listed.hasSuffix(#"[{"name":"\#(Self.hello)","size":5}]"#))
        await fixture.server.stop()
    }

    @Test("content that is not what its name says is refused, and leaves nothing")
    func refusesWrongContent() async throws {
        let fixture = try await ServerFixture()
        #expect(try fixture.status("POST", "\(Self.base)/?create=true", body: []) == 200)
        for kind in ["data", "keys", "locks", "snapshots", "index"] {
            let path = "\(Self.base)/\(kind)/\(Self.hello)"
            #expect(try fixture.status("POST", path, body: Array("hellO".utf8)) == 400)
            #expect(try fixture.status("POST", path, body: []) == 400)
            #expect(try fixture.status("HEAD", path) == 404)
        }
        #expect(fixture.files().isEmpty && fixture.server.usedBytes == 0)
        await fixture.server.stop()
    }

    @Test("paths that lead elsewhere, or to nothing that restic has")
    func refusesPaths() async throws {
        let fixture = try await ServerFixture()
        let outside = "\(fixture.backups.folder)/peers-secret"
        try Data("secret".utf8).write(to: URL(fileURLWithPath: outside))
        #expect(try fixture.status("POST", "\(Self.base)/?create=true", body: []) == 200)
        try #require(
            symlink(outside, "\(fixture.server.settings.folder)\(Self.base)/keys/\(Self.hello)")
                == 0)
        let paths = [
            "/../peers-secret/config", "/abc/../../peers-secret", "/abc/..%2f..%2f/config",
            "/%2e%2e/%2e%2e/config", "//abc/config", "/abc//config", "/abc/web.0.data/config/",
            "/abc/web.0.data/keys", "/abc/web.0.data/other/\(Self.hello)",
            "/abc/web.0.data/data/\(Self.hello)/", "/abc/web.0.data/data/../config",
            "/abc/web.0.data/data/short", "/abc/web.0.data/data/\(Self.hello.uppercased())",
            "/abc/.hidden/config", "/ABC/x/config", "/", "", "/abc", "/abc/web.0.data/data/x/y",
            "/abc/web\u{0}/config", "/abc/" + String(repeating: "a", count: 200) + "/config",
            "\(Self.base)/keys/\(Self.hello)",
        ]
        for path in paths {
            for method in ["GET", "HEAD", "POST", "DELETE"] {
                let status = try fixture.status(
                    method, path, body: method == "POST" ? Array("hello".utf8) : nil)
                // The link itself counts as a file that is there already.
                let isLinkKept = method == "POST" && path.hasSuffix("/keys/\(Self.hello)")
                #expect(
                    isLinkKept || (400..<500).contains(status ?? 400),
                    "\(method) \(path): \(status ?? 0)")
            }
        }
        #expect(try String(contentsOfFile: outside, encoding: .utf8) == "secret")
        for method in ["PUT", "PATCH", "OPTIONS", "CONNECT", "TRACE"] {
            let status = try fixture.status(method, "\(Self.base)/config")
            #expect((400..<500).contains(status ?? 400), "\(method)")
        }
        await fixture.server.stop()
    }

    @Test("too large is refused, said or not, and leaves nothing")
    func refusesLarge() async throws {
        let fixture = try await ServerFixture(fileBytesMax: 1_000)
        #expect(try fixture.status("POST", "\(Self.base)/?create=true", body: []) == 200)
        let path = "\(Self.base)/data/\(Self.hello)"
        let large = [UInt8](repeating: 1, count: 1_001)
        #expect(try fixture.status("POST", path, body: large) == 413)
        let claimed = try fixture.exchange(
            "POST \(path) HTTP/1.1\r\nHost: s\r\nContent-Length: 99999999999999\r\n\r\n")
        #expect(claimed.hasPrefix("HTTP/1.1 413"))
        let chunk = "3e9\r\n" + String(repeating: "a", count: 1_001) + "\r\n0\r\n\r\n"
        let chunked = try fixture.exchange(
            "POST \(path) HTTP/1.1\r\nHost: s\r\nTransfer-Encoding: chunked\r\n\r\n\(chunk)")
        #expect(chunked.hasPrefix("HTTP/1.1 413"))
        #expect(fixture.files().isEmpty && fixture.server.usedBytes == 0)
        await fixture.server.stop()
    }

    @Test(
        "a client that goes in the middle of a file leaves nothing; what a crash left goes at the start"
    )
    func forgetsHalves() async throws {
        let fixture = try await ServerFixture()
        #expect(try fixture.status("POST", "\(Self.base)/?create=true", body: []) == 200)
        let path = "\(Self.base)/data/\(Self.hello)"
        do {
            let connection = try RawConnection(socket: fixture.socket)
            try connection.send(
                Array("POST \(path) HTTP/1.1\r\nHost: s\r\nContent-Length: 5\r\n\r\nhel".utf8))
            for _ in 0..<200 where fixture.files().isEmpty {
                try await Task.sleep(for: .milliseconds(10))
            }
            #expect(fixture.files().count == 1)
        }
        for _ in 0..<500 where !fixture.files().isEmpty || fixture.server.usedBytes > 0 {
            try await Task.sleep(for: .milliseconds(10))
        }
        #expect(fixture.files().isEmpty && fixture.server.usedBytes == 0)
        await fixture.server.stop()
        let left = "\(fixture.server.settings.folder)\(Self.base)/data/unfinished-1"
        try Data("half".utf8).write(to: URL(fileURLWithPath: left))
        let again = try await BackupServer.start(fixture.server.settings)
        #expect(fixture.files().isEmpty && again.usedBytes == 0)
        await again.stop()
    }

    @Test("only locks may be removed, unless pruning is allowed")
    func keepsWhatItHas() async throws {
        let fixture = try await ServerFixture()
        #expect(try fixture.status("POST", "\(Self.base)/?create=true", body: []) == 200)
        for kind in ["data", "locks"] {
            let path = "\(Self.base)/\(kind)/\(Self.hello)"
            #expect(try fixture.status("POST", path, body: Array("hello".utf8)) == 200)
            #expect(try fixture.status("DELETE", path) == (kind == "locks" ? 200 : 403))
        }
        #expect(try fixture.status("DELETE", "\(Self.base)/") == 403)
        fixture.server.allowPruning(of: "abc/web.0.data", for: .seconds(60))
        let path = "\(Self.base)/data/\(Self.hello)"
        #expect(try fixture.status("DELETE", path) == 200)
        #expect(try fixture.status("DELETE", path) == 404)
        fixture.server.endPruning(of: "abc/web.0.data")
        #expect(try fixture.status("DELETE", path) == 403)
        #expect(fixture.server.usedBytes == 0)
        await fixture.server.stop()
    }

    @Test(
        "a full disk is answered with 507, and nothing is half-written",
        .enabled(if: resticObstacle == nil))
    func fullDisk() async throws {
        let disk = try BackupFixture()
        let small = try disk.smallDisk(mebibytes: 1)
        let fixture = try await ServerFixture(folder: "\(small)/peers")
        #expect(try fixture.status("POST", "\(Self.base)/?create=true", body: []) == 200)
        let path = "\(Self.base)/data/\(Self.hello)"
        let large = [UInt8](repeating: 1, count: 4 << 20)
        #expect(try fixture.status("POST", path, body: large) == 507)
        #expect(fixture.files().isEmpty && fixture.server.usedBytes == 0)
        #expect(try fixture.status("POST", path, body: Array("hello".utf8)) == 200)
        await fixture.server.stop()
    }

    @Test("the socket is for its owner alone")
    func socketIsPrivate() async throws {
        let fixture = try await ServerFixture()
        var facts = stat()
        #expect(stat(fixture.socket, &facts) == 0 && facts.st_mode & 0o777 == 0o600)
        await fixture.server.stop()
        #expect(stat(fixture.socket, &facts) != 0)
    }

    @Test(
        "ranges",
        arguments: [
            ("bytes=0-0", 0..<1), ("bytes=2-", 2..<10), ("bytes=8-99", 8..<10),
            ("bytes=-3", 7..<10), ("bytes=-30", 0..<10), ("bytes=10-", nil), ("bytes=5-4", nil),
            ("bytes=-0", nil), ("bytes=a-b", nil), ("bytes=", nil), ("bytes=1-2,4-5", nil),
            ("bytes=--1", nil), ("bytes=0-99999999999999999999", nil), ("lines=0-1", nil),
        ] as [(String, Range<Int>?)])
    func readsRanges(_ text: String, _ range: Range<Int>?) {
        #expect(ByteRange.parse(text, size: 10) == range)
    }

    @Test("the head of a request: one login, wherever the pieces were cut")
    func readsHeads() {
        let head = Array("GET / HTTP/1.1\r\nauthorization:  Basic abc\r\nHost: x\r\n\r\nbody".utf8)
        #expect(RequestHead.end(of: head) == head.count - 4)
        #expect(RequestHead.login(in: head) == Array("Basic abc".utf8))
        for count in 0..<(head.count - 4) {
            #expect(RequestHead.end(of: Array(head.prefix(count))) == nil)
        }
        let twice = Array("GET / HTTP/1.1\r\nAuthorization: a\r\nAuthorization: b\r\n\r\n".utf8)
        #expect(RequestHead.login(in: twice) == nil)
        let late = Array("GET / HTTP/1.1\r\n\r\nAuthorization: a\r\n\r\n".utf8)
        #expect(RequestHead.login(in: late) == nil)
    }

    private func get(_ path: String, _ headers: String = "") -> String {
        "GET \(path) HTTP/1.1\r\nHost: s\r\nConnection: close\r\n\(headers)\r\n"
    }
}
