/// One broken rule of a spec.
package struct SpecProblem: Hashable, Sendable, CustomStringConvertible {
    /// Where: such as `containers[0].memory.limit`, in the words of the YAML file.
    package var path: String
    /// What is wrong and what is allowed.
    package var sentence: String

    package init(path: String, sentence: String) {
        self.path = path
        self.sentence = sentence
    }

    package var description: String { "\(path): \(sentence)" }
}

/// The bounds of a spec.
package enum SpecLimits {
    /// Sets of one service.
    package static let sets = 0...100_000
    /// A service's priority.
    package static let priority = 0...100
    /// Containers of one set.
    package static let containers = 16
    /// Arguments of one command.
    package static let arguments = 256
    /// Bytes of one argument.
    package static let argumentBytes = 4_096
    /// Environment variables of one container.
    package static let variables = 256
    /// Bytes of a variable's name.
    package static let variableNameBytes = 256
    /// Bytes of a variable's value.
    package static let variableValueBytes = 32_768
    /// Bytes of commands and environments of the whole spec: it is copied to every host.
    package static let textBytes = 131_072
    /// Published ports of one service.
    package static let ports = 64
    /// Names in a list of `placement`.
    package static let names = 64
    /// Processor limit: from the kernel's smallest quota (1 ms in 100 ms) to 1,024 cores.
    package static let cpuLimitMillicores = 10...1_024_000
    /// Memory limit: 4 MiB, below which a container's start itself is killed, to 16 TiB.
    package static let memoryLimitBytes = (4 << 20)...(16 << 40)
    /// Volumes of one service.
    package static let volumes = 16
    /// Bytes of a volume's name.
    package static let volumeNameBytes = 32
    /// A volume's size: 16 MiB, below which file systems hold little but themselves, to 64 TiB.
    package static let volumeBytes = (16 << 20)...(64 << 40)
    /// The time between two backups or two drills of a volume: from ten seconds to a year.
    package static let backupSeconds = 10...(366 * 86_400)
    /// How long a host must be lost before its volumes are restored elsewhere.
    package static let restoreOnLossSeconds = 0...(366 * 86_400)
    /// Backups kept of one volume.
    package static let backups = 100
    /// Hosts that keep a volume's backups.
    package static let backupCopies = 1...5
    /// Bytes of a backup's target.
    package static let backupTargetBytes = 512
    /// Swap beyond the memory limit.
    package static let swapBytes = 0...(16 << 40)
    /// Weight of input and output: what the kernel's BFQ scheduler knows.
    package static let ioWeight = 1...1_000
    /// Caps of input and output: below 64 KiB in a second a container could not even end in time.
    package static let ioBytesPerSecond = (64 << 10)...(1 << 40)
    /// Caps of operations: the kernel counts in 32 bits.
    package static let ioOperationsPerSecond = 10...1_000_000_000
    /// Processes: up to the kernel's own bound (PID_MAX_LIMIT).
    package static let pids = 1...4_194_304
    /// Rates in bits per second: from 1 kbit, tc's smallest unit, to 1 Tbit.
    package static let bitsPerSecond = 1_000...1_000_000_000_000
}

extension ServiceSpec {
    /// What one set takes: the sum of its containers' requests, its guaranteed bandwidth, and one
    /// set.
    ///
    /// Stops at `Int.max` for a spec that `problems()` refuses, instead of trapping.
    package var demand: Resources {
        var demand = Resources(
            sets: 1, egressBitsPerSecond: network.egress?.rateBitsPerSecond ?? 0,
            ingressBitsPerSecond: network.ingress?.rateBitsPerSecond ?? 0)
        for container in containers {
            demand.millicores = saturatingSum(demand.millicores, container.cpu.requestMillicores)
            demand.memoryBytes = saturatingSum(demand.memoryBytes, container.memory.requestBytes)
        }
        return demand
    }

    /// Every broken rule, not only the first; empty for a spec that may be applied.
    package func problems() -> [SpecProblem] {
        var list = ProblemList()
        list.check(name: name, at: "service")
        list.check(label: pool, at: "pool")
        list.check(sets, in: SpecLimits.sets, at: "sets")
        list.check(priority, in: SpecLimits.priority, at: "priority")
        if containers.isEmpty || containers.count > SpecLimits.containers {
            list.add(
                "containers",
                "a set has 1 to \(SpecLimits.containers) containers, not \(containers.count)")
        }
        for (position, container) in containers.prefix(SpecLimits.containers).enumerated() {
            container.check(at: "containers[\(position)]", into: &list)
        }
        list.check(unique: containers.map(\.name)) { "containers[\($0)].name" }
        if textBytes > SpecLimits.textBytes {
            list.add(
                "containers",
                "commands and environments have \(textBytes) bytes together; "
                    + "\(SpecLimits.textBytes) are allowed")
        }
        network.check(into: &list)
        placement.check(of: name, into: &list)
        checkVolumes(into: &list)
        if let runtime, !Naming.isRuntime(runtime) {
            list.add(
                "runtime",
                "'\(quoted(runtime))' is no runtime's name: 1 to 32 of letters, digits, '-', '_' "
                    + "and '.', a letter or digit first")
        }
        return list.problems
    }

    /// Bytes of all commands and environments.
    private var textBytes: Int {
        var sum = 0
        for container in containers {
            for argument in container.command { sum += argument.utf8.count }
            for variable in container.environment {
                sum += variable.name.utf8.count + variable.value.utf8.count
            }
        }
        return sum
    }
}

extension NetworkSpec {
    fileprivate func check(into list: inout ProblemList) {
        egress?.check(at: "network.egress", into: &list)
        ingress?.check(at: "network.ingress", into: &list)
        if publish.count > SpecLimits.ports {
            list.add(
                "network.publish", "at most \(SpecLimits.ports) ports can be published")
        }
        for (position, published) in publish.prefix(SpecLimits.ports).enumerated() {
            let path = "network.publish[\(position)]"
            list.check(published.port, in: 1...65_535, at: "\(path).port")
            list.check(published.hostPort, in: 1...65_535, at: "\(path).host")
            if published.transport != "tcp" && published.transport != "udp" {
                list.add(
                    "\(path).transport", "'\(quoted(published.transport))' is not tcp or udp")
            }
        }
        list.check(unique: publish.map { "\($0.transport) port \($0.hostPort)" }) {
            "network.publish[\($0)].host"
        }
    }
}

extension BandwidthSpec {
    fileprivate func check(at path: String, into list: inout ProblemList) {
        let parts = [
            ("rate", rateBitsPerSecond), ("ceiling", ceilingBitsPerSecond),
            ("outside", outsideBitsPerSecond),
        ].compactMap { name, value in value.map { (name, $0) } }
        guard !parts.isEmpty else {
            return list.add(path, "a limit needs a rate, a ceiling or an outside rate")
        }
        // The plain form, `egress: 50Mbit`, has no part to point at.
        let isPlain =
            rateBitsPerSecond == ceilingBitsPerSecond && outsideBitsPerSecond == nil
        for (name, value) in isPlain ? [parts[0]] : parts {
            list.check(
                value, in: SpecLimits.bitsPerSecond, at: isPlain ? path : "\(path).\(name)",
                text: Quantity.text(bitsPerSecond:))
        }
        guard let ceilingBitsPerSecond else { return }
        for (name, value) in parts where name != "ceiling" && value > ceilingBitsPerSecond {
            list.add(
                "\(path).\(name)",
                "\(Quantity.text(bitsPerSecond: value)) is more than the ceiling, "
                    + Quantity.text(bitsPerSecond: ceilingBitsPerSecond))
        }
    }
}

extension PlacementSpec {
    fileprivate func check(of service: String, into list: inout ProblemList) {
        for (path, names) in [
            ("placement.datacenters", datacenters), ("placement.apart-from", apartFrom),
        ] where names.count > SpecLimits.names {
            list.add(path, "at most \(SpecLimits.names) names are allowed")
        }
        for (position, datacenter) in datacenters.prefix(SpecLimits.names).enumerated() {
            list.check(label: datacenter, at: "placement.datacenters[\(position)]")
        }
        list.check(unique: datacenters) { "placement.datacenters[\($0)]" }
        list.check(unique: spread.map(\.rawValue)) { "placement.spread[\($0)]" }
        for (position, other) in apartFrom.prefix(SpecLimits.names).enumerated() {
            list.check(name: other, at: "placement.apart-from[\(position)]")
            if other == service {
                list.add(
                    "placement.apart-from[\(position)]",
                    "a service cannot be kept apart from itself; use spread: [host]")
            }
        }
        list.check(unique: apartFrom) { "placement.apart-from[\($0)]" }
    }
}

/// The sum, or the nearest end of the range when it does not fit.
func saturatingSum(_ left: Int, _ right: Int) -> Int {
    let (sum, overflow) = left.addingReportingOverflow(right)
    guard overflow else { return sum }
    return right > 0 ? Int.max : Int.min
}
