import Base
import ClusterModel
import Testing
import Wire

@testable import ClusterState
@testable import Scheduling

/// What the log knows of backups, and slots whose volumes are restored elsewhere.
@Suite("Backups of volumes")
struct BackupTests {
    private static let db0 = SlotID(service: "db", ordinal: 0)

    private static func database(
        sets: Int = 1, restoreOnLoss: Int? = nil, change: (inout ServiceSpec) -> Void = { _ in }
    ) -> ServiceSpec {
        Cluster.web("db", sets: sets) {
            $0.volumes = [
                VolumeSpec(
                    name: "data", sizeBytes: 64 << 20, mount: "/data",
                    backup: BackupSpec(
                        everySeconds: 3_600, to: "/mnt/backup",
                        restoreOnLossSeconds: restoreOnLoss))
            ]
            change(&$0)
        }
    }

    private static func backup(_ digit: String, at time: Int64) -> BackupRecord {
        BackupRecord(
            id: String(repeating: digit, count: 64), time: WallTime(milliseconds: time),
            sizeBytes: 1 << 20, digest: String(repeating: "d", count: 64))
    }

    /// A running database with one backup, of which the log knows.
    private func backedUp(restoreOnLoss: Int? = nil, sets: Int = 1) throws -> (Cluster, HostRecord)
    {
        var cluster = Cluster.three()
        cluster.apply(.applyService(Self.database(sets: sets, restoreOnLoss: restoreOnLoss)))
        cluster.settle()
        cluster.reportAll()
        let service = try #require(cluster.state.service("db"))
        for slot in service.slots {
            let holder = try #require(slot.volumeHost)
            let known = VolumeBackups(
                slot: slot.slot, name: "data", owner: service.createdAt, volumeClass: .loop,
                sizeBytes: 64 << 20,
                copies: [
                    BackupCopy(target: "/mnt/backup", backups: [Self.backup("a", at: 1_000)])
                ])
            #expect(cluster.apply(.reportBackups(host: holder, known)).kinds == [.volumeBackedUp])
        }
        let host = try #require(cluster.state.slot(Self.db0)?.volumeHost)
        return (cluster, try #require(cluster.state.host(host)))
    }

    private func order(_ cluster: Cluster, to host: HostID, backup: String = "aaaa") -> Command {
        .restoreVolumes(
            Self.db0,
            VolumeRestoration(host: host, sources: [.init(volume: "data", backup: backup)]),
            replaces: false)
    }

    @Test("a slot that restore-on-loss brings back says so, and when")
    func comesBackByItself() throws {
        var (cluster, old) = try backedUp(restoreOnLoss: 90)
        cluster.apply(.declareHostLost(old.id, old.bootEpoch, reason: "silent"))
        cluster.usable.removeAll { $0 == old.id }
        cluster.settle()
        let reason = try #require(cluster.state.slot(Self.db0)?.pendingReason)
        #expect(
            reason.hasSuffix(
                "it is lost; restore-on-loss brings it back on another host by itself once that is "
                    + "lost for 90s, from its backup of 1970-01-01T00:00:01.000Z (`shoal volume "
                    + "restore db.0/data` does so at once)"), "\(reason)")
        cluster.apply(.forgetHost(old.id))
        cluster.settle()
        let forgotten = try #require(cluster.state.slot(Self.db0)?.pendingReason)
        #expect(forgotten.hasSuffix("brings it back on another host"), "\(forgotten)")
    }

    @Test("a lost host's slot is given to another, which restores before the set runs there")
    func restoredElsewhere() throws {
        var (cluster, old) = try backedUp()
        let other = try #require(cluster.usable.first { $0 != old.id })
        #expect(
            cluster.apply(order(cluster, to: other)).refusal == .invalid,
            "not while the host with the volume is alive")
        cluster.apply(.declareHostLost(old.id, old.bootEpoch, reason: "silent"))
        cluster.usable.removeAll { $0 == old.id }
        cluster.settle()
        #expect(
            cluster.state.slot(Self.db0)?.pendingReason.hasSuffix(
                "its newest backup is of 1970-01-01T00:00:01.000Z: `shoal volume restore db.0/data` "
                    + "brings it back on another host") == true)

        let outcome = cluster.apply(order(cluster, to: other))
        #expect(outcome.kinds == [.volumeRestoring])
        let waiting = try #require(cluster.state.slot(Self.db0))
        #expect(waiting.placement == nil && waiting.volumeHost == other)
        let index = try #require(waiting.restoration?.index)
        cluster.settle()
        #expect(cluster.state.slot(Self.db0)?.placement == nil, "not placed before it is restored")
        #expect(
            cluster.apply(
                .reportRestoration(Self.db0, index: index, host: old.id, problem: "")
            ).refusal == .invalid, "only the host that restores may say so")
        cluster.apply(
            .reportRestoration(Self.db0, index: index, host: other, problem: "no answer"))
        #expect(cluster.state.slot(Self.db0)?.pendingReason.hasSuffix(": no answer") == true)
        #expect(try ReplicatedState(decoding: cluster.state.encoded) == cluster.state)

        cluster.apply(.reportRestoration(Self.db0, index: index, host: other, problem: ""))
        cluster.settle()
        #expect(cluster.state.slot(Self.db0)?.placement?.host == other)
        #expect(cluster.state.slot(Self.db0)?.restoration == nil)

        // The old host is back, with its set and its volume.
        cluster.apply(.declareHostReturned(old.id, old.bootEpoch))
        let owner = try #require(cluster.state.service("db")?.createdAt)
        let stale = VolumeReport(
            slot: Self.db0, name: "data", id: "00000000000000aa", volumeClass: .loop,
            sizeBytes: 64 << 20, owner: owner)
        guard case .stop = cluster.state.verdict(on: stale, host: old.id) else {
            Issue.record("the old copy must go into the trash")
            return
        }
        guard
            case .stop = cluster.state.verdict(
                on: Self.db0, placementIndex: owner.next, host: old.id)
        else {
            Issue.record("the old set must end")
            return
        }
    }

    @Test("restore-on-loss decides after its time, on a host that fits, and only with a backup")
    func byItself() throws {
        var (cluster, old) = try backedUp(restoreOnLoss: 60)
        cluster.apply(.declareHostLost(old.id, old.bootEpoch, reason: "silent"))
        cluster.usable.removeAll { $0 == old.id }
        cluster.settle()
        func due(after seconds: Int) -> [(slot: SlotID, restoration: VolumeRestoration)] {
            Scheduler().restorations(cluster.state, usable: cluster.usable) {
                $0 == old.id ? .seconds(seconds) : nil
            }
        }
        #expect(due(after: 59).isEmpty)
        let decided = due(after: 60)
        #expect(decided.map(\.slot) == [Self.db0])
        let host = try #require(decided.first?.restoration.host)
        #expect(cluster.usable.contains(host))
        let restoration = try #require(decided.first?.restoration)
        cluster.apply(.restoreVolumes(Self.db0, restoration, replaces: false))
        #expect(due(after: 60).isEmpty, "once")

        // That one is lost, too: the third takes over.
        let second = try #require(cluster.state.host(host))
        cluster.apply(.declareHostLost(second.id, second.bootEpoch, reason: "silent"))
        cluster.usable.removeAll { $0 == second.id }
        cluster.settle()
        #expect(
            cluster.state.slot(Self.db0)?.pendingReason.contains("that host is lost, too") == true)
        let again = Scheduler().restorations(cluster.state, usable: cluster.usable) {
            cluster.state.host($0)?.status == .lost ? .seconds(60) : nil
        }
        #expect(again.map(\.restoration.host) == cluster.usable)

        var (other, gone) = try backedUp(restoreOnLoss: nil)
        other.apply(.declareHostLost(gone.id, gone.bootEpoch, reason: "silent"))
        #expect(
            Scheduler().restorations(other.state, usable: other.usable) { _ in .seconds(1_000) }
                .isEmpty, "without the key an operator decides")
    }

    @Test("slots that are being restored count at their hosts, so that all find room")
    func roomForAll() throws {
        var cluster = Cluster.three(memory: 200 << 20)
        cluster.apply(.applyService(Self.database(sets: 6, restoreOnLoss: 0)))
        cluster.settle()
        let service = try #require(cluster.state.service("db"))
        for slot in service.slots {
            let holder = try #require(slot.volumeHost)
            cluster.apply(
                .reportBackups(
                    host: holder,
                    VolumeBackups(
                        slot: slot.slot, name: "data", owner: service.createdAt,
                        volumeClass: .loop, sizeBytes: 1 << 20,
                        copies: [BackupCopy(target: "/b", backups: [Self.backup("a", at: 1)])])))
        }
        let old = cluster.state.hosts[0]
        cluster.apply(.declareHostLost(old.id, old.bootEpoch, reason: "silent"))
        cluster.usable.removeAll { $0 == old.id }
        var chosen: [HostID] = []
        for _ in 0..<3 {
            for (slot, restoration) in Scheduler().restorations(
                cluster.state, usable: cluster.usable, maximum: 1,
                lost: { $0 == old.id ? .zero : nil }
            ) {
                chosen.append(restoration.host)
                cluster.apply(.restoreVolumes(slot, restoration, replaces: false))
            }
        }
        // Three sets of 64 MiB fit 200 MiB: two are there, one more fits each of the others.
        #expect(Set(chosen) == Set(cluster.usable) && chosen.count == 2)
    }

    @Test("an order names what exists, all of the slot's volumes, and a host that may have it")
    func refusals() throws {
        var (cluster, old) = try backedUp()
        let other = try #require(cluster.usable.first { $0 != old.id })
        cluster.apply(.declareHostLost(old.id, old.bootEpoch, reason: "silent"))
        #expect(cluster.apply(order(cluster, to: other, backup: "bbbb")).refusal == .invalid)
        #expect(cluster.apply(order(cluster, to: other, backup: "aaa")).refusal == .invalid)
        #expect(cluster.apply(order(cluster, to: old.id)).refusal == .noRoom, "it is lost")
        #expect(
            cluster.apply(order(cluster, to: HostID(testing: 77))).refusal == .hostUnknown)
        let none = Command.restoreVolumes(
            Self.db0, VolumeRestoration(host: other, sources: []), replaces: true)
        #expect(cluster.apply(none).refusal == .invalid)
    }

    @Test("a copy counts when it has the newest backup, is elsewhere, answers and is sound")
    func faults() {
        func copy(_ host: UInt64, _ digit: String, at time: Int64, isDamaged: Bool = false)
            -> BackupCopy
        {
            var backup = Self.backup(digit, at: time)
            backup.digest = digit == "f" ? String(repeating: "d", count: 64) : ""
            backup.isDamaged = isDamaged
            return BackupCopy(target: "peers", host: HostID(testing: host), backups: [backup])
        }
        var backups = VolumeBackups(
            slot: Self.db0, name: "data", owner: LogIndex(1), volumeClass: .loop, sizeBytes: 1,
            copies: [
                copy(1, "a", at: 9_000), copy(2, "b", at: 9_000), copy(3, "c", at: 8_000),
                copy(4, "e", at: 9_000, isDamaged: true), copy(5, "9", at: 9_000),
                copy(6, "8", at: 1_000, isDamaged: true),
            ])
        func faults() -> [VolumeBackups.CopyFault?] {
            backups.copies.map {
                backups.fault(of: $0, home: HostID(testing: 1)) { $0 != HostID(testing: 5) }
            }
        }
        #expect(faults() == [.atHome, nil, .older, .damaged, .unreachable, .damaged])
        #expect(backups.newest()?.copy.isDamaged == false)
        // The same content later is as good.
        backups.copies = [copy(2, "f", at: 1_000), copy(3, "f", at: 9_000)]
        #expect(faults() == [nil, nil])
        // What is damaged is taken only where nothing else is.
        backups.copies = [
            copy(2, "a", at: 9_000, isDamaged: true), copy(3, "b", at: 1_000),
            copy(4, "c", at: 9_500, isDamaged: true),
        ]
        #expect(backups.newest()?.backup.id.first == "b")
        backups.copies.remove(at: 1)
        #expect(backups.newest()?.backup.id.first == "c")
    }

    @Test("a backup's flags are read back, and unknown ones refused")
    func flags() throws {
        for (isPointInTime, isDamaged) in [(true, false), (false, false), (true, true)] {
            var backup = Self.backup("a", at: 1)
            backup.isPointInTime = isPointInTime
            backup.isDamaged = isDamaged
            #expect(try BackupRecord(decoding: backup.encoded) == backup)
        }
        var bytes = Self.backup("a", at: 1).encoded
        #expect(bytes.last == 1, "as earlier versions wrote it")
        bytes[bytes.count - 1] = 4
        #expect(throws: WireError.self) { try BackupRecord(decoding: bytes) }
    }

    @Test("backups survive their service, and can be forgotten only then")
    func afterDeletion() throws {
        var (cluster, _) = try backedUp()
        let owner = try #require(cluster.state.service("db")?.createdAt)
        let forget = Command.forgetBackups(Self.db0, volume: "data", owner: owner)
        #expect(cluster.apply(forget).refusal == .invalid)
        cluster.apply(.deleteService("db"))
        #expect(cluster.state.volumeBackups.count == 1)
        #expect(cluster.apply(forget).refusal == nil)
        #expect(cluster.state.volumeBackups.isEmpty)
    }

    @Test("what a host says is bounded, and its binary form is read back or refused")
    func bounds() throws {
        let (state, holder) = try backedUp()
        var cluster = state
        var known = cluster.state.volumeBackups[0]
        known.copies[0].backups[0].id = "no digits"
        #expect(cluster.apply(.reportBackups(host: holder.id, known)).refusal == .invalid)
        known = cluster.state.volumeBackups[0]
        known.copies = Array(repeating: known.copies[0], count: Limits.backupCopies + 1)
        #expect(cluster.apply(.reportBackups(host: holder.id, known)).refusal == .invalid)

        known = cluster.state.volumeBackups[0]
        known.drill = BackupDrill(
            time: WallTime(milliseconds: 5), backup: "aaaaaaaa", ageMilliseconds: 1,
            durationMilliseconds: 2, problem: "it differs")
        known.failure = BackupFailure(time: WallTime(milliseconds: 6), reason: "target is full")
        let commands: [Command] = [
            .reportBackups(host: holder.id, known), order(cluster, to: holder.id),
            .forgetBackups(Self.db0, volume: "data", owner: LogIndex(3)),
            .reportRestoration(Self.db0, index: LogIndex(9), host: holder.id, problem: "x"),
        ]
        for command in commands {
            let bytes = command.encoded
            #expect(try Command(decoding: bytes) == command)
            for end in bytes.indices {
                #expect(throws: WireError.self) { try Command(decoding: Array(bytes[..<end])) }
            }
            for position in bytes.indices {
                var damaged = bytes
                damaged[position] ^= 0xFF
                _ = try? Command(decoding: damaged)
            }
        }
        let outcome = cluster.apply(commands[0])
        #expect(outcome.kinds == [.backupFailed, .backupDrilled])
        #expect(try ReplicatedState(decoding: cluster.state.encoded) == cluster.state)
    }
}
