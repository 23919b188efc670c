import ClusterModel
import ContainerRuntime
import EventLoop
import Foundation
import Glibc

extension AgentConfiguration {
    /// Reads `kata=/usr/bin/kata-runtime,runsc=/usr/local/bin/runsc`.
    static func runtimes(_ text: String) throws(ConfigurationError) -> [String: String] {
        var runtimes: [String: String] = [:]
        for part in text.split(separator: ",") {
            let pair = part.split(separator: "=", maxSplits: 1).map {
                $0.trimmingCharacters(in: .whitespaces)
            }
            guard pair.count == 2, Naming.isRuntime(pair[0]), pair[1].hasPrefix("/") else {
                throw ConfigurationError(
                    "runtimes: `\(part.prefix(60))` is no name and absolute path such as "
                        + "runsc=/usr/local/bin/runsc")
            }
            runtimes[pair[0]] = pair[1]
        }
        guard runtimes.count <= HostAbilities.listMax / 2 else {
            throw ConfigurationError(
                "runtimes: at most \(HostAbilities.listMax / 2) can be configured")
        }
        return runtimes
    }

    /// Device files with commas between.
    static func devices(_ text: String) throws(ConfigurationError) -> [String] {
        try names(text, key: "allow-devices") { name in
            Naming.isDevice(name) ? nil : "is no device file below /dev, such as /dev/fuse"
        }
    }

    /// Capabilities with commas between, with `CAP_` or without.
    static func capabilities(_ text: String) throws(ConfigurationError) -> [String] {
        try names(text, key: "allow-capabilities") { name in
            LinuxCapability.names.contains(LinuxCapability.plain(name))
                ? nil : "is no capability, such as NET_RAW (see capabilities(7))"
        }.map { LinuxCapability.plain($0) }
    }

    private static func names(
        _ text: String, key: String, problem: (String) -> String?
    ) throws(ConfigurationError) -> [String] {
        let names = text.split(separator: ",").map { $0.trimmingCharacters(in: .whitespaces) }
        for name in names {
            if let problem = problem(name) {
                throw ConfigurationError("\(key): `\(name.prefix(60))` \(problem)")
            }
        }
        guard names.count <= HostAbilities.listMax else {
            throw ConfigurationError("\(key): at most \(HostAbilities.listMax) can be allowed")
        }
        return names
    }

    /// What this host can do beyond what every host can, where its runtimes are, and a sentence for
    /// whatever is configured and not there.
    func abilities(
        _ commands: CommandRunner
    ) async -> (abilities: HostAbilities, runtimes: [String: String], notices: [String]) {
        var (runtimes, notices) = await RuntimeDetection.find(
            configured: self.runtimes, commands: commands)
        // A wrong default is told by whoever runs containers.
        let name = runtimePath.split(separator: "/").last.map { String($0) } ?? runtimePath
        if Naming.isRuntime(name), runtimes[name] == nil, runtimePath.hasPrefix("/") {
            runtimes[name] = runtimePath
        }
        let present = allowedDevices.filter { path in
            var status = stat()
            guard stat(path, &status) == 0 else { return false }
            return [S_IFCHR, S_IFBLK].contains(status.st_mode & S_IFMT)
        }
        notices += allowedDevices.filter { !present.contains($0) }.map {
            "allow-devices: this host has no device \($0), so it does not offer it"
        }
        return (
            HostAbilities(
                runtimes: runtimes.keys.sorted(), devices: present,
                capabilities: allowedCapabilities), runtimes, notices
        )
    }
}
