import Base

extension World {
    /// A datagram may be lost, delayed, doubled and overtaken.
    mutating func sendDatagram(_ bytes: [UInt8], from sender: Int, to address: SocketAddress) {
        guard let receiver = hosts.firstIndex(where: { $0.address == address }),
            !isCut[sender][receiver]
        else { return }
        guard !networkRandom.happens(perThousand: options.lossPerThousand) || !faultsAreOn else {
            return
        }
        var copies = 1
        if faultsAreOn, networkRandom.happens(perThousand: options.duplicatesPerThousand) {
            copies = 2
        }
        var arrivals = (0..<copies).map { _ in now + delay() }
        if faultsAreOn, networkRandom.happens(perThousand: options.replaysPerThousand) {
            arrivals.append(now + networkRandom.duration(in: .seconds(1) ... .seconds(20)))
        }
        for arrival in arrivals {
            queue.schedule(
                .datagram(
                    bytes, from: hosts[sender].id, bootEpoch: hosts[sender].bootEpoch,
                    address: hosts[sender].address, to: receiver),
                at: arrival)
        }
    }

    /// A message over a kept connection arrives in order, or not at all when the way is cut.
    mutating func sendMessage(_ bytes: [UInt8], from sender: Int, to id: HostID) {
        guard let receiver = hosts.firstIndex(where: { $0.id == id }), !isCut[sender][receiver],
            !isCut[receiver][sender]
        else { return }
        let arrival = max(now + delay(), lastArrival[sender][receiver] + .nanoseconds(1))
        lastArrival[sender][receiver] = arrival
        queue.schedule(
            .message(
                bytes, from: sender, id: hosts[sender].id, bootEpoch: hosts[sender].bootEpoch,
                to: id),
            at: arrival)
    }

    /// The shortest way plus an exponentially distributed wait, without floating point: the mean
    /// times the number of leading zeros of a random word, which is geometric with mean one.
    private mutating func delay() -> Duration {
        let doublings = Int64(networkRandom.next().leadingZeroBitCount)
        let jitter = networkRandom.duration(in: .zero...options.delayMean)
        return options.delayMin
            + .nanoseconds(options.delayMean.inNanoseconds * min(doublings, 8) / 2) + jitter
    }
}
