import Base
import ClusterModel
import ClusterState
import Consensus
import Testing
import Wire

@testable import PeerCore

/// Rules of one host's brain.
@Suite("One host's brain")
struct PeerTests {
    private let slot = SlotID(service: "web", ordinal: 0)

    @Test("a running set that the state does not know is left alone, and told once")
    func unknownSetLeftAlone() {
        let ghost = SlotID(service: "ghost", ordinal: 0)
        for index in [LogIndex(2), LogIndex(999)] {
            var lone = LonePeer(inventory: [
                SetObservation(
                    slot: ghost, placementIndex: index, state: .started,
                    containers: [ContainerObservation(name: "app", pid: 9)])
            ])
            lone.pass(.seconds(60))
            #expect(lone.peer.mayActOnState)
            #expect(lone.stops.isEmpty)
            #expect(lone.notes.count { $0 == .unknownSet(ghost) } == 1)
        }
    }

    @Test("the delay before a restart doubles to its longest, and is short again after a long run")
    func restartDelay() throws {
        var (lone, order) = LonePeer.serving()
        let run = try #require(order)
        var pid = 100
        var delays: [Int64] = []
        func exitAndRestart() {
            let exitedAt = lone.now
            let before = lone.restarts.count
            lone.see(
                run, .started, [ContainerObservation(name: "app", exit: ContainerExit(code: 1))])
            while lone.restarts.count == before { lone.pass(.milliseconds(500)) }
            delays.append((lone.restarts[before] - exitedAt).inMilliseconds)
            pid += 1
            lone.see(run, .started, [ContainerObservation(name: "app", pid: pid)])
        }
        for _ in 0..<8 { exitAndRestart() }
        #expect(delays == [1_000, 2_000, 4_000, 8_000, 16_000, 32_000, 60_000, 60_000])
        delays = []
        lone.pass(.seconds(61))
        exitAndRestart()
        #expect(delays == [1_000])
    }

    @Test("a set whose volumes lack room waits, says for what, and starts when there is room")
    func roomForVolumes() throws {
        var lone = LonePeer()
        lone.feed(.volumes([]))
        lone.feed(.offer(VolumeOffer(diskBytes: 100 << 20)))
        lone.pass(.seconds(3))
        #expect(lone.peer.state.host(LonePeer.id)?.volumeOffer?.diskBytes == 100 << 20)
        // Placed by what the log knows; by now the host has less.
        var spec = ServiceSpec.web(sets: 1)
        spec.volumes = [VolumeSpec(name: "data", sizeBytes: 64 << 20, mount: "/data")]
        let less = VolumeOffer(diskBytes: 50 << 20)
        lone.peer.hosted.offer = less
        lone.peer.hosted.lastOffer = (less, lone.now + .seconds(1_000))
        lone.feed(.submit(ticket: 1, .registerImage(.demo)))
        lone.feed(.submit(ticket: 2, .applyService(spec)))
        lone.pass(.seconds(20))
        #expect(lone.runs.isEmpty)
        let record = try #require(lone.peer.state.slot(slot))
        #expect(
            record.reason == "waits for room: this host has 50 MiB of 50 MiB free for loop volumes")
        lone.feed(.offer(VolumeOffer(diskBytes: 80 << 20)))
        lone.pass(.seconds(20))
        #expect(lone.runs.count == 1)
    }

    @Test("a restart that nobody answers is ordered again after a while")
    func lostRestart() throws {
        var (lone, order) = LonePeer.serving()
        let run = try #require(order)
        lone.see(run, .started, [ContainerObservation(name: "app", exit: ContainerExit(code: 1))])
        lone.pass(.seconds(30))
        #expect(lone.restarts.count == 1)
        lone.pass(.seconds(60))
        #expect(lone.restarts.count == 2)
    }

    @Test("a set that cannot be made is tried again, ever more slowly")
    func failedSetRetried() throws {
        var (lone, order) = LonePeer.serving()
        let run = try #require(order)
        let before = lone.runs.count
        for _ in 0..<3 {
            lone.see(run, .failed(reason: "no image"))
            lone.pass(.seconds(5))
        }
        let again = lone.runs.dropFirst(before).map(\.at)
        #expect(again.count == 3)
        #expect(lone.peer.state.slot(slot)?.phase == .starting)
    }

    @Test("a set that failed is ended when it is not wanted, and is not tried again")
    func failedSetEnded() throws {
        var (lone, order) = LonePeer.serving()
        let run = try #require(order)
        lone.see(run, .failed(reason: "no image"))
        let before = lone.runs.count
        lone.feed(.submit(ticket: 9, .deleteService("web")))
        lone.pass(.seconds(90))
        #expect(lone.stops == [slot])
        #expect(lone.runs.count == before)
        lone.see(run, .gone)
        lone.feed(.submit(ticket: 10, .applyService(.web(sets: 1))))
        lone.pass(.seconds(1))
        #expect(lone.runs.count == before + 1)
    }

    @Test("a new decision for a slot waits until what ran there before is gone")
    func newWaitsForOld() throws {
        var (lone, order) = LonePeer.serving()
        let run = try #require(order)
        var spec = ServiceSpec.web(sets: 1)
        spec.containers[0].environment = [EnvironmentVariable(name: "A", value: "1")]
        lone.feed(.submit(ticket: 9, .applyService(spec)))
        lone.pass(.seconds(5))
        #expect(lone.stops == [slot])
        #expect(lone.runs.count == 1)
        let waiting = lone.peer.state.slot(slot)?.report
        #expect(waiting?.reason == "waits until its predecessor on this host has ended")
        lone.see(run, .gone)
        lone.pass(.seconds(1))
        #expect(lone.peer.state.slot(slot)?.report?.reason.isEmpty == true)
        #expect(lone.runs.count == 2)
        #expect((lone.runs.last?.order.placement.revision ?? 0) == 2)
    }

    @Test("a set without room waits for what still ends here, says so, and starts after it")
    func waitsForRoom() throws {
        var (lone, order) = LonePeer.serving()
        let run = try #require(order)
        var large = ServiceSpec.web(sets: 1)
        large.name = "large"
        large.containers[0].cpu = CPUSpec(requestMillicores: 3_950, limitMillicores: 3_950)
        lone.feed(.submit(ticket: 9, .deleteService("web")))
        lone.feed(.submit(ticket: 10, .applyService(large)))
        lone.pass(.seconds(2))
        #expect(lone.stops == [slot])
        #expect(lone.runs.count == 1)
        let next = SlotID(service: "large", ordinal: 0)
        let waiting = lone.peer.state.slot(next)
        #expect(waiting?.phase == .starting)
        #expect(
            waiting?.report?.reason
                == "waits until sets that end on this host have freed their room")
        let index = lone.peer.appliedIndex
        lone.pass(.seconds(60))
        #expect(lone.peer.appliedIndex == index, "it is said once")
        lone.see(run, .gone)
        lone.pass(.seconds(1))
        #expect(lone.runs.count == 2)
        #expect(lone.peer.state.slot(next)?.report?.reason.isEmpty == true)
    }

    @Test("a host that offers less than its sets take goes on with them, and they may shrink")
    func shrunkOffer() throws {
        var (lone, order) = LonePeer.serving()
        let run = try #require(order)
        let resource = Resources(millicores: 50, memoryBytes: 1 << 20, sets: 1)
        lone.feed(.facts(HostFacts(name: "h1", capacity: resource)))
        lone.pass(.seconds(11))
        let before = lone.runs.count
        lone.feed(
            .submit(
                ticket: 9,
                .resize(service: "web", ServiceResize(memoryRequestBytes: 32 << 20))))
        lone.pass(.seconds(1))
        #expect(lone.runs.count == before + 1)
        #expect(lone.runs.last?.order.placement.index == run.placement.index)
        #expect(lone.stops.isEmpty)
        // Growing has no room here.
        lone.feed(
            .submit(
                ticket: 10,
                .resize(service: "web", ServiceResize(cpuRequestMillicores: 400))))
        lone.pass(.seconds(1))
        #expect(lone.runs.count == before + 1)
    }

    @Test("limits in force but for a volume that cannot grow are told so, and tried again")
    func lateGrowth() throws {
        var (lone, order) = LonePeer.serving()
        let run = try #require(order)
        func see(_ refusal: String) {
            lone.feed(
                .observed(
                    SetObservation(
                        slot: slot, placementIndex: run.placement.index, state: .started,
                        address: [10, 64, 0, 2],
                        containers: [ContainerObservation(name: "app", pid: 100)],
                        demand: run.spec.demand, revision: run.placement.revision,
                        resizeRefusal: refusal)))
        }
        see("volume data keeps 64 MiB")
        lone.pass(.seconds(1))
        #expect(lone.peer.state.slot(slot)?.reason == "volume data keeps 64 MiB")
        #expect(lone.peer.state.slot(slot)?.report?.revision == run.placement.revision)
        let before = lone.runs.count
        lone.pass(.seconds(10))
        #expect(lone.runs.count == before + 1, "it is tried again")
        see("")
        lone.pass(.seconds(30))
        #expect(lone.peer.state.slot(slot)?.reason == "")
        #expect(lone.runs.count == before + 1)
    }

    @Test("a refused registration is tried again slowly, and goes through once its cause is mended")
    func refusedRegistration() {
        var lone = LonePeer(name: "not a name!")
        lone.pass(.seconds(35))
        let refusals = lone.notes.count {
            if case .registrationRefused = $0 { true } else { false }
        }
        #expect((3...4).contains(refusals))
        #expect(lone.peer.state.hosts.isEmpty)
        lone.feed(.facts(HostFacts(name: "h1", capacity: Resources(millicores: 1_000))))
        lone.pass(.seconds(11))
        #expect(lone.peer.state.host(LonePeer.id)?.name == "h1")
    }

    @Test("a host that is up but never heard from a leaseholder orders nothing")
    func noOrdersAlone() {
        // A log that another host's agreement is needed for.
        let voters = (1...3).map { HostID(testing: $0) }
        let restored = RestoredLog(
            hardState: HardState(epoch: Epoch(1), votedFor: nil), snapshot: nil,
            entries: [LogEntry(index: LogIndex(1), epoch: Epoch(1), payload: .voters(voters))])
        var lone = LonePeer(
            restored: restored,
            inventory: [
                SetObservation(slot: slot, placementIndex: LogIndex(5), state: .started)
            ])
        lone.feed(.submit(ticket: 1, .registerImage(.demo)))
        lone.pass(.seconds(30))
        #expect(!lone.peer.mayActOnState)
        #expect(lone.runs.isEmpty && lone.stops.isEmpty)
        let answer = lone.outputs.compactMap { entry -> SubmitFailure? in
            if case .unanswered(1, let failure) = entry.output { failure } else { nil }
        }
        #expect(
            answer == [.noLeaseholder(waited: .seconds(10), votersAlive: 1, voters: 3)])
    }

    @Test("decisions are not taken from a host that forwards them")
    func forwardedDecisionsRefused() {
        var (lone, _) = LonePeer.serving()
        let other = HostID(testing: 2)
        let commands: [Command] = [
            .declareHostLost(LonePeer.id, BootEpoch(2), reason: "no"),
            .decide(
                basedOn: lone.peer.appliedIndex,
                decisions: [.unplace(slot, reason: "no")]),
        ]
        for (number, command) in commands.enumerated() {
            let envelope = CommandEnvelope(
                request: RequestID(
                    host: other, bootEpoch: BootEpoch(1), number: UInt64(number + 1)),
                proposedAt: WallTime(milliseconds: 0), command: command)
            lone.feed(.message(PeerMessage.forward(envelope).encoded, from: other))
        }
        lone.pass(.seconds(2))
        #expect(lone.stops.isEmpty)
        #expect(lone.peer.state.slot(slot)?.phase == .running)
    }

    @Test("a restarted agent adopts what runs, goes on counting, and says nothing new")
    func adoption() throws {
        var (lone, order) = LonePeer.serving()
        let run = try #require(order)
        lone.see(run, .started, [ContainerObservation(name: "app", exit: ContainerExit(code: 3))])
        lone.pass(.seconds(2))
        lone.see(run, .started, [ContainerObservation(name: "app", pid: 101)])
        lone.pass(.seconds(1))
        let report = try #require(lone.peer.state.slot(slot)?.report)
        #expect(report.containers.first?.restarts == 1)
        let snapshot = LogSnapshot(
            index: lone.peer.appliedIndex, epoch: lone.peer.consensus.epoch,
            voters: [LonePeer.id], state: lone.peer.state.encoded)
        var restarted = LonePeer(
            restored: RestoredLog(
                hardState: HardState(epoch: lone.peer.consensus.epoch, votedFor: LonePeer.id),
                snapshot: snapshot, entries: []),
            inventory: [
                SetObservation(
                    slot: slot, placementIndex: run.placement.index, state: .started,
                    address: [10, 64, 0, 2],
                    containers: [ContainerObservation(name: "app", pid: 101)])
            ])
        restarted.pass(.seconds(5))
        #expect(restarted.peer.mayActOnState)
        #expect(restarted.stops.isEmpty)
        #expect(restarted.peer.state.slot(slot)?.report == report)
    }

    @Test("bytes that are no message are noted and change nothing")
    func garbage() {
        var lone = LonePeer()
        var random = RandomSource(seed: 1)
        let index = lone.peer.appliedIndex
        for length in 0..<300 {
            let bytes = (0..<length).map { _ in UInt8.random(in: 0...255, using: &random) }
            lone.feed(.message(bytes, from: HostID(testing: 2)))
            lone.feed(
                .datagram(
                    bytes, from: HostID(testing: 2), bootEpoch: BootEpoch(1),
                    address: SocketAddress(10, 0, 0, 2, port: 7_400)))
        }
        #expect(lone.peer.appliedIndex == index)
        #expect(!lone.notes.isEmpty)
    }
}
