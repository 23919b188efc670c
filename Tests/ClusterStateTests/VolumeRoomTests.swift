import Base
import ClusterModel
import Testing
import Wire

@testable import ClusterState
@testable import Scheduling

/// Room for volumes counts: in the plan, when a decision is applied, and when volumes grow.
@Suite("Room for volumes")
struct VolumeRoomTests {
    private static let mebibyte = 1 << 20

    /// A service whose sets have one volume each.
    private static func service(
        _ name: String = "db", sets: Int = 1, size: Int = 600,
        volumeClass: VolumeClass = .loop
    ) -> ServiceSpec {
        Cluster.web(name, sets: sets) {
            $0.volumes = [
                VolumeSpec(
                    name: "data", sizeBytes: size * mebibyte, mount: "/data",
                    volumeClass: volumeClass)
            ]
        }
    }

    /// Three hosts with so many MiB of disk for volumes, and pools where given.
    private static func cluster(disk: [Int], pool: [Int?] = [nil, nil, nil]) -> Cluster {
        var cluster = Cluster.three()
        for (position, host) in cluster.state.hosts.sorted(by: { $0.name < $1.name }).enumerated() {
            let offer = VolumeOffer(
                diskBytes: disk[position] * mebibyte,
                poolBytes: pool[position].map { $0 * mebibyte })
            cluster.offer(offer, from: host)
        }
        return cluster
    }

    private func placed(_ cluster: Cluster, _ service: String = "db") -> [String?] {
        cluster.state.service(service)?.slots.map { slot in
            slot.placement.flatMap { cluster.state.host($0.host)?.name }
        } ?? []
    }

    @Test("two sets planned in one batch do not both take the last room")
    func lastRoom() throws {
        var cluster = Self.cluster(disk: [1_000, 500, 500])
        cluster.apply(.applyService(Self.service(sets: 2)))
        cluster.settle()
        #expect(placed(cluster).compactMap(\.self) == ["h1"])
        let waiting = try #require(cluster.state.service("db")?.slots.first { $0.isHomeless })
        #expect(
            waiting.pendingReason
                == "no host fits: 3 of 3 hosts lack room for loop volumes (need 600 MiB)")
        // Also not by a decision made on an older state.
        let outcome = cluster.apply(
            .decide(
                basedOn: cluster.state.appliedIndex,
                decisions: [
                    .place(waiting.slot, host: try #require(cluster.host("h1")?.id), revision: 1)
                ]))
        #expect(outcome.kinds == [.decisionSkipped])
        #expect(
            outcome.events.first?.message.contains(
                "host h1 has 400 MiB of 1000 MiB free for loop volumes") == true)
        // More room, told by the host, is used at once.
        let host = try #require(cluster.host("h2"))
        cluster.offer(VolumeOffer(diskBytes: 700 << 20), from: host)
        cluster.settle()
        #expect(Set(placed(cluster)) == ["h1", "h2"])
    }

    @Test("volumes that are there need no new room, also where too much was promised")
    func existing() throws {
        var cluster = Self.cluster(disk: [1_000, 0, 0])
        cluster.apply(.applyService(Self.service(sets: 1)))
        cluster.settle()
        let owner = try #require(cluster.state.service("db")?.createdAt)
        let slot = SlotID(service: "db", ordinal: 0)
        let volume = VolumeReport(
            slot: slot, name: "data", id: "aa", volumeClass: .loop, sizeBytes: 600 << 20,
            owner: owner)
        let host = try #require(cluster.host("h1"))
        cluster.tell([volume], of: host)
        #expect(cluster.state.volumesPromised(on: host.id).diskBytes == 600 << 20, "counted once")
        cluster.offer(VolumeOffer(diskBytes: 100 << 20), from: host)
        let basedOn = cluster.state.appliedIndex
        cluster.apply(.decide(basedOn: basedOn, decisions: [.unplace(slot, reason: "drain")]))
        cluster.settle()
        #expect(placed(cluster) == ["h1"])
        // The trash takes room, too.
        var trashed = volume
        trashed.trashedAt = 5
        cluster.apply(.deleteService("db"))
        cluster.tell([trashed], of: host)
        #expect(cluster.state.volumesPromised(on: host.id).diskBytes == 600 << 20)
        // A restored service takes its own out of there, and needs nothing more.
        cluster.apply(.restoreService("db"))
        cluster.settle()
        #expect(placed(cluster) == ["h1"])
    }

    @Test("a class of volumes goes only where it can be kept, and the reason says why not")
    func classes() throws {
        var cluster = Self.cluster(disk: [1_000, 1_000, 1_000], pool: [nil, 700, nil])
        cluster.apply(.applyService(Self.service(sets: 2, volumeClass: .lvm)))
        cluster.settle()
        #expect(placed(cluster).compactMap(\.self) == ["h2"])
        #expect(
            cluster.state.service("db")?.slots.last?.pendingReason
                == "no host fits: 2 of 3 hosts have no thin pool for lvm volumes, 1 lacks room for "
                + "lvm volumes (need 600 MiB)")
        // The pool and the disk are counted apart.
        cluster.apply(.applyService(Self.service("web", sets: 3, size: 1_000)))
        cluster.settle()
        #expect(Set(placed(cluster, "web")) == ["h1", "h2", "h3"])
        let host = try #require(cluster.host("h3"))
        cluster.offer(VolumeOffer(diskBytes: 4_000 << 20, hasLoop: false), from: host)
        cluster.apply(.applyService(Self.service("more", sets: 1, size: 1_000)))
        cluster.apply(
            .applyService(Self.service("folders", sets: 1, size: 1_000, volumeClass: .directory)))
        cluster.settle()
        #expect(placed(cluster, "more") == [nil])
        #expect(
            cluster.state.service("more")?.slots[0].pendingReason.contains("no loop devices")
                == true)
        #expect(placed(cluster, "folders") == ["h3"])
    }

    @Test("growing is refused as a whole, with the wall that it hit")
    func growth() throws {
        var cluster = Self.cluster(disk: [1_000, 1_000, 700])
        cluster.apply(.applyService(Self.service(sets: 3)))
        cluster.settle()
        #expect(Set(placed(cluster)) == ["h1", "h2", "h3"])
        let before = cluster.state.service("db")
        let tooMuch = cluster.resize("db", to: 800 << 20)
        guard case .refused(let refusal) = tooMuch.result else {
            Issue.record("was not refused")
            return
        }
        #expect(refusal.code == .noRoom)
        #expect(
            refusal.message.contains("on h3, which has 100 MiB of 700 MiB free for loop volumes"))
        #expect(cluster.state.service("db") == before, "nothing was changed")
        #expect(cluster.resize("db", to: 700 << 20).refusal == nil)
        #expect(
            cluster.state.hosts.map { cluster.state.volumesPromised(on: $0.id).diskBytes >> 20 }
                == [700, 700, 700])
    }

    @Test("two sets of one host that grow at once count together")
    func growthTogether() {
        var cluster = Self.cluster(disk: [1_500, 0, 0])
        cluster.apply(.applyService(Self.service(sets: 2, size: 500)))
        cluster.settle()
        #expect(placed(cluster) == ["h1", "h1"])
        #expect(cluster.resize("db", to: 800 << 20).refusal == .noRoom)
        #expect(cluster.resize("db", to: 750 << 20).refusal == nil)
        cluster.reportAll()
        // By a file: what does not fit waits on its host and says for what.
        cluster.apply(.applyService(Self.service(sets: 2, size: 900)))
        cluster.settle()
        #expect(
            cluster.state.service("db")?.slots[0].pendingReason.contains(
                "it has 0 B of 1.4 GiB free for loop volumes") == true)
    }

    @Test("explain names the host that holds the volumes, and what the others lack")
    func explanation() throws {
        var cluster = Self.cluster(disk: [1_000, 500, 0])
        cluster.apply(.applyService(Self.service(sets: 2)))
        cluster.settle()
        let placedSlot = try #require(
            cluster.state.service("db")?.slots.first { !$0.isHomeless })
        let waiting = try #require(cluster.state.service("db")?.slots.first { $0.isHomeless })
        func obstacles(_ slot: SlotID) -> [String: PlacementObstacle?] {
            let explanation = Scheduler().explain(
                slot: slot, state: cluster.state, usable: cluster.usable)
            return Dictionary(
                uniqueKeysWithValues: (explanation?.hosts ?? []).map { ($0.name, $0.obstacle) })
        }
        #expect(
            obstacles(placedSlot.slot) == [
                "h1": nil, "h2": .volumesElsewhere("h1"), "h3": .volumesElsewhere("h1"),
            ])
        #expect(
            obstacles(waiting.slot) == [
                "h1": .lacksVolumeRoom(.loop, freeBytes: 400 << 20, ofBytes: 1_000 << 20),
                "h2": .lacksVolumeRoom(.loop, freeBytes: 500 << 20, ofBytes: 500 << 20),
                "h3": .lacksVolumeRoom(.loop, freeBytes: 0, ofBytes: 0),
            ])
    }

    @Test("a host that has not told its room gets no new volumes until it does")
    func untoldRoom() throws {
        var cluster = Self.cluster(disk: [0, 0, 0])
        cluster.apply(.applyService(Self.service(sets: 1, size: 64)))
        let registration = Cluster.registration(4)
        cluster.apply(.registerHost(registration))
        cluster.usable.append(registration.id)
        cluster.settle()
        #expect(placed(cluster) == [nil])
        let reason = try #require(cluster.state.service("db")?.slots.first?.pendingReason)
        #expect(reason.contains("1 has not told yet what room there is for volumes"), "\(reason)")
        let host = try #require(cluster.host("h4"))
        cluster.offer(VolumeOffer(diskBytes: 100 << 20), from: host)
        cluster.settle()
        #expect(placed(cluster) == ["h4"])
    }

    @Test("an offer survives snapshot and wire; a stale or senseless one changes nothing")
    func kept() throws {
        var cluster = Self.cluster(disk: [1_000, 500, 0], pool: [1, nil, 2])
        let host = try #require(cluster.host("h1"))
        #expect(try ReplicatedState(decoding: cluster.state.encoded) == cluster.state)
        let command = Command.offerVolumes(
            host: host.id, bootEpoch: BootEpoch(3),
            VolumeOffer(diskBytes: 7, poolBytes: 8, hasLoop: false))
        #expect(try Command(decoding: command.encoded) == command)
        #expect(cluster.apply(command).events.isEmpty, "it is from an older start of the agent")
        #expect(cluster.host("h1")?.volumeOffer?.diskBytes == 1_000 << 20)
        let unknown = cluster.apply(
            .offerVolumes(
                host: HostID(testing: 77), bootEpoch: BootEpoch(10), VolumeOffer(diskBytes: 1)))
        #expect(unknown.refusal == .hostUnknown)
        var damaged = command.encoded
        damaged.removeLast()
        #expect(throws: WireError.self) { try Command(decoding: damaged) }
    }
}

extension Cluster {
    mutating func offer(_ offer: VolumeOffer, from host: HostRecord) {
        apply(
            .offerVolumes(host: host.id, bootEpoch: host.bootEpoch, offer), from: host.id,
            boot: host.bootEpoch.value)
    }

    mutating func tell(_ volumes: [VolumeReport], of host: HostRecord) {
        apply(
            .reportVolumes(host: host.id, bootEpoch: host.bootEpoch, volumes: volumes),
            from: host.id, boot: host.bootEpoch.value)
    }

    mutating func resize(_ service: String, to bytes: Int) -> CommandOutcome {
        apply(
            .resize(
                service: service,
                ServiceResize(volumes: [VolumeSize(name: "data", sizeBytes: bytes)])))
    }
}
