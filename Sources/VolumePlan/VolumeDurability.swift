/// How safe a volume's data is: the figure that `shoal volume show` states.
///
/// The model: every disk (the volume's own, and each copy's) fails by itself, at an assumed yearly
/// rate; what failed is replaced within the repair time; data is lost when all of them are failed
/// at once. With k disks, a yearly rate r and a repair time T in years the chance of that in a year
/// is about k·r·Π((k − i)·r·T) for i from 1 to k − 1, which is the usual chain of failures each
/// within the repair of those before, without the small terms. What was written since the newest
/// backup is not in it: that is lost with the volume's own disk, and told apart.
package struct VolumeDurability: Hashable, Sendable {
    /// The share of disks that fail in a year: 2 %, above the 1.3 to 1.7 % that operators of large
    /// numbers of disks publish.
    package static let diskFailuresPerYear = 0.02
    /// How long an operator takes to restore a volume that does not restore itself, in seconds: a
    /// day.
    package static let operatorSeconds = 86_400
    /// How long a copy may be bad before anybody knows when no drill reads it, in seconds: a year.
    package static let undrilledSeconds = 365 * 86_400
    /// How long the cluster takes to see that a host is lost, in seconds.
    package static let detectionSeconds = 4

    /// Disks that hold the data: the volume's own, unless that is lost, and one for each copy.
    package var disks: Int
    /// The longest time from a failure until there is another good copy instead, in seconds.
    package var repairSeconds: Int
    /// The chance that everything is lost within a year, from 0 to 1.
    package var lossPerYear: Double

    /// Works the figure out.
    ///
    /// `copies` counts repositories on other disks that have the newest backup; `hasOwnDisk` is false
    /// once the volume itself is lost; `every` is the time between
    /// backups, in which a lost copy is made anew; `drill` the time between drills or nil;
    /// `restoreOnLoss` the wait before it restores itself or nil; `restoreSeconds` what a restore
    /// took last, or is thought to take.
    package init(
        copies: Int, hasOwnDisk: Bool = true, every: Int, drill: Int?, restoreOnLoss: Int?,
        restoreSeconds: Int
    ) {
        disks = max(0, copies) + (hasOwnDisk ? 1 : 0)
        let own =
            VolumeDurability.detectionSeconds
            + (restoreOnLoss ?? VolumeDurability.operatorSeconds) + max(0, restoreSeconds)
        repairSeconds =
            copies > 0 ? max(own, every, drill ?? VolumeDurability.undrilledSeconds) : 0
        let rate = VolumeDurability.diskFailuresPerYear
        let years = Double(repairSeconds) / Double(365 * 86_400)
        // Without a disk it is lost already.
        var loss = disks == 0 ? 1 : Double(disks) * rate
        for failed in 1..<max(disks, 2) where disks > 1 {
            loss *= min(1, Double(disks - failed) * rate * years)
        }
        lossPerYear = min(1, loss)
    }

    /// How many nines the share of volumes that keep their data over a year has, in tenths.
    package var tenthsOfNines: Int {
        var tenths = 0
        // 10^(-1/10), so that each step is a tenth of a nine; no logarithm in a pure room.
        var bound = 0.794_328_234_724_281_5
        while lossPerYear <= bound, tenths < 200 {
            tenths += 1
            bound *= 0.794_328_234_724_281_5
        }
        return tenths
    }
}
