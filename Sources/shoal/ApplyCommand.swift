import ArgumentParser
import ClusterModel
import ControlAPI

/// `shoal apply`.
struct ApplyCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "apply", abstract: "Creates or changes the services of a file.",
        discussion: """
            EXAMPLES
              shoal apply -f web.yaml --dry-run    checks it, changes nothing
              shoal apply -f web.yaml --wait       returns when all its sets run
              shoal apply -f web.yaml -f db.yaml   several files
              generate | shoal apply -f -          from standard input

            A FILE (several services: one document each, with --- between them)
              service: web
              sets: 6
              priority: 50
              containers:
                - name: app
                  image: demo/web:1
                  command: [httpd, -f, -p, "8080"]
                  env: {GREETING: hello}
                  cpu: {request: 250m, limit: 500m, burst: 100m}
                  memory: {request: 64Mi, soft: 96Mi, limit: 128Mi}
                  io: {weight: 100, write: 20MBps, read-operations: 500}
                  pids: 100
              network:
                egress: {rate: 20Mbit, ceiling: 50Mbit}
                ingress: 50Mbit
                publish: [{port: 8080, host: 18080}]
              placement: {spread: [datacenter, rack, host], apart-from: [batch]}
              volumes: [{name: data, size: 1Gi, mount: /data, class: loop}]
            """)

    @OptionGroup var connection: ConnectionOptions
    @OptionGroup var waiting: WaitOptions
    @Option(name: .shortAndLong, help: "The file, or several of them; - is standard input.")
    var file: [String]
    @Flag(help: "Only say what would happen.")
    var dryRun = false

    mutating func run() async throws {
        // All are read before the first is applied.
        var specs: [ServiceSpec] = []
        for file in file {
            do {
                specs += try SpecFile.read(path: file)
            } catch {
                Output.report(error, file: file)
                throw ExitCode(1)
            }
        }
        let client = connection.client
        var results: [ApplyResult] = []
        for spec in specs {
            let result = try await apply(spec, client)
            results.append(result)
            Output.standardOutput(describe(result, sets: spec.sets) + "\n")
        }
        if waiting.wait, !dryRun {
            var wait = Waiting(client: client, options: waiting)
            try await wait.untilRunning(results)
        }
    }

    private func apply(_ spec: ServiceSpec, _ client: ControlClient) async throws -> ApplyResult {
        do {
            return try await client.apply(spec, dryRun: dryRun)
        } catch let error as ControlError where error.code != .unreachable {
            var error = error
            error.message = "\(spec.name) was refused: \(error.message)"
            throw error
        }
    }

    private func describe(_ result: ApplyResult, sets: Int) -> String {
        let outcome = result.outcome.rawValue
        let verb =
            !dryRun
            ? outcome : result.outcome == .unchanged ? "is unchanged" : "would be \(outcome)"
        return "\(result.service) \(verb) (\(sets) sets, revision \(result.revision))"
    }
}
