import Glibc
import VolumePlan

extension VolumeStore {
    /// Copies the files of an attached volume, as they are met, into another that is attached and
    /// empty: for volumes that no snapshot can be made of while they are used.
    ///
    /// Not of one moment: what is written meanwhile is in the copy or not. Files that go away while
    /// they are copied are left out; any other failure throws.
    package func copyLive(
        _ name: VolumeName, into target: VolumeName, progress: VolumeProgressHandler? = nil
    ) async throws {
        let attempt = "copy the files of \(name)"
        let (source, copy) = (
            mountPath(try requireReady(name)), mountPath(try requireReady(target))
        )
        let table = try mountTable()
        guard table.mount(at: source) != nil, table.mount(at: copy) != nil else {
            throw VolumeError.badRequest(
                "\(name) and \(target) must both be attached to copy files")
        }
        let result = try await tools.run(
            ["cp", "-a", "--sparse=auto", "--reflink=auto", "--", "\(source)/.", copy],
            attempt: attempt, diesWithUs: true, isCancellable: true,
            timeout: .seconds(7 * 86_400))
        guard result.exitCode != 0 else { return }
        let complaints = result.errorText.split(separator: "\n")
        guard result.exitCode == 1, !complaints.isEmpty,
            complaints.allSatisfy({ $0.hasSuffix("No such file or directory") })
        else {
            throw VolumeError.tool(
                attempt: attempt, cause: complaints.prefix(3).joined(separator: "; "))
        }
    }
}
