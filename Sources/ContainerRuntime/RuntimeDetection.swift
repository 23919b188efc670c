import ClusterModel
import EventLoop

/// Finds the OCI runtimes that a host has: those that are configured, and known ones in `PATH`.
package enum RuntimeDetection {
    /// The known runtimes: the name in specs, and the program.
    private static let known = [
        ("crun", "crun"), ("runc", "runc"), ("runsc", "runsc"), ("kata", "kata-runtime"),
        ("youki", "youki"),
    ]

    /// The runtimes that answer `--version`, by name, and a sentence for each that is configured and
    /// does not.
    ///
    /// What is configured wins over what is found.
    package static func find(
        configured: [String: String], commands: CommandRunner
    ) async -> (runtimes: [String: String], notices: [String]) {
        var runtimes: [String: String] = [:]
        var notices: [String] = []
        var candidates = known.compactMap { name, program in
            configured[name] == nil ? HostFiles.program(program).map { (name, $0) } : nil
        }
        candidates += configured.map { ($0.key, $0.value) }
        for (name, path) in candidates.sorted(by: { $0.0 < $1.0 }) {
            if let problem = await problem(of: path, commands) {
                guard configured[name] != nil else { continue }
                notices.append("runtimes: \(name) is not offered: \(path) \(problem)")
            } else {
                runtimes[name] = path
            }
        }
        return (runtimes, notices)
    }

    /// Why a program cannot be used as an OCI runtime; nil when it can, as far as one can tell.
    private static func problem(of path: String, _ commands: CommandRunner) async -> String? {
        guard HostFiles.program(path) != nil else { return "is no program" }
        do {
            let result = try await commands.run(
                [path, "--version"], environment: ["PATH=\(RuntimeProgram.searchPath)"],
                timeout: .seconds(5), outputMaximum: 64 << 10)
            guard result.exitCode == 0 else {
                return "does not answer --version: \(ContainerRuntime.words(of: result))"
            }
            return problem(inVersion: result.outputText)
        } catch {
            return "does not answer --version: \(error)"
        }
    }

    /// Kata Containers from version 2 on are run by containerd alone: their `kata-runtime` has no
    /// `create` and `start` any more.
    package static func problem(inVersion text: String) -> String? {
        guard let line = text.split(separator: "\n").first(where: { $0.hasPrefix("kata-runtime") }),
            let version = line.split(whereSeparator: { $0 == " " || $0 == ":" }).last,
            let major = version.split(separator: ".").first.flatMap({ Int($0) }), major >= 2
        else { return nil }
        return "is Kata Containers \(version), which has no OCI command line; version 1 has one"
    }
}
