import ClusterModel
import EventLoop
import Glibc
import HostPlan

/// What this machine offers for keeping limits.
package struct HostCapabilities: Sendable {
    /// The control groups: version, mount points, hybrid mount.
    package var cgroups: CgroupLayout
    /// True when nftables can translate addresses, without which no port can be published and sets
    /// reach nothing beyond this host; known after `prepare`.
    package var hasAddressTranslation: Bool
    /// True when nftables can hand connections out in turn; known after `prepare`.
    package var hasNumgen: Bool
    /// True when the kernel has what tc needs, without which no bandwidth limit is kept; known after `prepare`.
    package var hasTrafficControl: Bool
    /// The kernel's release.
    package var kernelRelease: String
}

/// Gives sets their limits and their network on this host, and reads back what they use.
///
/// A thin applier of `CgroupPlan` and `NetworkPlan`: every call is idempotent and repairs what an
/// earlier one left half done, so that the agent may simply call again. Calls for different sets may
/// overlap; calls for one set must not. Commands act in the agent's own network namespace, or in the
/// one that the settings name.
package actor HostControl {
    /// The settings.
    package nonisolated let settings: HostControlSettings
    /// What the machine offers.
    package internal(set) var capabilities: HostCapabilities

    /// Who runs on which processors.
    var cores = CoreBook()
    /// Descriptors that hold what this agent has claimed of the machine.
    var claims: [Int32] = []
    let names: NetworkNames
    let commands: CommandRunner
    /// The network of this host; nil until `prepare` knows its subnet.
    var plan: NetworkPlan?
    /// The last replacement of the nftables table, which the next one waits for.
    var lastPublish: Task<Void, any Error>?

    /// The host's total; nil when there is none.
    var uplink: UplinkPlan?
    /// Why the kernel cannot translate addresses; nil while it can or was not asked.
    package internal(set) var translationProblem: HostControlError?
    /// The bandwidth of every set that this process has set up or changed.
    var bandwidths: [SlotID: KnownBandwidth] = [:]
    /// The walls of every set as they were last set without a failure.
    var trafficSet: [SlotID: SetTraffic] = [:]
    /// The shares of the host's total that were last set; those that are not known are set again.
    var sharesSet: [IPv4Address: UplinkShares] = [:]
    /// Changes of sets' traffic that wait for the one under way.
    var trafficWaiting: [TrafficChange] = []
    var isChangingTraffic = false
    /// Cables that wait for those being made.
    var cablesWaiting: [(lines: String, done: CheckedContinuation<Bool, Never>)] = []
    var isMakingCables = false
    /// Why the kernel cannot limit bandwidth; empty while it can or was not asked.
    var trafficProblem = ""

    /// Looks at the machine; throws when the settings are wrong or the machine lacks what limits and
    /// networks need, with a sentence that says what to do.
    package init(settings: HostControlSettings, commands: CommandRunner) throws(HostControlError) {
        let problems = settings.problems()
        guard problems.isEmpty,
            let names = NetworkNames(instance: settings.instance, bridge: settings.bridge)
        else { throw .badSettings(problems) }
        for (program, package) in [
            ("ip", "iproute2"), ("tc", "iproute2"), ("nft", "nftables"), ("nsenter", "util-linux"),
        ] where KernelFile.program(program) == nil {
            throw .programMissing(program: program, package: package)
        }
        let cgroups = try HostControl.detectCgroups()
        guard settings.reservations.isEmpty || cgroups.mountPoint(of: "cpuset") != nil else {
            throw .kernelLacks(
                feature: "reserved cores",
                cause: "control groups have no `cpuset` controller here")
        }
        self.settings = settings
        self.names = names
        self.commands = commands
        capabilities = HostCapabilities(
            cgroups: cgroups, hasAddressTranslation: false, hasNumgen: false,
            hasTrafficControl: false,
            kernelRelease: try MachineFacts.read(layout: cgroups).kernelRelease)
    }

    deinit { for claim in claims { close(claim) } }

    /// The machine's processors, memory and names.
    package func machineFacts() throws(HostControlError) -> MachineFacts {
        var facts = try MachineFacts.read(layout: capabilities.cgroups)
        facts.bandwidthBitsPerSecond = try uplinkBitsPerSecond()
        facts.processorCount = max(0, facts.processorCount - (try reservedProcessorCount()))
        return facts
    }

    /// Makes what all sets share: the root group, the bridge with the host's address and the host's
    /// total of bandwidth, forwarding, and the nftables table, which is left alone when it is this subnet's already.
    ///
    /// `publishing`: false leaves the table out, for a kernel without nftables; then no ports can
    /// be published and sets do not reach beyond the host.
    package func prepare(subnetIndex: Int, publishing: Bool = true) async throws {
        guard let subnet = settings.clusterNetwork.hostSubnet(index: subnetIndex) else {
            throw HostControlError.noSubnet(
                index: subnetIndex, count: settings.clusterNetwork.hostSubnetCount)
        }
        for step in CgroupPlan.rootSteps(layout: capabilities.cgroups, root: settings.cgroupRoot) {
            try apply(step)
        }
        let plan = NetworkPlan(names: names, subnet: subnet)
        try await makeBridge(plan)
        try await allowForwarding()
        try await detectTrafficControl()
        try await removeStrayEgressDevices(try await links())
        try await makeUplink(plan)
        guard publishing else {
            self.plan = plan
            return
        }
        try await detectTables(plan)
        self.plan = plan
        guard capabilities.hasAddressTranslation else { return }
        let listed = try await commands.run(inHost(["nft", "list", "table", "ip", names.table]))
        if listed.exitCode != 0 || !listed.outputText.contains("ip saddr \(subnet) ") {
            try await publish([])
        }
    }

    /// Removes everything of this agent: sets with their processes, bridge, table, root group.
    ///
    /// Goes on after a failure and throws the first one at the end.
    package func tearDown() async throws {
        var failures: [any Error] = []
        for slot in existingSetCgroups() {
            do { try await removeSetCgroup(slot: slot) } catch { failures.append(error) }
        }
        do {
            for network in try await existingSetNetworks() {
                try await removeSetNetwork(slot: network.slot)
            }
        } catch { failures.append(error) }
        do { try removeRootGroup() } catch { failures.append(error) }
        do { try await removeTable() } catch { failures.append(error) }
        do {
            try await removeStrayEgressDevices(try await links())
            try await removeUplinkDevice(try await links())
        } catch { failures.append(error) }
        do { try await removeBridge() } catch { failures.append(error) }
        plan = nil
        uplink = nil
        bandwidths = [:]
        trafficSet = [:]
        sharesSet = [:]
        if let failure = failures.first { throw failure }
    }

    // MARK: - Helpers

    private static func detectCgroups() throws(HostControlError) -> CgroupLayout {
        let mountInfo = try KernelFile.read("/proc/self/mountinfo")
        var controllers: String?
        if let mount = CgroupLayout.unifiedMount(mountInfo: mountInfo) {
            controllers = try KernelFile.readIfPresent("\(mount)/cgroup.controllers")
        }
        do {
            return try CgroupLayout.detect(mountInfo: mountInfo, v2Controllers: controllers)
        } catch {
            throw .cgroupsUnusable(error)
        }
    }

    /// The command as it must be called to act in the host's network namespace.
    func inHost(_ command: [String]) -> [String] {
        settings.networkNamespace.map { ["nsenter", "--net=/run/netns/\($0)"] + command } ?? command
    }

    /// Runs a command with its input; a failure says what was being done.
    func command(_ command: [String], input: String, doing: String) async throws {
        do {
            try await commands.check(command, input: Array(input.utf8))
        } catch let error as CommandError {
            throw HostControlError.network(doing: doing, cause: "\(error)")
        }
    }

    /// True for a set whose name can be a folder's.
    func isProper(_ slot: SlotID) -> Bool { (try? checkName(slot)) != nil }

    /// Refuses names that could lead outside a set's folder or break a command's line.
    func checkName(_ slot: SlotID, container: String? = nil) throws(HostControlError) {
        for name in [slot.service, container].compactMap({ $0 }) {
            guard name.utf8.count <= 64, isFolderName(name[...]) else { throw .badName(name) }
        }
        guard slot.ordinal >= 0 else { throw .badName("\(slot)") }
    }
}
