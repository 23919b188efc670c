import ClusterModel
import HostPlan

/// A set's bandwidth as this process was last told.
struct KnownBandwidth {
    /// The set's address, by which the host's total knows its packets.
    var address: IPv4Address
    /// Its limits.
    var network: NetworkSpec
}

/// One set's traffic to be brought to what is wanted.
struct TrafficChange {
    /// The set's walls; nil when the set is gone and only its share of the host's total is left.
    var wanted: SetTraffic?
    /// What is known of the set's devices.
    var knowledge: Knowledge
    /// For the error's sentence.
    var slot: SlotID
    /// Who waits for it.
    var done: CheckedContinuation<Void, any Error>

    /// What is known of a set's devices before a change.
    enum Knowledge {
        /// They were made a moment ago, so that nothing is set on them.
        case fresh
        /// What this process set last is still so, unless a change fails.
        case remembered
        /// They are to be looked at.
        case none
    }
}

/// Both shares of the host's total that a set has.
struct UplinkShares: Equatable {
    var ingress: UplinkPlan.Share
    var egress: UplinkPlan.Share
}

extension HostControl {
    /// Puts the set's bandwidth limits in place, or changes them while packets flow, or lifts them.
    ///
    /// Connections stay. Changes of several sets that meet go in one call of each tool. What a change
    /// finds missing is put right; `ensureSetNetwork` looks at everything.
    package func updateBandwidth(slot: SlotID, network: NetworkSpec) async throws {
        try checkName(slot)
        guard plan != nil else { throw HostControlError.notPrepared }
        let known = bandwidths[slot]?.address
        let address: IPv4Address
        if let known {
            address = known
        } else {
            let interface = names.interface(slot)
            let alias = try await links().first { $0.name == interface }?.alias
            guard let found = alias.flatMap({ names.assignment(alias: $0) }), found.slot == slot
            else {
                throw HostControlError.network(
                    doing: "limit the bandwidth of \(slot)", cause: "it has no \(interface)")
            }
            address = found.address
        }
        try await setBandwidth(
            slot: slot, address: address, network: network, knowledge: .remembered)
    }

    /// Sets walls and shares of one set, together with whatever else waits.
    func setBandwidth(
        slot: SlotID, address: IPv4Address, network: NetworkSpec,
        knowledge: TrafficChange.Knowledge
    ) async throws {
        let wanted = SetTraffic(
            slot: slot, network: network, names: names, inside: insideNetworks)
        guard capabilities.hasTrafficControl else {
            guard wanted.isEmpty else {
                throw HostControlError.kernelLacks(
                    feature: "bandwidth limits (sch_htb, sch_ingress, cls_u32, act_mirred, ifb)",
                    cause: trafficProblem)
            }
            return
        }
        bandwidths[slot] = KnownBandwidth(address: address, network: network)
        guard knowledge != .fresh || !wanted.isEmpty || uplink != nil else {
            trafficSet[slot] = wanted
            return
        }
        try await change(slot, wanted, knowledge)
    }

    /// Gives back what a set that is gone had of the host's total.
    func forgetBandwidth(slot: SlotID) async throws {
        trafficSet[slot] = nil
        guard bandwidths.removeValue(forKey: slot) != nil, uplink != nil else { return }
        try await change(slot, nil, .fresh)
    }

    /// The networks of the datacentre: the sets' own and the configured ones.
    private var insideNetworks: [IPv4Network] {
        var inside = [settings.clusterNetwork]
        for network in settings.datacenterNetworks where !inside.contains(network) {
            inside.append(network)
        }
        return inside
    }

    // MARK: - One after the other, all that wait at once

    private func change(
        _ slot: SlotID, _ wanted: SetTraffic?, _ knowledge: TrafficChange.Knowledge
    ) async throws {
        try await withCheckedThrowingContinuation { (done: CheckedContinuation<Void, any Error>) in
            trafficWaiting.append(
                TrafficChange(wanted: wanted, knowledge: knowledge, slot: slot, done: done))
            guard !isChangingTraffic else { return }
            isChangingTraffic = true
            Task { await self.changeTraffic() }
        }
    }

    private func changeTraffic() async {
        while !trafficWaiting.isEmpty {
            await gatherMore()
            let changes = trafficWaiting
            trafficWaiting = []
            do {
                try await apply(changes)
                for change in changes { change.done.resume() }
            } catch {
                await applyEach(changes)
            }
        }
        isChangingTraffic = false
    }

    /// After a failure of all together: looks at what is there, and lets each succeed or fail alone.
    private func applyEach(_ changes: [TrafficChange]) async {
        for var change in changes {
            if change.wanted != nil { change.knowledge = .none }
            do {
                if let plan { try await makeUplink(plan) }
                try await apply([change])
                change.done.resume()
            } catch {
                change.done.resume(throwing: error)
            }
        }
    }

    private func apply(_ changes: [TrafficChange]) async throws {
        let slots = changes.map { "\($0.slot)" }
        let doing =
            "limit the bandwidth of " + slots.prefix(3).joined(separator: ", ")
            + (slots.count > 3 ? " and \(slots.count - 3) more" : "")
        var lines: [String] = []
        var existing: [SetTraffic] = []
        for change in changes {
            guard let wanted = change.wanted else { continue }
            let last = trafficSet.removeValue(forKey: change.slot)
            switch change.knowledge {
            case .fresh: lines += wanted.commands(found: [:])
            case .remembered:
                if let last, let commands = wanted.changeCommands(from: last) {
                    lines += commands
                } else {
                    existing.append(wanted)
                }
            case .none: existing.append(wanted)
            }
        }
        var surplus: [String] = []
        if !existing.isEmpty {
            let known = try await links()
            surplus = try await makeEgressDevices(of: existing, known: known, doing: doing)
            let names = Set(known.map(\.name))
            let found = try await readTraffic(
                existing.flatMap(\.devices).filter { names.contains($0) })
            lines += existing.flatMap { $0.commands(found: found) }
        }
        let shares = shares()
        lines += shares.lines
        // Unknown until it is done: what fails half-way is set anew.
        sharesSet = [:]
        try await runTraffic(lines, doing: doing)
        sharesSet = shares.wanted
        if !surplus.isEmpty {
            try await command(
                inHost(["ip", "-batch", "-"]), input: text(surplus.map { "link del \($0)" }),
                doing: doing)
        }
        for change in changes { trafficSet[change.slot] = change.wanted }
    }

    /// Makes the devices that are missing; returns those that are not wanted any more.
    private func makeEgressDevices(
        of existing: [SetTraffic], known: [NetworkLink], doing: String
    ) async throws -> [String] {
        var lines: [String] = []
        var surplus: [String] = []
        for wanted in existing {
            let device = wanted.egressDevice
            let link = known.first { $0.name == device }
            switch (wanted.egress != nil, link) {
            case (true, nil):
                lines += NetworkPlan.egressDeviceCommands(names: names, wanted.slot)
            case (true, let link?) where !link.isUp: lines.append("link set \(device) up")
            case (false, _?): surplus.append(device)
            default: break
            }
        }
        if !lines.isEmpty {
            try await command(inHost(["ip", "-batch", "-"]), input: text(lines), doing: doing)
        }
        return surplus
    }

    /// The shares of the host's total that all known sets wish, and the `tc` lines for those that
    /// differ from what was last set.
    private func shares() -> (lines: [String], wanted: [IPv4Address: UplinkShares]) {
        guard let uplink else { return ([], [:]) }
        let sets = bandwidths.values.sorted { $0.address < $1.address }
        let ingress = uplink.shares(of: sets.map(\.network.ingress))
        let egress = uplink.shares(of: sets.map(\.network.egress))
        var wanted: [IPv4Address: UplinkShares] = [:]
        var lines: [String] = []
        for (index, set) in sets.enumerated() {
            let shares = UplinkShares(ingress: ingress[index], egress: egress[index])
            wanted[set.address] = shares
            guard sharesSet[set.address] != shares else { continue }
            lines += uplink.shareCommands(
                set.address, ingress: shares.ingress, egress: shares.egress)
        }
        for address in sharesSet.keys.sorted() where wanted[address] == nil {
            lines += uplink.shareRemovalCommands(address)
        }
        return (lines, wanted)
    }

    private func runTraffic(_ lines: [String], doing: String) async throws {
        guard !lines.isEmpty else { return }
        try await command(inHost(["tc", "-batch", "-"]), input: text(lines), doing: doing)
    }

    /// What is set on these devices, which must be there.
    private func readTraffic(_ devices: [String]) async throws -> [String: FoundTraffic] {
        guard !devices.isEmpty else { return [:] }
        // Forced: asking for the filters of a discipline that is not there is an error to tc.
        let listed = try await commands.run(
            inHost(["tc", "-force", "-batch", "-"]),
            input: Array(FoundTraffic.listCommands(devices: devices).utf8))
        guard let found = FoundTraffic.read(listed.outputText, devices: devices) else {
            throw HostControlError.network(
                doing: "see how \(devices.joined(separator: ", ")) are limited",
                cause: listed.errorText.split(separator: "\n").first.map(String.init)
                    ?? "tc names other devices")
        }
        return found
    }

    private func text(_ lines: [String]) -> String { lines.map { $0 + "\n" }.joined() }

    // MARK: - The host's total

    /// Puts the host's total in place, changes it while packets flow, or takes it away.
    func makeUplink(_ plan: NetworkPlan) async throws {
        let doing = "limit the bandwidth of the bridge \(names.bridge)"
        let known = try await links()
        let device = known.first { $0.name == names.uplinkInterface }
        let found = try await readTraffic(
            device == nil ? [names.bridge] : UplinkPlan.devices(names))
        sharesSet = [:]
        let total = try uplinkBitsPerSecond()
        if case .fixed = settings.uplink, !capabilities.hasTrafficControl {
            throw HostControlError.kernelLacks(
                feature: "the `bandwidth` of this host", cause: trafficProblem)
        }
        guard let total, capabilities.hasTrafficControl else {
            uplink = nil
            try await runTraffic(
                UplinkPlan.removalCommands(names, found: found), doing: doing)
            try await removeUplinkDevice(known)
            return
        }
        if device?.isUp != true {
            let lines =
                device == nil
                ? UplinkPlan.deviceCommands(names) : ["link set \(names.uplinkInterface) up"]
            try await command(inHost(["ip", "-batch", "-"]), input: text(lines), doing: doing)
        }
        let wanted = UplinkPlan(names: names, subnet: plan.subnet, bitsPerSecond: total)
        try await runTraffic(wanted.commands(found: found), doing: doing)
        uplink = wanted
    }

    /// Brings the host's total in line with a link whose speed changed, while packets flow.
    package func renewUplink() async throws {
        guard let plan, try uplinkBitsPerSecond() != uplink?.bitsPerSecond else { return }
        try await makeUplink(plan)
        guard let known = bandwidths.first else { return }
        // Any set's change sets the shares of all anew.
        try await setBandwidth(
            slot: known.key, address: known.value.address, network: known.value.network,
            knowledge: .remembered)
    }

    /// Removes the device of the host's total, if it is there.
    func removeUplinkDevice(_ known: [NetworkLink]) async throws {
        guard known.contains(where: { $0.name == names.uplinkInterface }) else { return }
        try await command(
            inHost(["ip", "-batch", "-"]), input: "link del \(names.uplinkInterface)\n",
            doing: "remove \(names.uplinkInterface)")
    }

    /// Removes the egress devices of sets whose network namespace is gone, as after a crash.
    func removeStrayEgressDevices(_ known: [NetworkLink]) async throws {
        var lines: [String] = []
        for link in known {
            guard let slot = link.alias.flatMap({ names.egressSlot(alias: $0) }),
                link.name == names.egressInterface(slot),
                !KernelFile.isNamespace(names.namespacePath(slot))
            else { continue }
            lines.append("link del \(link.name)")
        }
        guard !lines.isEmpty else { return }
        try await command(
            inHost(["ip", "-batch", "-"]), input: text(lines),
            doing: "remove what sets left at \(names.bridge)")
    }

    /// Tries all that limits need on a device made for that.
    func detectTrafficControl() async throws {
        guard !capabilities.hasTrafficControl else { return }
        let device = names.probeInterface
        let make = ["link add \(device) type ifb", "link set \(device) up"]
        // One that a crash left would be in the way.
        _ = try await commands.run(
            inHost(["ip", "-force", "-batch", "-"]), input: Array("link del \(device)\n".utf8))
        let made = try await commands.run(
            inHost(["ip", "-batch", "-"]), input: Array(text(make).utf8))
        guard made.exitCode == 0 else {
            trafficProblem = "no ifb device: \(made.errorText)"
            return
        }
        let tree = TrafficTree(
            device: device, ceiling: 1_000_000,
            leaves: [.init(minor: TrafficTree.restMinor, rate: 1_000_000, ceiling: 1_000_000)],
            filters: [.inside(settings.clusterNetwork, .source)])
        let nothing = FoundTraffic()
        let lines =
            tree.commands(found: nothing)
            + TrafficRedirect.commands(device: device, target: device, found: nothing)
        let tried = try await commands.run(
            inHost(["tc", "-batch", "-"]), input: Array(text(lines).utf8))
        capabilities.hasTrafficControl = tried.exitCode == 0
        trafficProblem = tried.errorText.split(separator: "\n").first.map(String.init) ?? ""
        try await command(
            inHost(["ip", "-batch", "-"]), input: "link del \(device)\n",
            doing: "remove \(device)")
    }
}
