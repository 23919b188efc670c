import CLinux
import HostPlan

/// How much all sets of the host together may send, and receive, beyond the host.
package enum UplinkSetting: Hashable, Sendable {
    /// As much as the host's own devices carry; nothing is kept back for any set.
    case unlimited
    /// What the link of the default route has at the moment, less a twentieth for the host itself
    /// and for what Ethernet adds; unlimited when the device does not tell, as most virtual ones.
    case link
    /// Bits per second.
    case fixed(Int)

    /// The rates that may be configured: below them the floors of 250 sets would be most of it.
    package static let fixedRange = 1_000_000...TrafficTree.bitsPerSecondMax
}

extension HostControl {
    /// The total of each direction in bits per second, as it is now; nil when there is none.
    package nonisolated func uplinkBitsPerSecond() throws(HostControlError) -> Int? {
        switch settings.uplink {
        case .unlimited: nil
        case .fixed(let rate): rate
        case .link: try HostControl.linkBitsPerSecond().map { $0 / 20 * 19 }
        }
    }

    /// The speed of the device of the default route; nil without one, or when it does not tell.
    private static func linkBitsPerSecond() throws(HostControlError) -> Int? {
        let routes = try KernelFile.readIfPresent("/proc/thread-self/net/route") ?? ""
        guard let device = UplinkRoute.device(routes: routes) else { return nil }
        let megabits = Int(clinux_link_megabits(device))
        return megabits > 0 ? megabits * 1_000_000 : nil
    }
}
