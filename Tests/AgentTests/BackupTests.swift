import BackupStore
import Base
import ClusterModel
import ClusterState
import Foundation
import Testing
import VolumePlan

@testable import Agent

/// Keys of backup servers, what a backup says of itself, and where one is restored from.
@Suite("Backups on a host")
struct BackupTests {
    private static let file = """
        - for: s3:https://s3.example.org/bucket
          access-key: AK
          secret-key: SK
          region: eu-1
        - for: s3:https://s3.example.org/bucket/special
          access-key: AK2
          secret-key: SK2
        - for: rest:https://backup.example.org/
          user: shoal
          password: secret
          certificate: /etc/shoal/ca.pem
        """

    /// Writes the file, runs the body, and takes it away.
    private func with(
        _ text: String, mode: Int = 0o600, _ body: (BackupCredentials) throws -> Void
    ) throws {
        let folder = try TemporaryFolder()
        let path = "\(folder.path)/keys"
        try Data(text.utf8).write(to: URL(fileURLWithPath: path))
        try FileManager.default.setAttributes(
            [.posixPermissions: mode], ofItemAtPath: path)
        try body(BackupCredentials(path: path))
    }

    @Test("the longest entry that a location begins with gives its keys")
    func keys() throws {
        try with(Self.file) { (credentials: BackupCredentials) throws in
            #expect(
                try credentials.target("s3:https://s3.example.org/bucket/a")
                    == .s3(
                        S3Place(
                            url: "https://s3.example.org/bucket/a", accessKey: "AK",
                            secretKey: "SK", region: "eu-1")))
            #expect(
                try credentials.target("s3:https://s3.example.org/bucket/special/a")
                    == .s3(
                        S3Place(
                            url: "https://s3.example.org/bucket/special/a", accessKey: "AK2",
                            secretKey: "SK2")))
            #expect(
                try credentials.target("rest:https://backup.example.org/x")
                    == .rest(
                        RestPlace(
                            url: "https://backup.example.org/x", user: "shoal",
                            password: "secret", certificateFile: "/etc/shoal/ca.pem")))
            #expect(
                try credentials.target("rest:http://other/")
                    == .rest(RestPlace(url: "http://other/")))
            #expect(throws: AgentError.self) { try credentials.target("s3:https://other/b") }
        }
        #expect(throws: AgentError.self) {
            try BackupCredentials(path: nil).target("s3:https://other/b")
        }
    }

    @Test(
        "a file of keys that others may read, or that is no list of entries, is refused",
        arguments: [
            ("for: a", 0o600), ("- a", 0o600), ("- {access-key: a}", 0o600),
            ("- {for: a, secret: b}", 0o600), ("- {for: [", 0o600), (file, 0o640), (file, 0o604),
        ])
    func badKeys(_ text: String, mode: Int) throws {
        try with(text, mode: mode) { (credentials: BackupCredentials) throws in
            let error = #expect(throws: AgentError.self) { try credentials.entries() }
            #expect(error?.description.hasPrefix("backup-credentials: ") == true)
            #expect(error?.description.contains("SK") != true, "a secret is in the message")
        }
    }

    @Test("what a backup says of itself is read back; what others wrote says nothing")
    func tags() {
        let tags = BackupTags(owner: LogIndex(7), takenAt: 1_764_000_000, isPointInTime: false)
        #expect(BackupTags(tags.texts) == tags)
        let other = BackupTags(["owner=x", "taken=-1", "=", "a", "owner=", "livel"])
        #expect(other.owner == .zero && other.takenAt == nil && other.isPointInTime)
    }

    @Test("a backup is had from its own place first, then from others of the same content")
    func sources() throws {
        func backup(_ digit: String, _ digest: String, at time: Int64 = 1) -> BackupRecord {
            BackupRecord(
                id: String(repeating: digit, count: 64), time: WallTime(milliseconds: time),
                sizeBytes: 1, digest: digest)
        }
        let (one, two) = (HostID(testing: 1), HostID(testing: 2))
        let record = VolumeBackups(
            slot: SlotID(service: "db", ordinal: 0), name: "data", owner: LogIndex(1),
            volumeClass: .loop, sizeBytes: 1,
            copies: [
                BackupCopy(target: "/b", backups: [backup("a", "x"), backup("b", "y")]),
                BackupCopy(target: "peers", host: one, backups: [backup("c", "x")]),
                BackupCopy(target: "peers", host: two, backups: [backup("d", "x", at: 9_000)]),
            ])
        let wanted = backup("c", "x")
        func ids(_ reachable: [HostID]) -> String {
            record.sources(of: wanted) { reachable.contains($0) }.map {
                String($0.backup.id.prefix(1))
            }
            .joined()
        }
        #expect(ids([one, two]) == "cad")
        #expect(ids([two]) == "ad")
        #expect(record.newest { $0 == one }?.backup.id.prefix(1) != "d")
        #expect(record.isCovered(without: BackupPlace(target: "peers", host: one)))
        #expect(!record.isCovered(without: BackupPlace(target: "peers", host: two)))
    }

    @Test("names of work are no service's, and are known again")
    func workNames() throws {
        let name = try #require(VolumeName("web.3/data"))
        for work in [VolumeKeeper.Work.backup, .restore, .drill] {
            let made = try VolumeKeeper.workName(work, for: name)
            #expect(VolumeKeeper.isWork(made) && VolumeName(made.description) == made)
        }
        #expect(!VolumeKeeper.isWork(name))
        #expect(try VolumeKeeper.isWork(#require(VolumeName("web.3/data@shoal-backup"))))
        #expect(try !VolumeKeeper.isWork(#require(VolumeName("web.3/data@monday"))))
    }
}
