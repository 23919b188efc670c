/// How a volume is backed up: how often, where to, how long copies are kept, and what is done with
/// them by itself.
package struct BackupSpec: Hashable, Sendable, Codable {
    /// The time between two backups, in seconds.
    package var everySeconds: Int
    /// Which backups are kept.
    package var keep: BackupKeep
    /// Where they go: `peers`, `peers:3`, an absolute path, `s3:...` or `rest:...`.
    package var to: String
    /// The time between two drills, which restore the newest backup and verify it; nil for none.
    package var drillSeconds: Int?
    /// How long the volume's host must be lost before the cluster by itself restores the newest
    /// backup on another; nil: only an operator does.
    package var restoreOnLossSeconds: Int?

    package init(
        everySeconds: Int, keep: BackupKeep = BackupKeep(), to: String,
        drillSeconds: Int? = nil, restoreOnLossSeconds: Int? = nil
    ) {
        self.everySeconds = everySeconds
        self.keep = keep
        self.to = to
        self.drillSeconds = drillSeconds
        self.restoreOnLossSeconds = restoreOnLossSeconds
    }

    /// Where backups go; nil when the text is none of the forms.
    package var destination: BackupDestination? { BackupDestination(to) }
}

/// Which of a volume's backups are kept: all that one of the rules wants.
package struct BackupKeep: Hashable, Sendable, Codable {
    /// The newest ones.
    package var last: Int
    /// The newest of each of so many hours.
    package var hourly: Int
    /// The newest of each of so many days.
    package var daily: Int
    /// The newest of each of so many weeks.
    package var weekly: Int
    /// The newest of each of so many months.
    package var monthly: Int

    /// Nothing said: the last seven.
    package init(
        last: Int = 7, hourly: Int = 0, daily: Int = 0, weekly: Int = 0, monthly: Int = 0
    ) {
        self.last = last
        self.hourly = hourly
        self.daily = daily
        self.weekly = weekly
        self.monthly = monthly
    }

    /// The counts with their names in a service file.
    var counts: [(name: String, count: Int)] {
        [
            ("last", last), ("hourly", hourly), ("daily", daily), ("weekly", weekly),
            ("monthly", monthly),
        ]
    }
}

/// Where backups go.
package enum BackupDestination: Hashable, Sendable {
    /// To other hosts of the cluster, so many of them.
    case peers(copies: Int)
    /// To a folder that every host sees under this path, such as a mounted file server's.
    case folder(String)
    /// To an object store or a server of restic's REST protocol: a location as restic writes it.
    case remote(String)

    /// Copies where `peers` says no number.
    package static let copiesDefault = 2

    /// Reads `peers`, `peers:3`, `/mnt/backup`, `s3:https://host/bucket` or `rest:https://host/`.
    package init?(_ text: String) {
        if text == "peers" {
            self = .peers(copies: BackupDestination.copiesDefault)
        } else if text.hasPrefix("peers:") {
            let digits = text.dropFirst("peers:".count)
            guard digits.utf8.count <= 2, let copies = Int(digits), digits.utf8.first != 0x2B else {
                return nil
            }
            self = .peers(copies: copies)
        } else if text.hasPrefix("/") {
            self = .folder(text)
        } else if text.hasPrefix("s3:") || text.hasPrefix("rest:") {
            self = .remote(text)
        } else {
            return nil
        }
    }

    /// What is wrong with it; nil when backups may go there.
    package var problem: String? {
        switch self {
        case .peers(let copies):
            guard SpecLimits.backupCopies.contains(copies) else {
                return "\(copies) copies are not allowed: from "
                    + "\(SpecLimits.backupCopies.lowerBound) to "
                    + "\(SpecLimits.backupCopies.upperBound)"
            }
        case .folder(let path):
            let parts = path.split(separator: "/", omittingEmptySubsequences: false).dropFirst()
            guard path.utf8.count <= SpecLimits.backupTargetBytes, BackupDestination.isPlain(path),
                parts.allSatisfy({ !$0.isEmpty && $0 != "." && $0 != ".." })
            else {
                return "'\(quoted(path))' must be a plain absolute path of at most "
                    + "\(SpecLimits.backupTargetBytes) bytes: no '//', '.', '..' and no '/' at "
                    + "the end"
            }
        case .remote(let location): return BackupDestination.problem(inRemote: location)
        }
        return nil
    }

    private static func problem(inRemote location: String) -> String? {
        guard location.utf8.count <= SpecLimits.backupTargetBytes, isPlain(location) else {
            return "'\(quoted(location))' must have at most \(SpecLimits.backupTargetBytes) "
                + "bytes of ASCII without spaces"
        }
        if location.contains("@") {
            return "credentials do not belong in a service file; put them into the hosts' "
                + "backup-credentials and leave them out here"
        }
        let isREST = location.hasPrefix("rest:")
        let rest = location.dropFirst(isREST ? "rest:".count : "s3:".count)
        if isREST, !rest.hasPrefix("http://"), !rest.hasPrefix("https://") {
            return "'\(quoted(location))' must go on with http:// or https:// after 'rest:'"
        }
        let scheme = rest.hasPrefix("https://") ? 8 : rest.hasPrefix("http://") ? 7 : 0
        let parts = rest.dropFirst(scheme).split(separator: "/")
        guard let server = parts.first, !server.isEmpty, isREST || parts.count >= 2 else {
            return "'\(quoted(location))' must name a server"
                + (isREST ? "" : " and a bucket, such as s3:https://s3.example.com/bucket")
        }
        return nil
    }

    private static func isPlain(_ text: String) -> Bool {
        text.utf8.allSatisfy { (0x21...0x7E).contains($0) }
    }
}

extension BackupSpec {
    /// Adds every broken rule.
    func check(at path: String, into list: inout ProblemList) {
        list.check(
            everySeconds, in: SpecLimits.backupSeconds, at: "\(path).every",
            text: Quantity.text(seconds:))
        for (name, count) in keep.counts {
            list.check(count, in: 0...SpecLimits.backups, at: "\(path).keep.\(name)")
        }
        let kept = keep.counts.reduce(0) { saturatingSum($0, max(0, $1.count)) }
        if kept == 0 {
            list.add("\(path).keep", "at least one backup must be kept")
        } else if kept > SpecLimits.backups {
            list.add(
                "\(path).keep",
                "\(kept) backups are too many: \(SpecLimits.backups) are kept of a volume")
        }
        if let destination {
            if let problem = destination.problem { list.add("\(path).to", problem) }
        } else {
            list.add(
                "\(path).to",
                "'\(quoted(to))' is no target: write peers, peers:3, an absolute path, s3:... "
                    + "or rest:...")
        }
        if let drillSeconds {
            list.check(
                drillSeconds, in: SpecLimits.backupSeconds, at: "\(path).drill",
                text: Quantity.text(seconds:))
        }
        if let restoreOnLossSeconds {
            list.check(
                restoreOnLossSeconds, in: SpecLimits.restoreOnLossSeconds,
                at: "\(path).restore-on-loss", text: Quantity.text(seconds:))
        }
    }
}
