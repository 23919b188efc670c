import Base
import ClusterModel
import ClusterState
import ControlAPI
import Synchronization
import Testing

@testable import Agent

/// Which host an operator means, and how many hosts are asked in one moment.
@Suite("Asking hosts")
struct AskingTests {
    /// Hosts of these names; the numbered one is lost.
    private func state(_ names: [String], lost: Int? = nil) -> ReplicatedState {
        var state = ReplicatedState()
        var commands = names.enumerated().map { number, name in
            Command.registerHost(
                HostRegistration(
                    id: HostID(testing: UInt64(number + 1)), bootEpoch: BootEpoch(1), name: name,
                    address: SocketAddress(10, 0, 0, 1, port: 7_400),
                    capacity: Resources(millicores: 1_000, memoryBytes: 1 << 30, sets: 10)))
        }
        if let lost {
            commands.append(
                .declareHostLost(
                    HostID(testing: UInt64(lost + 1)), BootEpoch(1), reason: "it is dead"))
        }
        for (number, command) in commands.enumerated() {
            let request = RequestID(
                host: HostID(testing: 99), bootEpoch: BootEpoch(1), number: UInt64(number + 1))
            _ = state.apply(
                CommandEnvelope(
                    request: request, proposedAt: WallTime(milliseconds: 1), command: command),
                at: LogIndex(UInt64(number + 1)), epoch: Epoch(1))
        }
        return state
    }

    @Test("a host is meant by its name or by what listings show of its identity, not by less")
    func naming() throws {
        let state = state(["web-1", "web-2"])
        let first = HostID(testing: 1)
        #expect(try state.host(called: "web-1").id == first)
        let known = try #require(state.hosts.first)
        let identity = known.id.description
        #expect(try state.host(called: identity).id == known.id)
        #expect(throws: ControlError.self) { try state.host(called: "") }
        for length in [1, 5, 9] {
            let error = #expect(throws: ControlError.self) {
                try state.host(called: String(identity.prefix(length)))
            }
            #expect(error?.message.hasPrefix("there is no host") == true)
        }
    }

    @Test("a name counts before an identity that begins so")
    func nameFirst() throws {
        let other = HostID(testing: 2).description
        let state = state([String(other.prefix(12)), "web-2"])
        #expect(try state.host(called: String(other.prefix(12))).id == HostID(testing: 1))
    }

    @Test("of two hosts of one name none is meant, unless the lost one is asked for")
    func twins() throws {
        let state = state(["web", "web"], lost: 1)
        let error = #expect(throws: ControlError.self) { try state.host(called: "web") }
        #expect(error?.message == "2 hosts are called web")
        #expect(try state.host(called: "web", preferring: .lost).id == HostID(testing: 2))
    }

    @Test("no more are asked at once than may be, and the answers come in order")
    func bound() async {
        let underWay = Mutex((now: 0, most: 0))
        let answers = await askEach(of: Array(0..<40), atOnce: 4) { number in
            underWay.withLock {
                $0.now += 1
                $0.most = max($0.most, $0.now)
            }
            for _ in 0..<(40 - number) { await Task.yield() }
            underWay.withLock { $0.now -= 1 }
            return number * 2
        }
        #expect(answers == (0..<40).map { $0 * 2 })
        #expect(underWay.withLock { $0.most } <= 4)
    }
}
