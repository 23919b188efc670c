import ClusterModel
import HostPlan

extension ContainerLaunch {
    /// The longest id: with it, no name of a file made from it exceeds what file systems take.
    package static let idBytesMax = 100
    /// The most bytes of command and environment together; the kernel takes 2 MiB with a default
    /// stack.
    package static let argumentBytesMax = 1 << 20

    /// Every broken rule of the launch, as sentences; empty when it may run.
    package var problems: [String] {
        var problems: [String] = []
        if !ContainerLaunch.isValid(id: id) {
            problems.append("the id must be 1 to 100 of a-z, 0-9, dot and hyphen, no dot first")
        }
        if !ContainerLaunch.isPlain(path: rootPath) {
            problems.append("the root `\(rootPath)` must be an absolute path without `..`")
        }
        if !ContainerLaunch.isPlain(path: cgroupsPath) || cgroupsPath.utf8.count > 200 {
            problems.append("the cgroup `\(cgroupsPath)` must be an absolute path without `..`")
        }
        if !networkNamespacePath.isEmpty, !ContainerLaunch.isPlain(path: networkNamespacePath) {
            problems.append("the network namespace must be an absolute path without `..`")
        }
        if !workingDirectory.isEmpty, !workingDirectory.hasPrefix("/") {
            problems.append("the working directory `\(workingDirectory)` must be absolute")
        }
        if arguments.first.map(\.isEmpty) ?? true {
            problems.append("there is no command: neither the spec nor the image names one")
        }
        if environment.contains(where: { $0.hasPrefix("=") || !$0.contains("=") }) {
            problems.append("each environment variable must be written NAME=value")
        }
        for volume in volumes {
            if !ContainerLaunch.isPlain(path: volume.source) {
                problems.append("the volume at `\(volume.source)` must have an absolute path")
            }
            // The rule of the spec, so that what it lets through starts here.
            if let problem = VolumeSpec.problem(inMount: volume.destination) {
                problems.append("the mount `\(volume.destination)` \(problem)")
            }
        }
        let texts = arguments + environment + [workingDirectory]
        if texts.contains(where: { $0.utf8.contains(0) }) {
            problems.append("command, environment and working directory must not contain NUL")
        }
        if texts.reduce(0, { $0 + $1.utf8.count + 1 }) > ContainerLaunch.argumentBytesMax {
            problems.append("command and environment are longer than 1 MiB")
        }
        let names = [container, slot.service, stopSignal ?? "TERM"]
        if names.contains(where: { $0.isEmpty || $0.utf8.contains { $0 <= 0x20 } }) {
            problems.append("service, container and stop signal must be plain words")
        }
        if slot.description.utf8.count > 64 {
            problems.append("the slot's name is longer than a host name may be (64 bytes)")
        }
        let addresses = nameServers + [address ?? "::"]
        if !addresses.allSatisfy({ ContainerLaunch.isAddress($0) }) || nameServers.count > 8 {
            problems.append("addresses and name servers (at most 8) must be IPv4 or IPv6")
        }
        if let stopSignal, !ContainerLaunch.isValid(signal: stopSignal) {
            problems.append("the stop signal `\(stopSignal)` is none, such as SIGTERM or 15")
        }
        if let runtime, !Naming.isRuntime(runtime) {
            problems.append("the runtime must be a plain name")
        }
        if !capabilities.allSatisfy({ LinuxCapability.names.contains($0) }) {
            problems.append("the capabilities must be known ones")
        }
        if !devices.allSatisfy({ Naming.isDevice($0) }) {
            problems.append("the devices must be files below /dev")
        }
        return problems + limits.problems
    }

    /// True for an id that is safe as a file's name and as the runtime's id.
    static func isValid(id: String) -> Bool {
        let isPlain = id.utf8.allSatisfy { byte in
            (0x61...0x7A).contains(byte) || (0x30...0x39).contains(byte)
                || byte == UInt8(ascii: "-") || byte == UInt8(ascii: ".")
        }
        return isPlain && (1...idBytesMax).contains(id.utf8.count)
            && !id.hasPrefix(".") && !id.hasPrefix("-")
    }

    /// True for a signal as kill(1) takes it: `TERM`, `SIGTERM`, `RTMIN+3` or `15`.
    static func isValid(signal: String) -> Bool {
        let isPlain = signal.utf8.allSatisfy { byte in
            (0x41...0x5A).contains(byte) || (0x30...0x39).contains(byte)
                || byte == UInt8(ascii: "+") || byte == UInt8(ascii: "-")
        }
        return isPlain && (1...16).contains(signal.utf8.count) && !signal.hasPrefix("-")
    }

    private static func isAddress(_ text: String) -> Bool {
        (2...45).contains(text.utf8.count)
            && text.utf8.allSatisfy { byte in
                byte == UInt8(ascii: ":") || byte == UInt8(ascii: ".")
                    || Character(UnicodeScalar(byte)).isHexDigit
            }
    }

    private static func isPlain(path: String) -> Bool {
        path.hasPrefix("/") && path.utf8.count < 4_096
            && !path.utf8.contains { $0 < 0x20 || $0 == 0x7F }
            && !path.split(separator: "/").contains { $0 == ".." || $0 == "." }
            && path != "/"
    }
}
