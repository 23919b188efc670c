import Base
import Glibc
import Testing
import Transport

/// A new folder that is removed afterwards.
private func withFolder(_ body: (String) throws -> Void) throws {
    var template = Array("/tmp/shoalt-XXXXXX".utf8CString)
    let folder = try #require(mkdtemp(&template).map { String(cString: $0) })
    defer {
        if let entries = opendir(folder) {
            while let entry = readdir(entries) {
                let name = withUnsafeBytes(of: entry.pointee.d_name) {
                    String(decoding: $0.prefix { $0 != 0 }, as: UTF8.self)
                }
                unlink("\(folder)/\(name)")
            }
            closedir(entries)
        }
        rmdir(folder)
    }
    try body(folder)
}

private func mode(_ path: String) -> mode_t? {
    var status = stat()
    return lstat(path, &status) == 0 ? status.st_mode & 0o7777 : nil
}

private func write(_ text: String, to path: String, mode: mode_t) {
    unlink(path)
    let descriptor = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, mode)
    _ = Glibc.write(descriptor, text, text.utf8.count)
    close(descriptor)
    chmod(path, mode)
}

struct SecretTests {
    @Test("a join token carries the secret, whatever its case and spacing")
    func tokenRoundTrip() throws {
        let secret = ClusterSecret.generate()
        let token = secret.joinToken
        #expect(token.hasPrefix("shoal1-"))
        #expect(try ClusterSecret(joinToken: token) == secret)
        #expect(try ClusterSecret(joinToken: "  \(token.uppercased())\n") == secret)
        #expect(secret != ClusterSecret.generate())
        #expect(!"\(secret)".contains(token.suffix(20)))
    }

    @Test("any single wrong character is noticed")
    func tokenTypos() throws {
        let token = Array(ClusterSecret.generate().joinToken.utf8)
        for index in 7..<token.count {
            var typo = token
            typo[index] = typo[index] == UInt8(ascii: "a") ? UInt8(ascii: "b") : UInt8(ascii: "a")
            let error = #expect(throws: JoinTokenError.self) {
                try ClusterSecret(joinToken: String(decoding: typo, as: UTF8.self))
            }
            #expect(error?.description.contains("checksum") == true, "character \(index)")
        }
    }

    @Test(
        "what is no token is refused with a sentence",
        arguments: [
            ("", "no join token"), ("hello", "no join token"), ("shoal2-abc", "no join token"),
            ("shoal1-", "too short"), ("shoal1-abc", "too short"), ("shoal1-ab0d", "character"),
            ("shoal1-é", "character"),
            ("shoal1-" + String(repeating: "a", count: 5_000), "too short"),
        ])
    func tokenRefusals(text: String, problem: String) {
        let error = #expect(throws: JoinTokenError.self) { try ClusterSecret(joinToken: text) }
        #expect(error?.description.contains(problem) == true)
    }

    @Test("the key file is made once, with mode 0600, and read again")
    func keyFile() throws {
        try withFolder { folder in
            let made = try HostKeyPair.loadOrCreate(folder: folder)
            #expect(mode("\(folder)/host.key") == 0o600)
            #expect(try HostKeyPair.loadOrCreate(folder: folder).hostID == made.hostID)
            #expect(HostKeyPair.generate().hostID != made.hostID)
        }
    }

    @Test("a key file that is damaged or open to others is refused and kept")
    func badKeyFile() throws {
        try withFolder { folder in
            let path = "\(folder)/host.key"
            for text in ["", "rubbish", "shoal-host-key-1 abc\n", "shoal-host-key-1 00\n"] {
                write(text, to: path, mode: 0o600)
                let error = #expect(throws: SecretFileError.self) {
                    try HostKeyPair.loadOrCreate(folder: folder)
                }
                #expect(error?.description.contains(path) == true)
            }
            unlink(path)
            _ = try HostKeyPair.loadOrCreate(folder: folder)
            chmod(path, 0o640)
            let error = #expect(throws: SecretFileError.self) {
                try HostKeyPair.loadOrCreate(folder: folder)
            }
            #expect(error?.description.contains("chmod 600") == true)
        }
        #expect(throws: SecretFileError.self) {
            try HostKeyPair.loadOrCreate(folder: "/nonexistent/shoalt")
        }
    }

    @Test("the cluster's secret is kept with mode 0600")
    func secretFile() throws {
        try withFolder { folder in
            #expect(try ClusterSecret.load(folder: folder) == nil)
            let secret = ClusterSecret.generate()
            try secret.save(folder: folder)
            #expect(mode("\(folder)/cluster.token") == 0o600)
            #expect(try ClusterSecret.load(folder: folder) == secret)
        }
    }
}
