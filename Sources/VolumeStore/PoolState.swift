/// How full a thin pool is, as `lvs` tells it.
package struct PoolState: Hashable, Sendable {
    /// What is to be asked of `lvs`, in bytes and separated by `|`.
    package static let columns =
        "lv_size,lv_metadata_size,data_percent,metadata_percent,lv_health_status,lv_check_needed"
    /// From here on nothing new is put into a pool, in percent: thin volumes that run out of it lose writes.
    private static let percentMax = 95

    /// The room for data, in bytes.
    package let size: Int
    /// How much of that is in use, 0 to 100.
    package let dataPercent: Int
    /// How much of the metadata is in use, 0 to 100.
    package let metadataPercent: Int
    /// True when there is no room for the data of new volumes.
    package let isDataNearlyFull: Bool
    /// True when there is no room for new volumes' metadata.
    package let isMetadataNearlyFull: Bool
    /// What LVM calls the state of a pool that has failed; nil for one that works, or is read-only for
    /// want of metadata alone: extending that makes it writable again.
    package let failure: String?

    /// Reads the one line that `lvs` prints; nil when it does not speak of a thin pool.
    package init?(line: String) {
        let fields = line.filter { !$0.isWhitespace }
            .split(separator: "|", omittingEmptySubsequences: false).map(String.init)
        guard fields.count == 6, let size = Int(fields[0]) else { return nil }
        let health = fields[4]
        // A pool that has failed tells neither.
        let data = PoolState.percent(fields[2])
        let metadata = PoolState.percent(fields[3])
        let metadataSize = Int(fields[1])
        let hasFailed = health == "failed"
        guard hasFailed || (data != nil && metadata != nil && metadataSize != nil) else {
            return nil
        }
        self.size = size
        dataPercent = Int(data ?? 0)
        metadataPercent = Int(metadata ?? 0)
        isDataNearlyFull = dataPercent >= PoolState.percentMax
        let free = Double(metadataSize ?? 0) / 100 * (100 - (metadata ?? 0))
        isMetadataNearlyFull =
            metadataPercent >= PoolState.percentMax
            || free <= Double(PoolState.metadataReserve(metadataSize ?? 0))
        let isReadOnly = health == "metadata_read_only"
        let isToBeChecked = fields[5].contains("needed")
        failure =
            hasFailed || (isReadOnly && (isToBeChecked || !isMetadataNearlyFull)) ? health : nil
    }

    private static func percent(_ text: String) -> Double? {
        Double(text).flatMap { (0...100).contains($0) ? $0 : nil }
    }

    /// What must stay free of that many bytes of metadata.
    ///
    /// With less than 4 MiB or a quarter LVM makes no
    /// volume (`lvcreate`); with less than 16 MiB or a tenth the kernel makes the pool read-only
    /// (`__set_metadata_reserve` in dm-thin-metadata.c).
    static func metadataReserve(_ bytes: Int) -> Int {
        max(min(bytes / 4, 4 << 20), min(bytes / 10, 16 << 20))
    }
}
