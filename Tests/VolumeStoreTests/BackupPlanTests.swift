import Base
import ClusterModel
import Testing

@testable import VolumePlan

/// When backups are due, who keeps them, and how safe that is.
@Suite("Plans for backups")
struct BackupPlanTests {
    @Test("a backup is due once a period, at a moment of the volume's own, and is caught up once")
    func schedule() {
        let every = 3_600
        func isDue(_ now: Int, _ last: Int?) -> Bool {
            BackupSchedule.isDue(now: now, last: last, every: every, volume: "web.3/data")
        }
        #expect(isDue(1_000_000, nil), "without a backup")
        var last = 1_000_000
        var times: [Int] = []
        for now in stride(from: last, to: last + 10 * every, by: 10) where isDue(now, last) {
            times.append(now)
            last = now
        }
        #expect(times.count == 10)
        #expect(zip(times, times.dropFirst()).allSatisfy { $1 - $0 == every })
        // The host was off for a day: one backup, then the usual moment.
        let back = last + 86_400
        #expect(isDue(back, last) && !isDue(back, back))
        // A clock before 1970 or set back does no harm.
        #expect(!isDue(-5_000, 5))
        let moments = Set(
            (0..<100).map { BackupSchedule.hash(of: "web.\($0)/data") % UInt64(every) / 360 })
        #expect(moments.count == 10, "a hundred volumes spread over the whole period")
    }

    @Test("failures wait longer each time, never beyond an hour or the period")
    func retries() {
        let delays = (0..<10).map { BackupSchedule.retryDelay(failures: $0, every: 86_400) }
        #expect(delays == [0, 60, 120, 240, 480, 960, 1_920, 3_600, 3_600, 3_600])
        #expect(BackupSchedule.retryDelay(failures: 9, every: 300) == 300)
    }

    private static func candidate(
        _ number: UInt64, _ datacenter: String, _ rack: String
    ) -> BackupHolders.Candidate {
        .init(id: HostID(testing: number), zone: Zone(datacenter: datacenter, rack: rack))
    }

    /// Two datacentres of three racks with two hosts each.
    private static let hosts = (0..<12).map { number in
        candidate(UInt64(number + 1), number < 6 ? "a" : "b", "r\(number / 2 % 3)")
    }

    @Test("copies stand in other racks, then in another datacentre, in any order of the hosts")
    func spread() {
        let home = Self.hosts[0]
        for volume in 0..<50 {
            let name = "db.\(volume)/data"
            let chosen = BackupHolders.choose(2, for: name, home: home, among: Self.hosts)
            let zones = chosen.compactMap { id in Self.hosts.first { $0.id == id }?.zone }
            #expect(!chosen.contains(home.id) && chosen.count == 2)
            #expect(!zones.contains(home.zone) && zones[0] != zones[1])
            #expect(zones[0].datacenter == "b", "the first one leaves the datacentre")
            #expect(
                BackupHolders.choose(2, for: name, home: home, among: Self.hosts.reversed())
                    == chosen)
        }
        let all = (0..<200).map {
            BackupHolders.choose(1, for: "db.\($0)/data", home: home, among: Self.hosts)[0]
        }
        #expect(Set(all).count == 6, "volumes spread over all hosts of the other datacentre")
    }

    @Test("who keeps copies stays; one that is lost is replaced, and nothing else moves")
    func stability() {
        let home = Self.hosts[0]
        for volume in 0..<50 {
            let name = "db.\(volume)/data"
            let before = BackupHolders.choose(3, for: name, home: home, among: Self.hosts)
            let left = Self.hosts.filter { $0.id != before[1] }
            let after = BackupHolders.choose(
                3, for: name, home: home, among: left, keeping: before)
            #expect(Set(after).isSuperset(of: [before[0], before[2]]) && after.count == 3)
            #expect(!after.contains(before[1]))
            let fewer = BackupHolders.choose(
                2, for: name, home: home, among: Self.hosts, keeping: before)
            #expect(
                Set(fewer).isSubset(of: before) && fewer.count == 2,
                "of more than are wanted, some stay and nobody new comes")
        }
        #expect(
            BackupHolders.choose(5, for: "x", home: home, among: Array(Self.hosts.prefix(3))).count
                == 2, "fewer when there are fewer")
    }

    @Test("who refused comes last, also when it has a copy already")
    func avoided() {
        let home = Self.hosts[0]
        let before = BackupHolders.choose(2, for: "db.0/data", home: home, among: Self.hosts)
        func choose(avoiding avoided: [HostID], among hosts: [BackupHolders.Candidate]) -> [HostID]
        {
            BackupHolders.choose(
                2, for: "db.0/data", home: home, among: hosts, keeping: before, avoiding: avoided)
        }
        let after = choose(avoiding: [before[0]], among: Self.hosts)
        #expect(after.count == 2 && after.contains(before[1]) && !after.contains(before[0]))
        let three = Self.hosts.filter { $0.id == home.id || before.contains($0.id) }
        #expect(
            Set(choose(avoiding: before, among: three)) == Set(before),
            "there are no others: better than none")
    }

    @Test("durability falls with the repair time and rises with copies and drills")
    func durability() {
        func loss(_ copies: Int, every: Int = 3_600, drill: Int? = 86_400, itself: Int? = 1_800)
            -> VolumeDurability
        {
            VolumeDurability(
                copies: copies, every: every, drill: drill, restoreOnLoss: itself,
                restoreSeconds: 60)
        }
        #expect(loss(0).lossPerYear == VolumeDurability.diskFailuresPerYear)
        #expect(loss(0).tenthsOfNines == 16, "0.98 is 1.7 nines, rounded down")
        // Two disks, repaired within a day: 2 · 0.02 · 0.02 / 365.
        let one = loss(1)
        #expect(one.repairSeconds == 86_400)
        #expect(abs(one.lossPerYear - 2 * 0.02 * 0.02 / 365) < 1e-15)
        #expect(one.tenthsOfNines == 56)
        #expect(loss(2).lossPerYear < one.lossPerYear / 1_000)
        #expect(loss(1, drill: nil).lossPerYear > 100 * one.lossPerYear)
        #expect(loss(1, drill: 60).repairSeconds == 3_600)
        #expect(loss(1, drill: 60, itself: nil).repairSeconds == 86_464)
        #expect(loss(20).tenthsOfNines <= 200)
        func lost(_ copies: Int) -> VolumeDurability {
            VolumeDurability(
                copies: copies, hasOwnDisk: false, every: 3_600, drill: 86_400,
                restoreOnLoss: 1_800, restoreSeconds: 60)
        }
        #expect(lost(0).disks == 0 && lost(0).lossPerYear == 1 && lost(0).tenthsOfNines == 0)
        #expect(lost(1).disks == 1 && lost(1).lossPerYear == VolumeDurability.diskFailuresPerYear)
        #expect(lost(2).lossPerYear == one.lossPerYear)
    }
}
