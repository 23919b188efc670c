import ClusterModel

/// What of a container's limits a kernel does not enforce, charge or tell, in sentences for people.
///
/// Sources: Documentation/admin-guide/cgroup-v1/blkio-controller.rst and cgroup-v2.rst ("Writeback"),
/// Documentation/accounting/psi.rst in the kernel's tree.
package enum CgroupNotes {
    /// What a kernel offers, as far as it matters here.
    package struct Kernel: Equatable, Sendable {
        /// The version of its control groups.
        package var version: CgroupLayout.Version
        /// Whether groups can be kept to some processors.
        package var hasCores: Bool
        /// Whether groups tell how their tasks waited (PSI).
        package var hasPressure: Bool

        package init(version: CgroupLayout.Version, hasCores: Bool, hasPressure: Bool) {
            self.version = version
            self.hasCores = hasCores
            self.hasPressure = hasPressure
        }
    }

    /// The sentences for a set's containers, each once, in this order: what is missing of a wall
    /// first, what is only not told last.
    package static func sentences(
        for containers: [CgroupLimits], kernel: Kernel
    ) -> [String] {
        var sentences: [String] = []
        if kernel.version == .one {
            let capsWriting = containers.contains {
                $0.io.writeBytesPerSecond != nil || $0.io.writeOperationsPerSecond != nil
            }
            if capsWriting {
                sentences.append(
                    "control groups of version 1 charge writing only to who writes directly: what "
                        + "goes through the page cache passes the caps of writing")
            }
            if containers.contains(where: { $0.memorySoftBytes != nil }) {
                sentences.append(
                    "control groups of version 1 heed a soft limit of memory only when the whole "
                        + "host is short of memory")
            }
        }
        if !kernel.hasCores {
            sentences.append(
                "control groups have no cpuset controller here: all containers share all cores")
        }
        if !kernel.hasPressure {
            sentences.append(
                "this kernel does not tell how long sets waited (pressure needs control groups of "
                    + "version 2 and a kernel with PSI)")
        }
        return sentences
    }
}
