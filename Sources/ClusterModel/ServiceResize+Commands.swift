extension ServiceSpec {
    /// The commands that bring the limits of this spec about where those of `present` are wanted.
    ///
    /// One for each container whose limits differ, the set's own in the first; empty when a
    /// `shoal resize` would change nothing. Sizes of volumes that this spec lacks are left alone.
    package func resizeCommands(from present: ServiceSpec) -> [String] {
        var own: [String] = []
        for (option, rate, old) in [
            ("--egress", network.egressBitsPerSecond, present.network.egressBitsPerSecond),
            ("--ingress", network.ingressBitsPerSecond, present.network.ingressBitsPerSecond),
        ] where rate != old {
            own += [option, rate.map(Quantity.text(bitsPerSecond:)) ?? "unlimited"]
        }
        for volume in volumes {
            let old = present.volumes.first { $0.name == volume.name }?.sizeBytes
            guard let old, old != volume.sizeBytes else { continue }
            own += ["--volume", "\(volume.name)=\(Quantity.text(bytes: volume.sizeBytes))"]
        }
        var commands: [String] = []
        for container in containers {
            guard let old = present.containers.first(where: { $0.name == container.name }) else {
                continue
            }
            let options = container.resizeOptions(from: old)
            guard !options.isEmpty else { continue }
            let named = containers.count > 1 ? ["--container", container.name] : []
            let all = ["shoal", "resize", name] + named + options + own
            commands.append(all.joined(separator: " "))
            own = []
        }
        if !own.isEmpty {
            commands.append((["shoal", "resize", name] + own).joined(separator: " "))
        }
        return commands
    }
}

extension ContainerSpec {
    /// The options of `shoal resize` for what differs in limits.
    ///
    /// A request that would follow its limit by itself is named, too: the limit may have taken it
    /// down, and does not take it up.
    fileprivate func resizeOptions(from old: ContainerSpec) -> [String] {
        var options: [String] = []
        func add(_ option: String, _ value: Int, _ former: Int, _ text: (Int) -> String) {
            if value != former { options += [option, text(value)] }
        }
        func addLimit(_ option: String, _ value: Int?, _ former: Int?, _ text: (Int) -> String) {
            if value != former { options += [option, value.map(text) ?? "unlimited"] }
        }
        let (cpuText, bytesText) = (Quantity.text(millicores:), Quantity.text(bytes:))
        add("--cpu", cpu.limitMillicores, old.cpu.limitMillicores, cpuText)
        add("--cpu-request", cpu.requestMillicores, old.cpu.requestMillicores, cpuText)
        add("--burst", cpu.burstMillicores, old.cpu.burstMillicores, cpuText)
        if cpu.cores != old.cpu.cores { options += ["--cores", cpu.cores.rawValue] }
        add("--memory", memory.limitBytes, old.memory.limitBytes, bytesText)
        add("--memory-request", memory.requestBytes, old.memory.requestBytes, bytesText)
        addLimit("--soft-memory", memory.softBytes, old.memory.softBytes, bytesText)
        add("--swap", memory.swapBytes, old.memory.swapBytes, bytesText)
        addLimit("--io-read", io.readBytesPerSecond, old.io.readBytesPerSecond) {
            Quantity.text(bytesPerSecond: $0)
        }
        addLimit("--io-write", io.writeBytesPerSecond, old.io.writeBytesPerSecond) {
            Quantity.text(bytesPerSecond: $0)
        }
        addLimit("--io-read-operations", io.readOperationsPerSecond, old.io.readOperationsPerSecond)
        { "\($0)" }
        addLimit(
            "--io-write-operations", io.writeOperationsPerSecond, old.io.writeOperationsPerSecond
        ) { "\($0)" }
        if let weight = io.weight, weight != old.io.weight {
            options += ["--io-weight", "\(weight)"]
        }
        add("--pids", pidsMax, old.pidsMax) { "\($0)" }
        return options
    }
}
