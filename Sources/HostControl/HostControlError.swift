import ClusterModel
import Glibc
import HostPlan

/// A limit or a network could not be set up: says what was attempted on what, and what to do.
package enum HostControlError: Error, Sendable, CustomStringConvertible {
    /// The settings break these rules.
    case badSettings([String])
    /// The machine's control groups cannot hold limits.
    case cgroupsUnusable(CgroupLayoutError)
    /// A program is not on the machine.
    case programMissing(program: String, package: String)
    /// The kernel cannot do what a rule needs.
    case kernelLacks(feature: String, cause: String)
    /// Another agent on this machine has it.
    case taken(what: String, setting: String)
    /// A set's or container's name could lead outside its folder.
    case badName(String)
    /// The cluster network has no /24 with this index.
    case noSubnet(index: Int, count: Int)
    /// `prepare` has not succeeded yet.
    case notPrepared
    /// The address is not in this host's subnet.
    case foreignAddress(slot: SlotID, address: IPv4Address, subnet: IPv4Network)
    /// A system call on a file failed.
    case file(operation: String, path: String, code: Int32)
    /// The kernel did not take the limit.
    case limitNotTaken(file: String, wanted: String, got: String)
    /// Memory cannot shrink: this much is in use and cannot be reclaimed.
    case memoryInUse(file: String, wanted: Int, used: Int)
    /// Too few whole cores are neither dedicated nor reserved.
    case notEnoughCores(container: String, wanted: Int, free: Int)
    /// After a failure these former values did not return.
    case notRestored(after: String, failures: [String])
    /// There is no such group.
    case noGroup(path: String)
    /// Killed processes did not go away in time.
    case processesRemain(path: String, processes: [Int32])
    /// Two sets' interfaces have one name.
    case interfaceTaken(interface: String, slot: SlotID, by: String)
    /// A command for a network failed.
    case network(doing: String, cause: String)

    package var description: String {
        switch self {
        case .badSettings(let problems):
            "the host settings are wrong: \(problems.joined(separator: "; "))"
        case .cgroupsUnusable(let error): "cannot limit containers: \(error)"
        case .programMissing(let program, let package):
            "the program `\(program)` is not in PATH; install it with "
                + "`apt-get install \(package)` and start again"
        case .kernelLacks(let feature, let cause):
            "the kernel cannot do \(feature): \(cause); use a kernel that has it, as Debian's"
        case .taken(let what, let setting):
            "another agent on this machine has \(what): end it, or give this one another with "
                + "--\(setting)"
        case .badName(let name):
            "`\(name)` is not the name of a set or container; names are a-z, 0-9 and `-`"
        case .noSubnet(let index, let count):
            "host number \(index) has no subnet: the cluster network holds \(count); "
                + "configure a larger one or forget hosts that are gone"
        case .notPrepared: "the host's network is not prepared yet; try again in a moment"
        case .foreignAddress(let slot, let address, let subnet):
            "cannot give \(slot) the address \(address): it is not in this host's \(subnet)"
        case .file(let operation, let path, let code):
            "cannot \(operation) \(path): \(String(cString: strerror(code)))"
        case .limitNotTaken(let file, let wanted, let got):
            "the kernel did not take the limit: \(file) should be \(wanted) and is \(got)"
        case .memoryInUse(let file, let wanted, let used):
            "cannot lower \(file) to \(wanted) bytes: \(used) are in use and cannot be "
                + "reclaimed; ask for more, or restart the container first"
        case .notEnoughCores(let container, let wanted, let free):
            "cannot dedicate \(wanted) cores to \(container): at most \(max(free, 0)) are free here, "
                + "since one whole core stays shared; ask for fewer, or for `cores: shared`"
        case .notRestored(let failure, let failures):
            "\(failure); and the former limits did not all return: "
                + "\(failures.prefix(3).joined(separator: "; ")); set the limits again"
        case .noGroup(let path): "there is no control group \(path)"
        case .processesRemain(let path, let processes):
            "cannot remove the control group \(path): processes "
                + "\(processes.map { String($0) }.joined(separator: ", ")) do not end; they "
                + "hang in the kernel (see /proc/PID/stack)"
        case .interfaceTaken(let interface, let slot, let other):
            "cannot connect \(slot): its interface name \(interface) is taken by `\(other)`; "
                + "give the service another name"
        case .network(let doing, let cause): "cannot \(doing): \(cause)"
        }
    }
}
