import ClusterModel
import HostPlan
import Testing

@testable import Agent
@testable import HostControl
@testable import VolumeStore

/// What a host offers follows the machine, also when that changes under a running agent.
struct HostOfferTests {
    private func machine(processors: Int, memory: Int) -> MachineFacts {
        MachineFacts(
            processorCount: processors, memoryBytes: memory, hostName: "h", kernelRelease: "6")
    }

    private func configuration() throws -> AgentConfiguration {
        try AgentConfiguration.load(flags: ["name": "h"], file: nil, environment: [:])
    }

    @Test("without a configuration it offers processors and memory less a reserve")
    func machineAlone() throws {
        let small = HostOffer(
            configuration: try configuration(), machine: machine(processors: 2, memory: 1 << 30))
        #expect(small.capacity.millicores == 1_900)
        #expect(small.capacity.memoryBytes == (1 << 30) - (256 << 20))
        let large = HostOffer(
            configuration: try configuration(), machine: machine(processors: 64, memory: 1 << 40))
        #expect(large.capacity.memoryBytes == (1 << 40) - (1 << 40) / 20)
        #expect(large.capacity.millicores == 63_000)
        #expect(large.wall == SetsWall(memoryBytes: large.capacity.memoryBytes, millicores: 63_000))
        let tiny = HostOffer(
            configuration: try configuration(), machine: machine(processors: 1, memory: 100 << 20))
        #expect(tiny.capacity.memoryBytes == 0 && tiny.shortfalls.isEmpty)
    }

    @Test(
        "what is offered to volumes is told in steps: less at once, more only when it is worth it")
    func volumes() {
        var room = StoreRoom(
            diskBytes: 1_001 << 20, isLimited: false, diskTotalBytes: 64 << 30,
            poolBytes: 5 << 20, poolProblem: "", hasLoop: true)
        let first = VolumeOffer(room, after: nil)
        #expect(first.diskBytes == 992 << 20)
        #expect(first.poolBytes == 5 << 20 && first.hasLoop)
        for free in [1_000, 992, 1_020, 1_055] {
            room.diskBytes = free << 20
            #expect(VolumeOffer(room, after: first) == first, "\(free)")
        }
        room.diskBytes = first.diskBytes - 1
        let less = VolumeOffer(room, after: first)
        #expect(less.diskBytes == 960 << 20)
        room.diskBytes = 993 << 20
        #expect(VolumeOffer(room, after: less) == less, "to and fro is told once")
        room.diskBytes = 2 << 30
        #expect(VolumeOffer(room, after: first).diskBytes == 2 << 30)
        room.isLimited = true
        room.diskBytes = (2 << 30) + 1
        #expect(VolumeOffer(room, after: first).diskBytes == (2 << 30) + 1)
        room.poolBytes = nil
        #expect(VolumeOffer(room, after: first).poolBytes == nil, "a pool that went away is told")
        room.poolBytes = 9 << 20
        #expect(VolumeOffer(room, after: first).poolBytes == 9 << 20, "one that grew, too")
        room.diskBytes = 0
        #expect(VolumeOffer(room, after: first).diskBytes == 0)
    }

    @Test("it offers the bandwidth that is kept for its sets, or does not say")
    func bandwidth() throws {
        var facts = machine(processors: 2, memory: 1 << 30)
        let silent = HostOffer(configuration: try configuration(), machine: facts)
        #expect(silent.capacity.egressBitsPerSecond == 0)
        facts.bandwidthBitsPerSecond = 950_000_000
        let linked = HostOffer(configuration: try configuration(), machine: facts)
        #expect(linked.capacity.egressBitsPerSecond == 950_000_000)
        #expect(linked.capacity.ingressBitsPerSecond == 950_000_000)
        #expect(linked.bandwidthText == "950Mbit" && linked != silent)
    }

    @Test("what went away is not offered, whatever the configuration says, and that is told")
    func shrunkMachine() throws {
        var configuration = try configuration()
        configuration.millicores = 3_500
        configuration.memoryBytes = 3 << 30
        let whole = HostOffer(
            configuration: configuration, machine: machine(processors: 4, memory: 4 << 30))
        #expect(whole.capacity.millicores == 3_500 && whole.capacity.memoryBytes == 3 << 30)
        #expect(whole.shortfalls.isEmpty)
        let shrunk = HostOffer(
            configuration: configuration, machine: machine(processors: 2, memory: 2 << 30))
        #expect(shrunk.capacity.millicores == 2_000 && shrunk.capacity.memoryBytes == 2 << 30)
        #expect(shrunk.shortfalls.count == 2)
        #expect(shrunk != whole)
    }

    @Test("a configured reserve is kept, whatever is to be offered; a default one gives way")
    func reserves() throws {
        var configuration = try AgentConfiguration.load(
            flags: ["name": "h", "reserve-cpu": "1500m", "reserve-memory": "1Gi"], file: nil,
            environment: [:])
        let machine = machine(processors: 4, memory: 4 << 30)
        let plain = HostOffer(configuration: configuration, machine: machine)
        #expect(plain.capacity.millicores == 2_500 && plain.capacity.memoryBytes == 3 << 30)
        #expect(plain.shortfalls.isEmpty)
        configuration.millicores = 2_501
        configuration.memoryBytes = 3 << 30
        let greedy = HostOffer(configuration: configuration, machine: machine)
        #expect(greedy.capacity.millicores == 2_500 && greedy.capacity.memoryBytes == 3 << 30)
        #expect(greedy.shortfalls.count == 1)
        #expect(greedy.shortfalls.first?.contains("reserve-cpu keeps 1500m") == true)
        configuration.reserveMillicores = nil
        configuration.millicores = 4_000
        #expect(
            HostOffer(configuration: configuration, machine: machine).capacity.millicores == 4_000)
        // More than there is leaves nothing, and is no crash.
        configuration.reserveMemoryBytes = 1 << 50
        let none = HostOffer(configuration: configuration, machine: machine)
        #expect(none.capacity.memoryBytes == 0 && none.shortfalls.count == 1)
        #expect(throws: ConfigurationError.self) {
            try AgentConfiguration.load(
                flags: ["reserve-cpu": "lots"], file: nil, environment: [:])
        }
    }
}
