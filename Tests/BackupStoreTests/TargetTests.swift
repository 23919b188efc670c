import Testing
import VolumePlan

@testable import BackupStore

/// Where backups go, and what nobody may see of it.
@Suite("backup targets")
struct TargetTests {
    static let secret = "s3cret/+ word@:"

    static let s3 = BackupTarget.s3(
        S3Place(
            url: "https://s3.example.org/bucket/a/", accessKey: "AKIDTEST", secretKey: secret,
            region: "eu-1"))
    static let rest = BackupTarget.rest(
        RestPlace(url: "https://backup.example.org:8000/x", user: "u:ser", password: secret))

    private func repository(_ target: BackupTarget) throws -> BackupRepository {
        try BackupRepository(
            target: target, cluster: "0138ad58", volume: try #require(VolumeName("web.3/data")),
            password: "correct horse battery")
    }

    @Test("one repository for each volume of each cluster")
    func namesRepositories() throws {
        #expect(
            try repository(.directory(path: "/backup")).location
                == "/backup/0138ad58/web.3.data")
        #expect(
            try repository(TargetTests.s3).location
                == "s3:https://s3.example.org/bucket/a/0138ad58/web.3.data")
        #expect(
            try repository(TargetTests.rest).location
                == "rest:https://u%3aser:s3cret%2f%2b%20word%40%3a@backup.example.org:8000/x/"
                + "0138ad58/web.3.data/")
    }

    @Test("secrets are in the environment alone, and cut out of what restic says")
    func hidesSecrets() throws {
        for target in [TargetTests.s3, TargetTests.rest] {
            let repository = try repository(target)
            #expect(repository.environment.contains { $0.contains("correct horse battery") })
            for shown in [repository.display, repository.options.joined()] {
                #expect(!shown.contains("cret") && !shown.contains("horse"))
            }
            let said = "denied for \(repository.location): \(repository.environment)"
            let redacted = repository.redact(said)
            #expect(!redacted.contains(TargetTests.secret) && !redacted.contains("horse"))
            #expect(!redacted.contains("s3cret%2f"), "\(redacted)")
        }
        #expect(
            try repository(TargetTests.s3).environment.contains(
                "AWS_SECRET_ACCESS_KEY=\(Self.secret)"))
    }

    @Test("what can never be right is refused")
    func refuses() throws {
        let wrong: [BackupTarget] = [
            .directory(path: "backup"), .directory(path: "/a/../b"), .directory(path: "/a\nb"),
            .s3(S3Place(url: "https://s3.example.org/", accessKey: "a", secretKey: "b")),
            .s3(S3Place(url: "https://s3.example.org/b", accessKey: "", secretKey: "b")),
            .s3(S3Place(url: "https://s3.example.org/b", accessKey: "a\n", secretKey: "b")),
            .rest(RestPlace(url: "ftp://a/")), .rest(RestPlace(url: "http://")),
            .rest(RestPlace(url: "http://u:p@host/")), .rest(RestPlace(url: "http://host/?a")),
            .rest(RestPlace(url: "http://host/", password: "alone")),
            .rest(RestPlace(url: "http://host/ a")),
        ]
        for target in wrong {
            #expect(throws: BackupError.self, "\(target)") { try repository(target) }
        }
        let volume = try #require(VolumeName("web.3/data"))
        let target = BackupTarget.directory(path: "/backup")
        for cluster in ["", "..", "a/b", "A"] {
            #expect(throws: BackupError.self, "\(cluster)") {
                try BackupRepository(
                    target: target, cluster: cluster, volume: volume,
                    password: "correct horse battery")
            }
        }
        #expect(throws: BackupError.self) {
            try BackupRepository(
                target: target, cluster: "a", volume: volume, password: "short")
        }
    }

    @Test("the words of restic that decide what went wrong")
    func understands() throws {
        let repository = try repository(.directory(path: "/backup"))
        func error(_ lines: String...) -> String {
            guard let error = ResticComplaint.error(lines, repository) else { return "nothing" }
            return String("\(Mirror(reflecting: error).children.first?.label ?? "\(error)")")
        }
        #expect(error("Fatal: wrong password or no key found") == "wrongPassword")
        #expect(
            error("Fatal: unable to save snapshot: write /b/data/3e: no space left on device")
                == "targetFull")
        #expect(
            error(
                "Save(<data/1>) returned error, retrying after 5s: unexpected HTTP response (507)")
                == "targetFull")
        #expect(
            error(
                "Fatal: unable to open config file: stat /b/config: no such file or directory",
                "Is there a repository at the following location?") == "noRepository")
        #expect(
            error(
                "Fatal: unable to open config file: dial tcp 127.0.0.1:1: connect: connection refused",
                "Is there a repository at the following location?") == "unreachable")
        #expect(error("ciphertext verification failed") == "damaged")
        #expect(error("Fatal: Access Denied.") == "accessDenied")
        // S3 tells of keys in sentences that speak of other things elsewhere.
        for refusal in [
            "Stat: Access Denied.",
            "Stat: The AWS Access Key Id you provided does not exist in our records.",
            "Stat: The request signature we calculated does not match the signature you provided.",
        ] {
            #expect(
                error(
                    "Fatal: unable to open config file: \(refusal)",
                    "Is there a repository at the following location?") == "accessDenied",
                "\(refusal)")
        }
        #expect(
            error(
                "Fatal: unable to open config file: Stat: The specified key does not exist.",
                "Is there a repository at the following location?") == "noRepository")
        #expect(error("something else") == "nothing")
    }
}
