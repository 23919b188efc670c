import Base

extension World {
    /// Plans the first fault of each kind; each plans its next.
    mutating func scheduleFirstFaults() {
        for fault in [Fault.partition, .agentCrash, .hostCrash, .containerExit] {
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

    private mutating func mend() {
        for left in hosts.indices {
            for right in hosts.indices { isCut[left][right] = false }
        }
        say(nil, "mended")
    }

    /// The liveness phase begins: everything works from here on.
    mutating func endFaults() {
        faultsAreOn = false
        mend()
        for host in hosts.indices { start(host: host) }
        say(nil, "faults end")
    }
}
