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
            set aside. A host that cannot lower a limit (memory that is in use) keeps the old ones,
            says why, and tries again every ten seconds.

            EXAMPLES
              shoal resize web --cpu 2 --memory 1Gi --egress 200Mbit
              shoal resize web --container app --cpu 500m --cpu-request 250m
              shoal resize web --ingress unlimited
              shoal resize db --volume data=20Gi
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
    @Option(help: "The memory limit, such as 512Mi.")
    var memory: QuantityOption?
    @Option(help: "The memory that is set aside; never above the limit.")
    var memoryRequest: QuantityOption?
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

    mutating func run() async throws {
        let resize = ServiceResize(
            container: container,
            cpuRequestMillicores: try cpuRequest?.read(Quantity.millicores, "--cpu-request"),
            cpuLimitMillicores: try cpu?.read(Quantity.millicores, "--cpu"),
            memoryRequestBytes: try memoryRequest?.read(Quantity.bytes, "--memory-request"),
            memoryLimitBytes: try memory?.read(Quantity.bytes, "--memory"), pidsMax: pids,
            egressBitsPerSecond: try egress?.readRate("--egress"),
            ingressBitsPerSecond: try ingress?.readRate("--ingress"), volumes: try volumeSizes())
        let client = connection.client
        let result = try await client.resize(service: service, resize)
        if wait {
            var waiting = Waiting(client: client, timeout: timeout)
            try await waiting.untilResized(result)
        }
        if json {
            let encoder = JSONEncoder()
            encoder.outputFormatting = [.prettyPrinted, .sortedKeys, .withoutEscapingSlashes]
            return Output.write(Array(try encoder.encode(result)) + [10], to: 1)
        }
        let verb = result.outcome == .unchanged ? "has these limits already" : "has new limits"
        Output.standardOutput("\(service) \(verb) (revision \(result.revision))\n")
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
