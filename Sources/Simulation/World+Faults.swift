import Base
import Consensus
import PeerCore

extension World {
    /// Plans the first fault of each kind; each plans its next.
    mutating func scheduleFirstFaults() {
        let kinds: [Fault] = [
            .partition, .agentCrash, .hostCrash, .containerExit, .stall, .slowDisk, .hostLoss,
            .visit,
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
        case .visit: mean = options.visitEvery
        case .heal, .start, .depart: mean = nil
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
            let host = Int.random(in: 0..<hosts.count, using: &faultRandom)
            if !hosts[host].isAway, isExpendable(host) {
                loseHost(host)
                queue.schedule(
                    .fault(.start(host: host)),
                    at: now + faultRandom.duration(in: .seconds(1) ... .seconds(30)))
            }
        case .visit:
            guard let host = hosts.indices.last, hosts[host].isAway else { break }
            hosts[host].isAway = false
            start(host: host)
            queue.schedule(
                .fault(.depart(host: host)),
                at: now + faultRandom.duration(in: .seconds(3) ... .seconds(30)))
        case .depart(let host):
            guard isExpendable(host) else {
                queue.schedule(.fault(.depart(host: host)), at: now + .seconds(2))
                break
            }
            loseHost(host)
            hosts[host].isAway = true
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

    /// True when a host may be lost for good: a majority of the voters, dead ones counted, is left
    /// without it, all agents are up, and every host knows all that was agreed.
    private func isExpendable(_ host: Int) -> Bool {
        let present = hosts.filter { !$0.isAway }
        guard let voters = hosts[host].peer?.consensus.voters else { return false }
        let left = voters.count { voter in
            voter != hosts[host].id && present.contains { $0.id == voter }
        }
        guard left > voters.count / 2 else { return false }
        return present.allSatisfy {
            $0.peer?.consensus.voters == voters
                && $0.peer?.appliedIndex == hosts[host].peer?.appliedIndex
        }
    }
}
