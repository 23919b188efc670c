import ArgumentParser
import ClusterModel
import ControlAPI
import FoundationEssentials

/// `shoal volume backup`.
struct VolumeBackupCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "backup", abstract: "Backs a volume up now, also while it is used.",
        discussion: """
            From a snapshot, to where the service file says, or to another target: peers (two other
            hosts), peers:3, a folder that hosts share, s3:https://HOST/BUCKET, rest:https://HOST/.
            Only what is new is stored, encrypted with the cluster's key (backup-key). A backup that
            was cut off is begun again by the same command and uses what was stored.

            EXAMPLES
              shoal volume backup web.3/data
              shoal volume backup web.3/data --to peers:3
              shoal volume backup web.3/data --to /mnt/backup --json | jq .backups.durability
            """)

    @OptionGroup var operation: VolumeOperationOptions
    @Argument(help: "SLOT/VOLUME.")
    var volume: String
    @Option(help: ArgumentHelp("Where to, instead of what the service says.", valueName: "target"))
    var to: String?

    mutating func run() async throws {
        try await operation.report(.backup(volume: volume, to: to))
    }
}

/// `shoal volume backups`.
struct VolumeBackupsCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "backups", abstract: "The backups of one volume, or of all in the cluster.",
        discussion: """
            Those of volumes that are gone stay: restore one with `shoal volume restore`, or forget
            them. LIVE: made while it was written to, since no snapshot could be made; files may be
            of different moments. DAMAGED: the last drill of its repository failed; do not count on
            it.

            EXAMPLES
              shoal volume backups
              shoal volume backups web.3/data
              shoal volume backups --json | jq '.[] | select(.failure) | .volume'
            """)

    @OptionGroup var connection: ConnectionOptions
    @Flag(help: "Print an array of objects, quantities in base units.")
    var json = false
    @Argument(help: "SLOT/VOLUME; all without it.")
    var volume: String?

    mutating func run() async throws {
        let all = try await connection.client.backups()
        let wanted = all.filter { volume == nil || $0.volume == volume }
        if let volume, wanted.isEmpty {
            throw ControlError(
                .notFound, "there are no backups of \(volume), and none are wanted",
                next: "`shoal volume backup \(volume) --to TARGET` makes one")
        }
        if json { return Output.standardOutput(try Output.json(wanted)) }
        var table = Table("VOLUME", "BACKUP", "#AGE", "#SIZE", "PLACE", "STATE")
        for item in wanted {
            for backup in item.backups {
                let states = [
                    backup.damaged ? "damaged" : nil, backup.reachable ? nil : "lost",
                    backup.pointInTime ? nil : "live",
                    item.deleted ? "deleted" : nil,
                ].compactMap { $0 }
                table.add(
                    item.volume, String(backup.id.prefix(8)),
                    HumanUnits.age(backup.ageSeconds),
                    Quantity.display(bytes: backup.sizeBytes), backup.place,
                    states.isEmpty ? "ready" : states.joined(separator: ", "))
            }
            if item.backups.isEmpty { table.add(item.volume, "none yet", "-", "-", "-", "-") }
        }
        Output.standardOutput(table.text)
        for item in wanted {
            if let failure = item.failure {
                Output.standardError(
                    "shoal: \(item.volume): the last backup failed at \(failure.time): "
                        + Output.printable(failure.reason) + "\n")
            }
            if let shortage = item.shortage {
                Output.standardError("shoal: \(item.volume): \(shortage)\n")
            }
        }
    }
}

/// `shoal volume restore`.
struct VolumeRestoreCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "restore", abstract: "Brings a volume back from a backup.",
        discussion: """
            With --as into a new volume beside it, on the host that holds the volume or on --to.

            Without --as in its place: the volumes of its slot are fetched and verified, and then the
            set runs with them. When their host is lost with its disk this is the one command to
            type: the best host is taken, or --to. Should the lost host return, what it has of them
            goes into its trash. While a host that is alive has them it is refused without --replace.
            Then the set is stopped first, and what it had goes into the trash. The other volumes of
            the slot come back from their newest backup, too. Before anything is stopped it is
            refused when the backup is not there or is damaged.

            EXAMPLES
              shoal volume restore web.3/data                          its host is lost
              shoal volume restore web.3/data --to h2
              shoal volume restore web.3/data --backup 3f0c9a1b --replace
              shoal volume restore web.3/data --as test.0/data         into a volume of its own
            """)

    @OptionGroup var operation: VolumeOperationOptions
    @Argument(help: "SLOT/VOLUME.")
    var volume: String
    @Option(help: ArgumentHelp("The backup: its first digits; else the newest.", valueName: "id"))
    var backup: String?
    @Option(name: .customLong("as"), help: "Into this new volume: SLOT/VOLUME.")
    var target: String?
    @Option(help: ArgumentHelp("The host to restore on.", valueName: "host"))
    var to: String?
    @Flag(help: "Also when the volume is there: it goes into the trash.")
    var replace = false
    @Flag(help: "Volumes of the slot that have no backup begin empty.")
    var othersEmpty = false
    @Flag(help: "Return once the order is in the log; do not wait for the set to run.")
    var noWait = false
    @Option(help: ArgumentHelp("Give up waiting after so many seconds.", valueName: "seconds"))
    var timeout = 86_400

    func validate() throws {
        if target != nil, replace || othersEmpty {
            throw ValidationError(
                "--as restores beside; it goes with neither --replace nor --others-empty")
        }
        guard (1...604_800).contains(timeout) else {
            throw ValidationError("--timeout must be from 1 to 604800 seconds")
        }
    }

    mutating func run() async throws {
        if let target {
            return try await operation.report(
                .restoreBackup(volume: volume, backup: backup, target: target, host: to))
        }
        let client = operation.connection.client
        let begin = ContinuousClock.now
        let order = try await client.restore(
            RestorationRequest(
                volume: volume, backup: backup, host: to, replaces: replace,
                allowsEmpty: othersEmpty))
        if noWait || operation.json { return try report(order) }
        Output.standardOutput("\(order.host) restores \(order.summary) of \(order.slot)\n")
        let slot = order.slot.split(separator: ".").first.map(String.init) ?? ""
        var shown = ""
        while ContinuousClock.now - begin < .seconds(timeout) {
            try await Task.sleep(for: .milliseconds(200))
            guard
                let set = try await client.sets(service: slot).first(where: {
                    $0.slot == order.slot
                })
            else { throw ControlError(.notFound, "\(order.slot) was deleted meanwhile") }
            guard set.phase != "running" || set.placementIndex ?? 0 < order.index else {
                let took = ContinuousClock.now - begin
                let milliseconds =
                    Int(took.components.seconds) * 1_000
                    + Int(took.components.attoseconds / 1_000_000_000_000_000)
                Output.standardOutput(
                    "\(order.slot) runs on \(set.host ?? order.host), "
                        + "\(HumanUnits.milliseconds(milliseconds)) after the command\n")
                return
            }
            let now = "\(set.phase): \(set.reason ?? "")"
            if now != shown {
                Output.standardError(Output.printable("\(order.slot) \(now)") + "\n")
            }
            shown = now
        }
        throw ControlError(
            .failed, "\(order.slot) does not run after \(timeout) s: \(shown)",
            next: "the restore goes on; `shoal sets` shows how it is")
    }

    private func report(_ order: RestorationView) throws {
        if operation.json { return try operation.printJSON(order) }
        Output.standardOutput("\(order.host) restores \(order.summary) of \(order.slot)\n")
    }
}

/// `shoal volume backup-key`.
struct VolumeBackupKeyCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "backup-key", abstract: "The password of all backups: keep it elsewhere.",
        discussion: """
            Every repository of this cluster is encrypted with it. Write it down beside the join
            token: nobody finds it again without a host of the cluster. With it, plain restic reads
            the backups when no host is left; the repository of web.3/data is
            TARGET/CLUSTER/web.3.data, where CLUSTER is the first line of `shoal status`.

            EXAMPLES
              shoal volume backup-key > key
              restic -r /mnt/backup/CLUSTER/web.3.data --password-file key snapshots
              restic -r /mnt/backup/CLUSTER/web.3.data --password-file key restore latest --target /tmp/a
              shoal volume backup-key --json | jq -r .cluster
            """)

    @OptionGroup var connection: ConnectionOptions
    @Flag(help: "Print an object with the password and the cluster's folder.")
    var json = false

    mutating func run() async throws {
        let key = try await connection.client.backupKey()
        Output.standardOutput(json ? try Output.json(key) : key.password + "\n")
    }
}

/// `shoal volume forget-backups`.
struct VolumeForgetBackupsCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "forget-backups",
        abstract: "Takes the backups of a volume that is gone off the list.",
        discussion: """
            Only of what no slot has any more. The repositories themselves stay where they are;
            remove their folders by hand if nobody wants them.

            EXAMPLES
              shoal volume forget-backups web.3/data
            """)

    @OptionGroup var connection: ConnectionOptions
    @Argument(help: "SLOT/VOLUME.")
    var volume: String

    mutating func run() async throws {
        _ = try await connection.client.forgetBackups(volume: volume)
        Output.standardOutput("the backups of \(volume) are forgotten\n")
    }
}

extension VolumeBackupsView {
    /// What `shoal volume show` says of a volume's backups, one fact a line.
    var facts: [(String, String)] {
        var facts: [(String, String)] = []
        if let newest = backups.first {
            facts.append(
                (
                    "Last backup",
                    "\(newest.id.prefix(8)), \(HumanUnits.age(newest.ageSeconds)) old, "
                        + Quantity.display(bytes: newest.sizeBytes)
                        + (newest.pointInTime ? "" : ", not of one moment")
                ))
            let places = durability.copiesAt.joined(separator: ", ")
            facts.append(
                (
                    "Copies",
                    (shortage ?? "\(durability.copies)") + (places.isEmpty ? "" : " at \(places)")
                ))
            for place in durability.notCounted { facts.append(("", "not counted: \(place)")) }
        } else {
            facts.append(("Last backup", "none yet"))
        }
        if let everySeconds, let to {
            facts.append(("Backed up", "every \(Quantity.text(seconds: everySeconds)) to \(to)"))
        }
        if let failure { facts.append(("FAILED", "\(failure.time): \(failure.reason)")) }
        if let drill {
            facts.append(
                (
                    "Last drill",
                    drill.problem.map { "FAILED at \(drill.time): \($0)" }
                        ?? "\(drill.time): a backup \(HumanUnits.age(drill.ageMilliseconds / 1_000)) old was "
                        + "restored and verified in "
                        + HumanUnits.milliseconds(drill.durationMilliseconds)
                ))
        }
        return facts + durability.facts
    }

    /// Says that fewer hosts have the newest backup than the service wants; nil when it is as wanted,
    /// or there is no backup yet.
    var shortage: String? {
        guard !deleted, !backups.isEmpty, let wanted = durability.copiesWanted,
            durability.copies < wanted
        else { return nil }
        return "\(durability.copies) of the \(wanted) copies wanted have the newest backup"
    }
}

extension DurabilityView {
    /// Years of which one sees the loss; no more digits than the model is worth.
    private var yearsToLoss: String {
        let years = 1 / lossPerYear
        // Many copies make it larger than an integer can be.
        return years < 1e15 ? "\(Int(years.rounded()))" : "more than 10^15"
    }

    /// The figure and what it was worked out from.
    var facts: [(String, String)] {
        [
            (
                "Durability",
                "\(nines) nines a year: all of it is lost in one of \(yearsToLoss) years"
            ),
            (
                "",
                "taken: \(disks) disk\(disks == 1 ? "" : "s"), \(Int(diskFailuresPerYear * 100)) % of them fail in a "
                    + "year, another good copy within \(HumanUnits.age(repairSeconds))"
            ),
            (
                "",
                disks > copies
                    ? "loss of its disk alone costs "
                        + (windowSeconds.map {
                            "what was written in the last \(HumanUnits.age($0))"
                        } ?? "everything")
                    : "the volume itself is not there now"
            ),
        ]
    }
}

extension Output {
    /// A value as JSON for people and programs.
    fileprivate static func json(_ value: some Encodable) throws -> String {
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.prettyPrinted, .sortedKeys, .withoutEscapingSlashes]
        return String(decoding: try encoder.encode(value), as: UTF8.self) + "\n"
    }
}
