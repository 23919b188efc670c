import ArgumentParser
import ClusterModel
import ControlAPI
import FoundationEssentials

/// `shoal resize`.
struct ResizeCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "resize", abstract: "Changes the limits of a service's sets while they run.",
        discussion: """
            No process is restarted and no connection dropped. All limits of a set change together
            or none does. The change is refused as a whole when a host lacks room for what is to be
            set aside. A host that cannot change a limit (memory that is in use, a volume that cannot
            grow while it is mounted) keeps all the old ones and says why. When no set takes the new
            limits, the change is taken back. When some do, it stays wanted: the other hosts try
            again every ten seconds, a set that starts anew has it from its start, and the command
            that takes it back is printed. With --no-wait nothing is taken back. Exit status 1 when
            a set refused, 64 when the command is not understood.

            EXAMPLES
              shoal resize web --cpu 2 --memory 1Gi --egress 200Mbit
              shoal resize web --container app --cpu 500m --cpu-request 250m
              shoal resize web --ingress unlimited
              shoal resize db --volume data=20Gi
              shoal resize db --io-write 20MBps --io-read unlimited --io-weight 200
              shoal resize db --cores dedicated --cpu 2 --burst 500m --swap 256Mi
            """)

    @OptionGroup var connection: ConnectionOptions
    @Argument(help: "The service.")
    var service: String
    @Option(help: "The container that CPU, memory and processes are for, if there are several.")
    var container: String?
    @Option(help: "The CPU limit, such as 500m or 2.")
    var cpu: QuantityOption?
    @Option(help: "The CPU that is set aside; never above the limit.")
    var cpuRequest: QuantityOption?
    @Option(help: "CPU that may be saved up for one period above the limit; 0 for none.")
    var burst: QuantityOption?
    @Option(help: "Which cores: shared, or dedicated (as many as the CPU limit says).")
    var cores: CoreOption?
    @Option(help: "The memory limit, such as 512Mi.")
    var memory: QuantityOption?
    @Option(help: "The memory that is set aside; never above the limit.")
    var memoryRequest: QuantityOption?
    @Option(help: "The memory from which on it is reclaimed, such as 256Mi, or unlimited.")
    var softMemory: QuantityOption?
    @Option(help: "Swap beyond the memory limit, such as 256Mi; 0 for none.")
    var swap: QuantityOption?
    @Option(help: "The weight on a contended disk, 1 to 1000.")
    var ioWeight: Int?
    @Option(help: "The most it may read of its disk, such as 20MBps, or unlimited.")
    var ioRead: QuantityOption?
    @Option(help: "The most it may write to its disk, such as 20MBps, or unlimited.")
    var ioWrite: QuantityOption?
    @Option(help: "The most reads in a second, such as 500, or unlimited.")
    var ioReadOperations: QuantityOption?
    @Option(help: "The most writes in a second, such as 500, or unlimited.")
    var ioWriteOperations: QuantityOption?
    @Option(help: "The most processes and threads.")
    var pids: Int?
    @Option(help: "The most a set may send, such as 50Mbit, or unlimited.")
    var egress: QuantityOption?
    @Option(help: "The most a set may receive, such as 50Mbit, or unlimited.")
    var ingress: QuantityOption?
    @Option(help: "The size of a volume, such as data=20Gi; it can only grow.")
    var volume: [String] = []
    @Flag(inversion: .prefixedNo, help: "Return when the limits are in force on all sets.")
    var wait = true
    @Option(help: "Seconds to wait at most.")
    var timeout = 30
    @Flag(help: "Print the result as JSON.")
    var json = false

    private func volumeSizes() throws -> [VolumeSize]? {
        let sizes = try volume.map { text in
            let halves = text.split(separator: "=", omittingEmptySubsequences: false)
            guard halves.count == 2, !halves[0].isEmpty else {
                throw ValidationError("--volume: \(text) must be NAME=SIZE, such as data=20Gi")
            }
            let size = QuantityOption(text: String(halves[1]))
            return VolumeSize(
                name: String(halves[0]), sizeBytes: try size.read(Quantity.bytes, "--volume"))
        }
        return sizes.isEmpty ? nil : sizes
    }

    private func addLaterLimits(to resize: inout ServiceResize) throws {
        resize.cpuBurstMillicores = try burst?.read(Quantity.millicores, "--burst")
        resize.cores = cores?.cores
        resize.memorySoftBytes = try softMemory?.readLimit(Quantity.bytes, "--soft-memory")
        resize.memorySwapBytes = try swap?.read(Quantity.bytes, "--swap")
        resize.ioWeight = ioWeight
        resize.ioReadBytesPerSecond = try ioRead?.readLimit(Quantity.bytesPerSecond, "--io-read")
        resize.ioWriteBytesPerSecond = try ioWrite?.readLimit(
            Quantity.bytesPerSecond, "--io-write")
        resize.ioReadOperationsPerSecond = try ioReadOperations?.readCount("--io-read-operations")
        resize.ioWriteOperationsPerSecond = try ioWriteOperations?.readCount(
            "--io-write-operations")
        if let ioWeight, !SpecLimits.ioWeight.contains(ioWeight) {
            throw ValidationError("--io-weight: \(ioWeight) is not a number from 1 to 1000")
        }
    }

    mutating func run() async throws {
        var resize = ServiceResize(
            container: container,
            cpuRequestMillicores: try cpuRequest?.read(Quantity.millicores, "--cpu-request"),
            cpuLimitMillicores: try cpu?.read(Quantity.millicores, "--cpu"),
            memoryRequestBytes: try memoryRequest?.read(Quantity.bytes, "--memory-request"),
            memoryLimitBytes: try memory?.read(Quantity.bytes, "--memory"), pidsMax: pids,
            egressBitsPerSecond: try egress?.readRate("--egress"),
            ingressBitsPerSecond: try ingress?.readRate("--ingress"), volumes: try volumeSizes())
        try addLaterLimits(to: &resize)
        guard !resize.isEmpty else {
            throw ValidationError(
                "nothing to resize; give at least one limit, such as --cpu 2 or --memory 1Gi")
        }
        let client = connection.client
        let result = try await client.resize(service: service, resize)
        if wait {
            var waiting = Waiting(client: client, timeout: timeout)
            let outcome = try await waiting.untilResized(result)
            if !outcome.refusing.isEmpty { try await tellRefusal(result, outcome, client) }
        }
        if json { return try printJSON(result) }
        let verb = result.outcome == .unchanged ? "has these limits already" : "has new limits"
        Output.standardOutput("\(service) \(verb) (revision \(result.revision))\n")
    }

    private func printJSON(_ result: ApplyResult) throws {
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.prettyPrinted, .sortedKeys, .withoutEscapingSlashes]
        Output.write(Array(try encoder.encode(result)) + [10], to: 1)
    }

    /// Says why sets keep the limits they have, takes the change back when no set took it, and fails.
    private func tellRefusal(
        _ change: ApplyResult, _ outcome: ResizeOutcome, _ client: ControlClient
    ) async throws {
        var result = change
        result.refusals = outcome.reasons
        let count = outcome.refusing.count
        Output.standardError(
            count == 1
                ? "shoal: 1 set keeps the limits it has\n"
                : "shoal: \(count) sets keep the limits they have\n")
        for reason in outcome.reasons.prefix(20) {
            Output.standardError(Output.printable(reason) + "\n")
        }
        if outcome.inForce == 0 { await takeBack(&result, client) }
        if result.takenBack != true {
            let commands = try? await client.explain(outcome.refusing[0]).wanted?.takeBack
            result.takeBack = commands ?? []
            let how = (commands ?? []).map { "`\($0)`" }.joined(separator: " and ")
            Output.standardError(
                Output.printable(
                    "the new limits stay wanted: hosts try again every ten seconds, and a set that "
                        + "starts anew has them from its start; to take them back: "
                        + (how.isEmpty ? "apply the file from before" : how)) + "\n")
        }
        if json { try printJSON(result) }
        throw ExitCode(1)
    }

    private func takeBack(_ result: inout ApplyResult, _ client: ControlClient) async {
        do {
            let back = try await client.takeBackLimits(
                service: service, revision: result.revision)
            result.revision = back.revision
            result.index = back.index
            result.takenBack = true
            Output.standardError(
                "no set took the new limits, so the change is taken back: those from before are "
                    + "wanted again (revision \(back.revision))\n")
        } catch {
            Output.standardError(Output.printable("the change is not taken back: \(error)") + "\n")
        }
    }
}

/// A class of cores.
struct CoreOption: ExpressibleByArgument {
    let cores: CoreClass

    init?(argument: String) {
        guard let cores = CoreClass(rawValue: argument) else { return nil }
        self.cores = cores
    }
}

/// An amount with its unit, as the option's own kind of quantity reads it.
struct QuantityOption: ExpressibleByArgument {
    let text: String

    init?(argument: String) { text = argument }

    init(text: String) { self.text = text }

    func read(
        _ quantity: (String) throws(QuantityError) -> Int, _ option: String
    ) throws -> Int {
        do throws(QuantityError) {
            return try quantity(text)
        } catch {
            throw ValidationError("\(option): \(error)")
        }
    }

    /// A limit; `unlimited` is 0, which is no limit in itself.
    func readLimit(
        _ quantity: (String) throws(QuantityError) -> Int, _ option: String
    ) throws -> Int {
        if text == "unlimited" { return 0 }
        let amount = try read(quantity, option)
        guard amount > 0 else {
            throw ValidationError("\(option): 0 allows nothing; write unlimited for no limit")
        }
        return amount
    }

    /// A whole number; `unlimited` is 0.
    func readCount(_ option: String) throws -> Int {
        if text == "unlimited" { return 0 }
        guard let count = Int(text), count > 0 else {
            throw ValidationError("\(option): \(text) is no whole number above 0, nor unlimited")
        }
        return count
    }

    /// A rate in bits per second; `unlimited` is 0.
    func readRate(_ option: String) throws -> Int {
        if text == "unlimited" { return 0 }
        let rate = try read(Quantity.bitsPerSecond, option)
        guard rate > 0 else {
            throw ValidationError("\(option): 0 lets nothing through; write unlimited for no limit")
        }
        return rate
    }
}
