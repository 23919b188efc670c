import CLinux
import Glibc

/// Loop devices, found by the file they hold.
enum LoopDevice {
    /// The numbers of all loop devices that hold this file; more than one only when somebody else
    /// attached it, too.
    static func holding(_ file: OpenFile) throws(VolumeError) -> [Int32] {
        let attempt = "list the loop devices"
        let folder = try OpenFile("/sys/block", flags: O_RDONLY | O_DIRECTORY, attempt: attempt)
        var found: [Int32] = []
        for name in try folder.names(attempt: attempt) where name.hasPrefix("loop") {
            guard let number = Int32(name.dropFirst(4)),
                access("/sys/block/\(name)/loop", F_OK) == 0
            else { continue }
            let status = clinux_volume_loop_holds(number, file.descriptor)
            guard status >= 0 else {
                throw .system(attempt: "ask what /dev/loop\(number) holds", code: -status)
            }
            if status == 1 { found.append(number) }
        }
        return found
    }

    /// Puts a file behind a free device; the device is free again when nothing uses it any more,
    /// the returned open file included.
    static func attach(
        _ file: OpenFile, readOnly: Bool, attempt: String
    ) throws(VolumeError) -> (device: OpenFile, number: Int32) {
        var number: Int32 = -1
        let status = clinux_volume_loop_attach(file.descriptor, readOnly ? 1 : 0, &number)
        guard status >= 0 else {
            if status == -ENOENT || status == -ENODEV {
                throw .kernelLacks(
                    feature: "volumes of class loop", cause: "there is no /dev/loop-control",
                    advice: "load the module with `modprobe loop`")
            }
            throw .system(attempt: attempt, code: -status)
        }
        return (OpenFile(adopting: status), number)
    }
}
