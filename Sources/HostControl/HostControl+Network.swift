import CLinux
import ClusterModel
import EventLoop
import Glibc
import HostPlan

/// One set's network as found on the host.
package struct ExistingSetNetwork: Hashable, Sendable {
    /// The set.
    package let slot: SlotID
    /// Its network namespace's file.
    package let path: String
    /// Its address; nil when its cable is missing, and then `ensureSetNetwork` repairs it.
    package let address: IPv4Address?
}

extension HostControl {
    /// Makes the set's network namespace with its address and limits; returns the namespace's file,
    /// such as `/run/netns/shoal-3f9a1c22d0-web.3`.
    ///
    /// A namespace that exists is kept, since containers may run in it, and what is missing or wrong
    /// in it is put right.
    @discardableResult
    package func ensureSetNetwork(
        slot: SlotID, address: IPv4Address, network: NetworkSpec
    ) async throws -> String {
        try checkName(slot)
        guard let plan else { throw HostControlError.notPrepared }
        guard plan.subnet.contains(address) else {
            throw HostControlError.foreignAddress(
                slot: slot, address: address, subnet: plan.subnet)
        }
        if !network.publish.isEmpty, let translationProblem { throw translationProblem }
        let path = names.namespacePath(slot)
        let doing = "connect \(slot) to \(names.bridge)"
        var isFresh = true
        if KernelFile.isNamespace(path) {
            isFresh = false
            try await repairCable(slot: slot, address: address, plan: plan, doing: doing)
        } else {
            // What an earlier namespace of the name left: an empty file without its mount.
            unlink(path)
            let fresh = plan.cableCommands(
                slot, address: address, withNamespace: true,
                withEgressDevice: capabilities.hasTrafficControl
                    && SetTraffic(slot: slot, network: network, names: names, inside: [])
                        .egress != nil
            )
            if await makeCable(fresh) {
                try configureInside(slot: slot, address: address, plan: plan, doing: doing)
            } else {
                isFresh = false
                try await repairCable(slot: slot, address: address, plan: plan, doing: doing)
            }
        }
        try await setBandwidth(
            slot: slot, address: address, network: network,
            knowledge: isFresh ? .fresh : .none)
        return path
    }

    /// Removes the set's cable and namespace; nothing happens when they are gone.
    ///
    /// The namespace itself ends with the last process in it.
    package func removeSetNetwork(slot: SlotID) async throws {
        try checkName(slot)
        let commandLine = inHost(["ip", "-force", "-batch", "-"])
        let removal = NetworkPlan.removalCommands(names: names, slot)
        let result = try await commands.run(commandLine, input: Array(removal.utf8))
        // Without a complaint all is gone; with one, it may have been about what never was.
        if result.exitCode != 0 {
            let devices = [names.interface(slot), names.egressInterface(slot)]
            let isInPlace =
                KernelFile.exists(names.namespacePath(slot))
                ? true : try await links().contains { devices.contains($0.name) }
            guard !isInPlace else {
                throw HostControlError.network(
                    doing: "remove the network of \(slot)", cause: result.errorText)
            }
        }
        try await forgetBandwidth(slot: slot)
    }

    /// The sets of this agent that have a network namespace, sorted, with the addresses that
    /// `AddressBook` should know after a restart.
    package func existingSetNetworks() async throws -> [ExistingSetNetwork] {
        let slots = KernelFile.names(in: "/run/netns", foldersOnly: false)
            .compactMap { names.slot(namespace: $0) }.sorted()
        guard !slots.isEmpty else { return [] }
        let assignments = try await links().compactMap(\.alias)
            .compactMap { names.assignment(alias: $0) }
        return slots.map { slot in
            ExistingSetNetwork(
                slot: slot, path: names.namespacePath(slot),
                address: assignments.first { $0.slot == slot }?.address)
        }
    }

    /// Replaces all published ports of this host at once; connections that are under way stay.
    ///
    /// Calls take effect in the order they were made. Throws `kernelLacks` where the kernel cannot
    /// translate addresses, unless there is nothing to publish.
    package func publish(_ backends: [PublishedBackend]) async throws {
        guard let plan else { throw HostControlError.notPrepared }
        if let translationProblem {
            guard backends.isEmpty else { throw translationProblem }
            return
        }
        // What leads the peers' packets to a set takes the host out of its cluster.
        let script = plan.publishScript(
            backends.filter { $0.hostPort != settings.ownPort }, hasNumgen: capabilities.hasNumgen)
        let previous = lastPublish
        let task = Task {
            _ = await previous?.result
            try await command(
                inHost(["nft", "-f", "-"]), input: script,
                doing: "publish ports in the table \(names.table)")
        }
        lastPublish = task
        try await task.value
    }

    // MARK: - Bridge

    func makeBridge(_ plan: NetworkPlan) async throws {
        let doing = "make the bridge \(names.bridge)"
        let exists = try await links().contains { $0.name == names.bridge }
        try await command(
            inHost(["ip", "-batch", "-"]), input: plan.bridgeCommands(exists: exists), doing: doing)
        guard exists else { return }
        // An address of an earlier subnet would answer for sets of another host.
        let listed = try await commands.check(
            inHost(["ip", "-o", "-4", "addr", "show", "dev", names.bridge]))
        let stale = plan.staleAddressCommands(listing: listed.outputText)
        if !stale.isEmpty {
            try await command(inHost(["ip", "-batch", "-"]), input: stale, doing: doing)
        }
    }

    func removeBridge() async throws {
        guard try await links().contains(where: { $0.name == names.bridge }) else { return }
        try await command(
            inHost(["ip", "-batch", "-"]), input: "link del \(names.bridge)\n",
            doing: "remove the bridge \(names.bridge)")
    }

    func removeTable() async throws {
        _ = await lastPublish?.result
        let listed = try await commands.run(inHost(["nft", "list", "table", "ip", names.table]))
        guard listed.exitCode == 0 else { return }
        try await command(
            inHost(["nft", "-f", "-"]), input: NetworkPlan.unpublishScript(names: names),
            doing: "remove the table \(names.table)")
    }

    func allowForwarding() async throws {
        let file = "/proc/sys/net/ipv4/ip_forward"
        guard settings.networkNamespace != nil else {
            return try KernelFile.write("1", to: file)
        }
        try await command(
            inHost(["sh", "-c", "echo 1 > \(file)"]), input: "", doing: "allow forwarding")
    }

    /// Checks without applying that the kernel understands the kind of table that ports need.
    func detectTables(_ plan: NetworkPlan) async throws {
        let targets = [2, 3].compactMap { plan.subnet.address(at: $0) }
            .map { PublishedBackend.Target(address: $0, port: 80) }
        let probe = PublishedBackend(
            service: "probe", hostPort: 80, transport: .tcp, targets: targets)
        var said = ""
        for hasNumgen in [true, false] {
            let script = plan.publishScript([probe], hasNumgen: hasNumgen)
            let result = try await commands.run(
                inHost(["nft", "--check", "-f", "-"]), input: Array(script.utf8))
            guard result.exitCode != 0 else {
                capabilities.hasAddressTranslation = true
                capabilities.hasNumgen = hasNumgen
                translationProblem = nil
                return
            }
            said = result.errorText.split(separator: "\n").first.map(String.init) ?? ""
        }
        capabilities.hasAddressTranslation = false
        translationProblem = .kernelLacks(
            feature: "address translation by nftables (nft_nat, nft_masq, nft_fib), so no set here "
                + "can publish ports or reach other hosts", cause: said)
    }

    /// All interfaces in the host's namespace.
    func links() async throws -> [NetworkLink] {
        NetworkLink.list(
            try await commands.check(inHost(["ip", "-o", "link", "show"])).outputText)
    }

    // MARK: - Cable

    /// Makes the cable again unless it is this set's, on the bridge, up, and works inside.
    private func repairCable(
        slot: SlotID, address: IPv4Address, plan: NetworkPlan, doing: String
    ) async throws {
        let interface = names.interface(slot)
        let link = try await links().first { $0.name == interface }
        if let alias = link?.alias, let owner = names.assignment(alias: alias)?.slot, owner != slot
        {
            throw HostControlError.interfaceTaken(interface: interface, slot: slot, by: alias)
        }
        let isRight =
            link?.alias == names.alias(slot, address: address) && link?.master == names.bridge
            && link?.isUp == true
        if isRight {
            do {
                try configureInside(slot: slot, address: address, plan: plan, doing: doing)
                return
            } catch {
                // The other end is not in this namespace: make the cable again.
            }
        }
        if link != nil {
            // Fails where the kernel was faster: it removes cables some time after their namespace.
            _ = try await commands.run(inHost(["ip", "link", "del", interface]))
        }
        let lines = plan.cableCommands(
            slot, address: address,
            withNamespace: !KernelFile.isNamespace(names.namespacePath(slot)))
        try await command(inHost(["ip", "-batch", "-"]), input: lines, doing: doing)
        try configureInside(slot: slot, address: address, plan: plan, doing: doing)
    }

    /// Makes a cable together with all others that are asked for meanwhile, by one call of `ip`;
    /// false when the call failed, after which each is to be looked at alone.
    private func makeCable(_ lines: String) async -> Bool {
        await withCheckedContinuation { done in
            cablesWaiting.append((lines, done))
            guard !isMakingCables else { return }
            isMakingCables = true
            Task { await self.makeCables() }
        }
    }

    /// Waits for what is about to be asked for, too: starting a tool costs more processor time than
    /// what it does for one set, and a host that fills up asks for many at once.
    func gatherMore() async {
        // Only a task that is cancelled ends this early, which does no harm.
        try? await Task.sleep(for: .milliseconds(3))
    }

    private func makeCables() async {
        while !cablesWaiting.isEmpty {
            await gatherMore()
            let cables = cablesWaiting
            cablesWaiting = []
            let lines = cables.map(\.lines).joined()
            let result = try? await commands.run(
                inHost(["ip", "-batch", "-"]), input: Array(lines.utf8))
            for cable in cables { cable.done.resume(returning: result?.exitCode == 0) }
        }
        isMakingCables = false
    }

    /// Sets address and route inside a set's namespace, whichever the host's own is.
    private func configureInside(
        slot: SlotID, address: IPv4Address, plan: NetworkPlan, doing: String
    ) throws(HostControlError) {
        let inside = plan.inside(address: address)
        let path = names.namespacePath(slot)
        var step: UnsafePointer<CChar>?
        let status = clinux_network_configure(
            path, inside.address.value, UInt32(inside.prefixLength), inside.gateway.value, &step)
        guard status == 0 else {
            let what = step.map { String(cString: $0) } ?? "configure it"
            throw .network(
                doing: doing,
                cause: "cannot \(what) in \(path): \(String(cString: strerror(-status)))")
        }
    }
}
