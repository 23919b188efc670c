import Base
import ClusterModel
import ClusterState
import Foundation
import Testing
import VolumePlan
import VolumeStore

@testable import Agent
@testable import BackupStore

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
    }

    private static func backup(
        _ digit: String, at time: Int64 = 1, digest: String = "", isDamaged: Bool = false
    ) -> BackupRecord {
        BackupRecord(
            id: String(repeating: digit, count: 64), time: WallTime(milliseconds: time),
            sizeBytes: 1, digest: digest, isDamaged: isDamaged)
    }

    /// A volume's backups at peers, by host.
    private static func record(_ copies: (UInt64, [BackupRecord])...) -> VolumeBackups {
        VolumeBackups(
            slot: SlotID(service: "db", ordinal: 0), name: "data", owner: LogIndex(1),
            volumeClass: .loop, sizeBytes: 1,
            copies: copies.map {
                BackupCopy(target: "peers", host: HostID(testing: $0.0), backups: $0.1)
            })
    }

    private static func place(_ host: UInt64) -> BackupPlace {
        BackupPlace(target: "peers", host: HostID(testing: host))
    }

    @Test("a copy goes only when as many others as are wanted have the newest backup")
    func covered() {
        let (old, new) = (Self.backup("a", at: 1_000), Self.backup("b", at: 9_000))
        func mayGo(_ record: VolumeBackups, _ wanted: [UInt64], _ count: Int) -> Bool {
            record.isCovered(without: Self.place(1), by: wanted.map(Self.place), count: count)
        }
        #expect(mayGo(Self.record((1, [old]), (2, [old, new]), (3, [new])), [2, 3], 2))
        #expect(
            !mayGo(Self.record((1, [old]), (2, [new])), [2], 2), "one copy of two is too few")
        #expect(!mayGo(Self.record((1, [old]), (2, [new])), [2, 3], 2), "the other has none yet")
        #expect(!mayGo(Self.record((1, [old]), (2, [new]), (3, [old])), [2, 3], 2), "it is older")
        #expect(!mayGo(Self.record((1, [new]), (2, [old]), (3, [old])), [2, 3], 2))
        let damaged = Self.backup("c", at: 9_000, isDamaged: true)
        #expect(!mayGo(Self.record((1, [old]), (2, [new]), (3, [damaged])), [2, 3], 2))
        #expect(!mayGo(Self.record((1, [old])), [], 0))
    }

    @Test("only what a host says of itself is held against it")
    func blame() throws {
        let name = try #require(VolumeName("db.0/data"))
        func blame(_ error: any Error) -> BackupBlame { BackupBlame(error) }
        // What an empty volume, an odd file or a full disk of this host made restic say.
        #expect(blame(BackupError.failed(attempt: "a", cause: "snapshot is empty")) == .nobody)
        #expect(blame(BackupError.notKeepable(path: "a", cause: "b")) == .nobody)
        #expect(blame(BackupError.sourceUnreadable(cause: "b")) == .nobody)
        #expect(blame(VolumeError.notFound(name)) == .nobody)
        #expect(blame(BackupPeerError(BackupPeerError.holderOnly(name))) == .nobody)
        #expect(blame(BackupPeerError("the answer broke off")) == .repository)
        #expect(blame(BackupError.damaged(target: "a", cause: "b")) == .repository)
        #expect(blame(BackupPeerError(BackupPeerError.keepsNone)) == .host)
        #expect(blame(BackupError.targetFull(target: "a")) == .host)
    }

    @Test("backups of an earlier service of the name are told from a volume's own")
    func owners() {
        let snapshots = [1, 2, 12].map { owner in
            BackupSnapshot(
                id: String(repeating: "a", count: 63) + "\(owner % 10)", time: 1, bytes: 1,
                files: 1,
                tags: BackupTags(owner: LogIndex(owner), takenAt: 1, isPointInTime: true).texts)
        }
        #expect(BackupTags.own(snapshots, of: LogIndex(2)) == [snapshots[1]])
    }

    @Test("a damaged repository stays so with new backups, until it is begun anew")
    func staysDamaged() throws {
        var record = Self.record((1, [Self.backup("a", isDamaged: true)]))
        func take(_ ids: String...) throws -> Bool {
            record.take(
                BackupCopy(
                    target: "peers", host: HostID(testing: 1),
                    backups: ids.map { Self.backup($0) }))
            return try #require(record.copy(at: Self.place(1))).isDamaged
        }
        #expect(try take("a", "b"))
        #expect(try take("b", "c"), "also when the one that was tried is forgotten")
        #expect(try !take("d"))
    }

    @Test("a drill tries what was damaged again, and then the newest of the others")
    func drillTargets() {
        let record = Self.record(
            (1, [Self.backup("a", at: 9_000)]),
            (2, [Self.backup("b", at: 5_000, isDamaged: true)]),
            (3, [Self.backup("c", at: 7_000), Self.backup("d", at: 9_500)]),
            (4, [Self.backup("e", at: 9_900)]))
        let targets = record.drillTargets { $0 != HostID(testing: 4) }
        #expect(targets.map { $0.backup.id.prefix(1) } == ["b", "d", "a"])
        #expect(targets.map(\.isDamaged) == [true, false, false])
        #expect(BackupError.restoredDiffers(snapshot: "a", folder: "b").provesDamage)
        #expect(!BackupError.unreachable(target: "a", cause: "b").provesDamage)
        #expect(!BackupError.folderFull(folder: "b").provesDamage)
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
