import Base
import Consensus
import PeerCore

extension World {
    /// Plans the first fault of each kind; each plans its next.
    mutating func scheduleFirstFaults() {
        let kinds: [Fault] = [
            .partition, .agentCrash, .hostCrash, .containerExit, .stall, .slowDisk, .hostLoss,
        ]
        for fault in kinds {
            scheduleNext(fault, after: .seconds(5))
        }
    }

    private mutating func scheduleNext(_ fault: Fault, after earliest: Duration = .zero) {
        let mean: Duration?
        switch fault {
        case .partition: mean = options.partitionEvery
        case .agentCrash: mean = options.agentCrashEvery
        case .hostCrash: mean = options.hostCrashEvery
        case .containerExit: mean = options.containerExitEvery
        case .stall: mean = options.stallEvery
        case .slowDisk: mean = options.slowDiskEvery
        case .hostLoss: mean = options.hostLossEvery
        case .heal, .start: mean = nil
        }
        guard let mean else { return }
        let wait = faultRandom.duration(in: .zero...(.nanoseconds(2 * mean.inNanoseconds)))
        queue.schedule(.fault(fault), at: now + earliest + wait)
    }

    mutating func happen(_ fault: Fault) {
        if case .start(let host) = fault { return start(host: host) }
        guard faultsAreOn else { return }
        switch fault {
        case .partition:
            cut()
            queue.schedule(
                .fault(.heal),
                at: now + faultRandom.duration(in: .seconds(1)...(.seconds(30))))
        case .heal:
            mend()
        case .agentCrash, .hostCrash:
            let host = Int.random(in: 0..<hosts.count, using: &faultRandom)
            guard hosts[host].peer != nil else { break }
            if case .hostCrash = fault { crashHost(host) } else { crashAgent(host) }
            queue.schedule(
                .fault(.start(host: host)),
                at: now + faultRandom.duration(in: .milliseconds(200)...(.seconds(30))))
        case .containerExit:
            exitSomeContainer()
        case .stall:
            let host = Int.random(in: 0..<hosts.count, using: &faultRandom)
            let length = faultRandom.duration(in: .milliseconds(200) ... .seconds(8))
            hosts[host].stalledUntil = now + length
            say(host, "stalls for \(length.inMilliseconds) ms")
        case .slowDisk:
            let host = Int.random(in: 0..<hosts.count, using: &faultRandom)
            hosts[host].diskSlowUntil =
                now + faultRandom.duration(in: .seconds(2) ... .seconds(20))
            say(host, "disk is slow")
        case .hostLoss:
            if let host = expendableHost() {
                loseHost(host)
                queue.schedule(
                    .fault(.start(host: host)),
                    at: now + faultRandom.duration(in: .seconds(1) ... .seconds(30)))
            }
        case .start:
            break
        }
        scheduleNext(fault)
    }

    /// Splits the hosts in two at random; one time in four only one direction is cut.
    private mutating func cut() {
        let sides = hosts.indices.map { _ in Bool.random(using: &faultRandom) }
        let oneWay = faultRandom.happens(perThousand: 250)
        for left in hosts.indices {
            for right in hosts.indices where sides[left] != sides[right] {
                if !oneWay || sides[left] { isCut[left][right] = true }
            }
        }
        say(nil, "cut \(sides.map { $0 ? "1" : "0" }.joined())\(oneWay ? " one way" : "")")
    }

    /// Cuts one host off from all others, both ways.
    mutating func isolate(_ host: Int) {
        for other in hosts.indices where other != host {
            isCut[host][other] = true
            isCut[other][host] = true
        }
        say(host, "is cut off")
    }

    mutating func mend() {
        for left in hosts.indices {
            for right in hosts.indices { isCut[left][right] = false }
        }
        say(nil, "mended")
    }

    /// The liveness phase begins: everything works from here on.
    mutating func endFaults() {
        faultsAreOn = false
        mend()
        for host in hosts.indices {
            hosts[host].stalledUntil = .zero
            hosts[host].diskSlowUntil = .zero
            start(host: host)
        }
        say(nil, "faults end")
    }

    /// A host that may be lost for good without losing a majority: chosen only when all voters are
    /// up, there are at least three, and every host knows all that was agreed.
    private mutating func expendableHost() -> Int? {
        let host = Int.random(in: 0..<hosts.count, using: &faultRandom)
        guard let voters = hosts[host].peer?.consensus.voters, voters.count >= 3,
            voters.allSatisfy({ voter in hosts.contains { $0.id == voter } })
        else { return nil }
        for other in hosts {
            guard other.peer?.consensus.voters == voters,
                other.peer?.appliedIndex == hosts[host].peer?.appliedIndex
            else { return nil }
        }
        return host
    }
}
