import ClusterModel

/// Backups of volumes in a service file.
extension SpecReader {
    /// `backup: {every: 6h, keep: {...}, to: peers, drill: 7d, restore-on-loss: 30m}`.
    mutating func backup(_ node: YAMLNode, _ path: String) -> BackupSpec {
        let fields = mapping(
            node, path, known: ["every", "keep", "to", "drill", "restore-on-loss"])
        var spec = BackupSpec(everySeconds: 0, to: "")
        set(
            &spec.everySeconds,
            required("every", fields, node, path).flatMap { seconds($0, "\(path).every") })
        spec.to = required("to", fields, node, path).flatMap { text($0, "\(path).to") } ?? ""
        if let keep = fields["keep"] { spec.keep = backupKeep(keep, "\(path).keep") }
        spec.drillSeconds = fields["drill"].flatMap { seconds($0, "\(path).drill") }
        spec.restoreOnLossSeconds = fields["restore-on-loss"].flatMap {
            seconds($0, "\(path).restore-on-loss")
        }
        return spec
    }

    /// What a mapping does not name keeps nothing.
    private mutating func backupKeep(_ node: YAMLNode, _ path: String) -> BackupKeep {
        let fields = mapping(
            node, path, known: ["last", "hourly", "daily", "weekly", "monthly"])
        func count(_ key: String) -> Int {
            fields[key].flatMap { wholeNumber($0, "\(path).\(key)") } ?? 0
        }
        return BackupKeep(
            last: count("last"), hourly: count("hourly"), daily: count("daily"),
            weekly: count("weekly"), monthly: count("monthly"))
    }

    private mutating func seconds(_ node: YAMLNode, _ path: String) -> Int? {
        quantity(node, path, Quantity.seconds)
    }
}
