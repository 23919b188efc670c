import ArgumentParser

/// The keys of `Config/shoal.yaml` as flags, for `agent` and `init`.
struct AgentFlags: ParsableArguments {
    @Option(help: ArgumentHelp("The configuration file.", valueName: "file"))
    var config: String?
    @Option(help: "The host's name, for people.")
    var name: String?
    @Option(help: ArgumentHelp("Where everything that must survive is kept.", valueName: "folder"))
    var data: String?
    @Option(help: ArgumentHelp("The local socket.", valueName: "path"))
    var socket: String?
    @Option(help: ArgumentHelp("What peers connect to.", valueName: "host:port"))
    var address: String?
    @Option(help: "This host's datacentre.")
    var datacenter: String?
    @Option(help: "This host's rack.")
    var rack: String?
    @Option(help: "The pool this host offers itself to.")
    var pool: String?
    @Option(help: ArgumentHelp("CPU offered to sets, such as 3500m.", valueName: "amount"))
    var cpu: String?
    @Option(help: ArgumentHelp("Memory offered to sets, such as 6Gi.", valueName: "amount"))
    var memory: String?
    @Option(
        help: ArgumentHelp(
            "CPU kept for the host and the agent, such as 500m.", valueName: "amount"))
    var reserveCpu: String?
    @Option(
        help: ArgumentHelp(
            "Memory kept for the host and the agent, such as 1Gi.", valueName: "amount"))
    var reserveMemory: String?
    @Option(
        help: ArgumentHelp(
            "What all sets may send, and receive, beyond the host, such as 1Gbit; or none.",
            valueName: "rate"))
    var bandwidth: String?
    @Option(
        help: ArgumentHelp(
            "Processors that other groups have to themselves, such as machine.slice=2.",
            valueName: "list"))
    var reservedCores: String?
    @Option(help: ArgumentHelp("The most sets at once.", valueName: "number"))
    var setsMax: String?
    @Option(help: ArgumentHelp("The agent's cgroup in every hierarchy.", valueName: "name"))
    var cgroupRoot: String?
    @Option(help: ArgumentHelp("The bridge of the sets.", valueName: "name"))
    var bridge: String?
    @Option(
        help: ArgumentHelp("The network every host takes a /24 of.", valueName: "network"))
    var clusterNetwork: String?
    @Option(
        help: ArgumentHelp(
            "Further networks of the datacentre, with commas between.", valueName: "networks"))
    var datacenterNetworks: String?
    @Option(help: ArgumentHelp("The OCI runtime.", valueName: "program"))
    var runtime: String?
    @Option(
        help: ArgumentHelp(
            "Further OCI runtimes, such as runsc=/usr/local/bin/runsc.", valueName: "list"))
    var runtimes: String?
    @Option(
        help: ArgumentHelp(
            "Devices that containers may have, such as /dev/fuse.", valueName: "list"))
    var allowDevices: String?
    @Option(
        help: ArgumentHelp(
            "Capabilities that containers may have, such as NET_RAW.", valueName: "list"))
    var allowCapabilities: String?
    @Option(help: ArgumentHelp("The containers' monitor.", valueName: "program"))
    var monitor: String?
    @Option(help: ArgumentHelp("LVM thin pool for volumes.", valueName: "group/pool"))
    var thinPool: String?
    @Option(help: ArgumentHelp("How long deleted volumes are kept.", valueName: "time"))
    var keepDeleted: String?
    @Option(
        help: ArgumentHelp("The most of the disk that volumes may be promised.", valueName: "bytes")
    )
    var volumeSpace: String?
    @Option(help: ArgumentHelp("Keys of servers that backups go to.", valueName: "file"))
    var backupCredentials: String?
    @Option(help: ArgumentHelp("Room for other hosts' backups; 0: none.", valueName: "bytes"))
    var backupQuota: String?

    /// What was given, by key of the configuration file.
    var given: [String: String] {
        let all: [String: String?] = [
            "name": name, "data": data, "socket": socket,
            "address": address, "datacenter": datacenter, "rack": rack, "pool": pool, "cpu": cpu,
            "memory": memory, "reserve-cpu": reserveCpu, "reserve-memory": reserveMemory,
            "bandwidth": bandwidth, "reserved-cores": reservedCores,
            "sets-max": setsMax, "cgroup-root": cgroupRoot, "bridge": bridge,
            "cluster-network": clusterNetwork, "datacenter-networks": datacenterNetworks,
            "runtime": runtime, "runtimes": runtimes, "allow-devices": allowDevices,
            "allow-capabilities": allowCapabilities, "monitor": monitor,
            "thin-pool": thinPool, "keep-deleted": keepDeleted, "volume-space": volumeSpace,
            "backup-credentials": backupCredentials, "backup-quota": backupQuota,
        ]
        return all.compactMapValues { $0 }
    }
}
