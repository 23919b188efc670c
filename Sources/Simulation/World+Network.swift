import Base

extension World {
    /// A datagram may be lost, delayed, doubled and overtaken.
    ///
    /// As on the wire it is for one start of one agent; who knows no more than an address is told
    /// whom it reached (that exchange itself is not played).
    mutating func sendDatagram(
        _ bytes: [UInt8], from sender: Int, to address: SocketAddress, receiver named: PeerIdentity?
    ) {
        guard let receiver = hosts.firstIndex(where: { $0.address == address }),
            !isCut[sender][receiver]
        else { return }
        guard !networkRandom.happens(perThousand: options.lossPerThousand) || !faultsAreOn else {
            return
        }
        let origin = hosts[sender].identity
        var target = named ?? hosts[receiver].identity
        if let newer = heard[origin]?[target.hostID], newer > target.bootEpoch {
            target.bootEpoch = newer
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
                    bytes, from: origin, address: hosts[sender].address, to: receiver, target),
                at: arrival)
        }
    }

    /// Hands a datagram over if it is meant for this start of this host; if it is for an earlier
    /// start, its sender is told of this one.
    mutating func deliver(
        _ bytes: [UInt8], from sender: PeerIdentity, address: SocketAddress, to host: Int,
        meantFor receiver: PeerIdentity
    ) {
        let own = hosts[host].identity
        guard receiver.hostID == own.hostID else { return }
        guard receiver.bootEpoch == own.bootEpoch else {
            guard let origin = hosts.firstIndex(where: { $0.identity == sender }),
                !isCut[host][origin]
            else { return }
            return hear(own, by: sender)
        }
        hear(sender, by: own)
        feed(
            .datagram(
                bytes, from: sender.hostID, bootEpoch: sender.bootEpoch, address: address),
            to: host)
    }

    private mutating func hear(_ peer: PeerIdentity, by listener: PeerIdentity) {
        let known = heard[listener]?[peer.hostID] ?? peer.bootEpoch
        heard[listener, default: [:]][peer.hostID] = max(known, peer.bootEpoch)
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
