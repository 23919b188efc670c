import ArgumentParser
import ClusterModel
import ControlAPI

/// `shoal explain`.
struct ExplainCommand: ListingCommand {
    static let configuration = CommandConfiguration(
        commandName: "explain",
        abstract: "Why a set is where it is, or nowhere, and what of its limits does not hold.",
        discussion: """
            Lists every host as the scheduler sees it now, as if the set were not placed: those that
            fit in the order of preference, then the others with what they lack. Of a set that is
            placed it shows the limits that are in force; beside them those that are wanted where
            they are others (a host refused them, or has not come to it); and what of them its
            host's kernel does not enforce, charge or tell.

            EXAMPLES
              shoal explain web.3
              shoal explain web.3 --json | jq -r '.[0].hosts[] | select(.fits | not) | "\\(.host) \\(.obstacle)"'
            """)

    @OptionGroup var connection: ConnectionOptions
    @OptionGroup var listing: ListingOptions
    @Argument(help: "The set, such as web.3.")
    var slot: String

    func items(_ client: ControlClient) async throws -> [ExplanationView] {
        [try await client.explain(slot)]
    }

    func text(_ items: [ExplanationView]) -> String { items.map(text).joined() }

    private func text(_ item: ExplanationView) -> String {
        var lines = [
            item.host.map { "\(item.slot) is \(item.phase) on \($0), revision \(item.revision)" }
                ?? "\(item.slot) is \(item.phase) and has no host"
        ]
        if let reason = item.reason { lines.append("reason: \(reason)") }
        lines.append("one set asks for \(wishes(of: item))")
        lines.append(best(of: item))
        var text = lines.map { Output.printable($0) + "\n" }.joined()
        text += "\n" + choices(item.hosts) + "\n" + allLimits(of: item)
        if !item.notes.isEmpty || item.notesProblem != nil { text += "\n" }
        for note in item.notes {
            text += Output.printable("note of \(item.host ?? "its host"): \(note)") + "\n"
        }
        if let problem = item.notesProblem {
            text += Output.printable("\(item.host ?? "its host") gave no notes: \(problem)") + "\n"
        }
        return text
    }

    private func wishes(of item: ExplanationView) -> String {
        var wishes = [
            "\(Quantity.text(millicores: item.cpuMillicores)) CPU",
            "\(Quantity.display(bytes: item.memoryBytes)) of memory",
        ]
        for (what, rate) in [
            ("egress", item.egressBitsPerSecond), ("ingress", item.ingressBitsPerSecond),
        ] where rate > 0 {
            wishes.append("\(what) of \(Quantity.text(bitsPerSecond: rate))")
        }
        if item.volumeDiskBytes > 0 {
            wishes.append("\(Quantity.display(bytes: item.volumeDiskBytes)) of disk for volumes")
        }
        if item.volumePoolBytes > 0 {
            wishes.append("\(Quantity.display(bytes: item.volumePoolBytes)) of a thin pool")
        }
        return wishes.joined(separator: ", ")
    }

    private func best(of item: ExplanationView) -> String {
        guard let best = item.best else { return "no host would fit it now" }
        return best == item.host
            ? "placed anew it would go there again" : "placed anew it would go to \(best)"
    }

    private func choices(_ hosts: [HostChoiceView]) -> String {
        var table = Table(
            "HOST", "FITS", "#SETS THERE", "#IN RACK", "#IN DATACENTER", "#FREE", "WHY NOT")
        for host in hosts {
            table.add(
                host.host + (host.isPlacedHere ? " (here)" : ""), host.fits ? "yes" : "no",
                "\(host.setsOnHost)", "\(host.setsInRack)", "\(host.setsInDatacenter)",
                "\(host.freeShare / 100)%", host.obstacle ?? "")
        }
        return table.text
    }

    /// What is in force and, where that is something else, what is wanted.
    private func allLimits(of item: ExplanationView) -> String {
        let inForce = limits(item.containers, item.network, item.volumes)
        guard let wanted = item.wanted else { return inForce }
        var text = item.limitsRevision.map { "in force, revision \($0):\n" } ?? ""
        text += inForce + "\nwanted, revision \(wanted.revision), and not in force:\n"
        text += limits(wanted.containers, wanted.network, wanted.volumes)
        for command in wanted.takeBack {
            text += Output.printable("to take that back: \(command)") + "\n"
        }
        return text
    }

    private func limits(
        _ containers: [ContainerSpec], _ network: NetworkSpec, _ volumes: [VolumeSpec]
    ) -> String {
        var table = Table(
            "LIMITS OF", "#CPU", "CORES", "#MEMORY", "#SOFT", "#SWAP", "#PIDS", "DISKS")
        for container in containers {
            let (cpu, memory) = (container.cpu, container.memory)
            table.add(
                container.name,
                "\(Quantity.text(millicores: cpu.requestMillicores)) to "
                    + Quantity.text(millicores: cpu.limitMillicores)
                    + (cpu.burstMillicores > 0
                        ? " + \(Quantity.text(millicores: cpu.burstMillicores))" : ""),
                cpu.cores.rawValue,
                "\(HumanUnits.bytes(memory.requestBytes)) to \(HumanUnits.bytes(memory.limitBytes))",
                memory.softBytes.map(HumanUnits.bytes) ?? "",
                memory.swapBytes > 0 ? HumanUnits.bytes(memory.swapBytes) : "",
                "\(container.pidsMax)", disks(container.io))
        }
        var text = table.text
        for (what, rate) in [("egress", network.egress), ("ingress", network.ingress)] {
            if let rate { text += "\(what): \(bandwidth(rate))\n" }
        }
        for volume in volumes { text += Output.printable(self.text(volume)) + "\n" }
        return text
    }

    private func disks(_ io: IOSpec) -> String {
        var parts: [String] = []
        if let weight = io.weight { parts.append("weight \(weight)") }
        for (what, rate) in [
            ("read", io.readBytesPerSecond), ("write", io.writeBytesPerSecond),
        ] {
            if let rate { parts.append("\(what) \(HumanUnits.bytes(rate))/s") }
        }
        for (what, rate) in [
            ("reads", io.readOperationsPerSecond), ("writes", io.writeOperationsPerSecond),
        ] {
            if let rate { parts.append("\(rate) \(what)/s") }
        }
        return parts.joined(separator: ", ")
    }

    private func bandwidth(_ rate: BandwidthSpec) -> String {
        let parts = [
            ("at least", rate.rateBitsPerSecond), ("at most", rate.ceilingBitsPerSecond),
            ("outside at most", rate.outsideBitsPerSecond),
        ]
        return parts.compactMap { what, rate in
            rate.map { "\(what) \(Quantity.text(bitsPerSecond: $0))" }
        }.joined(separator: ", ")
    }

    private func text(_ volume: VolumeSpec) -> String {
        "volume \(volume.name): \(HumanUnits.bytes(volume.sizeBytes)) of class "
            + "\(volume.volumeClass.rawValue) at \(volume.mount)"
            + (volume.fileSystem.map { ", \($0.rawValue)" } ?? "")
            + (volume.readOnly ? ", read-only" : "") + (volume.noExec ? ", no programs" : "")
    }
}
