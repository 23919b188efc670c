import Base
import ClusterModel
import Wire

/// The conditions of volumes, written beside them: only of those that there is something to say of.
extension ByteWriter {
    mutating func write(conditionsOf volumes: [VolumeReport]) {
        let told = volumes.indices.filter { !volumes[$0].condition.isWell }
        write(UInt64(told.count))
        for position in told {
            write(UInt64(position))
            write(volumes[position].condition)
        }
    }
}

extension ByteReader {
    /// Reads what `write(conditionsOf:)` wrote into the same volumes.
    mutating func readConditions(of volumes: inout [VolumeReport]) throws(WireError) {
        var next = 0
        for _ in 0..<(try readCount(maximum: volumes.count)) {
            let position = try readUInt64()
            guard (UInt64(next)..<UInt64(volumes.count)).contains(position) else {
                throw .invalid(what: "position of a volume")
            }
            let condition = try read(VolumeCondition.self)
            guard !condition.isWell else { throw .invalid(what: "condition of a volume") }
            volumes[Int(position)].condition = condition
            next = Int(position) + 1
        }
    }
}

extension VolumeReport {
    /// What became of the volume since it was told as `old`, for events: one per crossing of a line
    /// and change of what can be done with it.
    func turns(since old: VolumeReport?, on host: String) -> [(EventKind, String)] {
        guard trashedAt == nil else { return [] }
        let before = old?.condition ?? VolumeCondition()
        var turns: [(EventKind, String)] = []
        if condition.filledPercent > before.filledPercent, !condition.isHeld {
            turns.append(
                (
                    .volumeFilling,
                    "is \(condition.filledPercent) % full on \(host), of "
                        + "\(Quantity.display(bytes: sizeBytes)): grow it, or remove files"
                ))
        }
        switch (before.isHeld, condition.isHeld) {
        case (false, true):
            turns.append(
                (
                    .volumeReadOnly,
                    "is full on \(host) and read-only now: grow it, or allow a clean-up with "
                        + "`shoal volume clean \(title)`"
                ))
        case (true, false): turns.append((.volumeWritable, "is writable again on \(host)"))
        default: break
        }
        if let trouble = condition.trouble, trouble != before.trouble {
            turns.append((.volumeFailed, "on \(host): \(condition.reason)"))
        } else if condition.trouble == nil, before.trouble != nil {
            turns.append((.volumeRecovered, "is well again on \(host)"))
        }
        return turns
    }
}
