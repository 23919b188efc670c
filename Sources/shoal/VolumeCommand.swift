import ArgumentParser
import ClusterModel
import ControlAPI

/// `shoal volume`: what can be done with one volume.
struct VolumeCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "volume", abstract: "Looks at and changes one volume; `volumes` lists them.",
        discussion: """
            A volume is named by its slot and its own name, web.3/data; a snapshot of it has a label,
            web.3/data@monday. Ask any host: the work is done where the volume is. Long work shows
            how far it is, and goes on should this command be ended.

            EXAMPLES
              shoal volume show web.3/data
              shoal volume snapshot web.3/data --label monday
              shoal volume clone web.3/data@monday test.0/data
              shoal volume move web.3/data --to h2
              shoal volume rm web.3/data@monday
              shoal volume backup web.3/data
              shoal volume restore web.3/data
            """,
        subcommands: [
            VolumeShowCommand.self, VolumeSnapshotCommand.self, VolumeCloneCommand.self,
            VolumeMoveCommand.self,
            VolumeRemoveCommand.self, VolumeShrinkCommand.self, VolumeCleanCommand.self,
            VolumeBackupCommand.self, VolumeBackupsCommand.self, VolumeRestoreCommand.self,
            VolumeBackupKeyCommand.self, VolumeForgetBackupsCommand.self,
        ])
}

/// `shoal volume show`.
struct VolumeShowCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "show", abstract: "All there is to know of a volume or snapshot.",
        discussion: """
            EXAMPLES
              shoal volume show web.3/data
              shoal volume show web.3/data --json | jq .path
            """)

    @OptionGroup var operation: VolumeOperationOptions
    @Argument(help: "SLOT/VOLUME, or SLOT/VOLUME@LABEL for a snapshot.")
    var volume: String

    mutating func run() async throws {
        let result = try await operation.carryOut(.show(volume: volume))
        if operation.json { return try operation.printJSON(result.volume) }
        Output.standardOutput(result.volume.text)
        if result.volume.state == "lost" { Output.standardError("shoal: \(result.message)\n") }
    }
}

/// `shoal volume snapshot`.
struct VolumeSnapshotCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "snapshot", abstract: "Makes a snapshot of a volume, also while it is used.",
        discussion: """
            What was written before is in it. It lies beside the volume and takes room of the same
            disk: of class lvm, and of class loop where the host's file system shares blocks (xfs),
            only for what changes later. Elsewhere a loop volume is copied, and its writers wait
            meanwhile, ten seconds at most. A directory volume cannot be in use.

            EXAMPLES
              shoal volume snapshot web.3/data
              shoal volume snapshot web.3/data --label monday
            """)

    @OptionGroup var operation: VolumeOperationOptions
    @Argument(help: "SLOT/VOLUME.")
    var volume: String
    @Option(help: "What to call it: a-z, 0-9 and -, at most 32; by default the time.")
    var label: String?

    mutating func run() async throws {
        try await operation.report(.snapshot(volume: volume, label: label))
    }
}

/// `shoal volume clone`.
struct VolumeCloneCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "clone",
        abstract: "Makes a volume of its own with the content of a volume or snapshot.",
        discussion: """
            The clone lies on the same host and belongs to nobody, until a service is applied whose
            slot and volume have its name: that slot runs on the clone's host and uses it. Class and
            file system are those of the original; the size in the file must not be smaller.

            EXAMPLES
              shoal volume clone web.3/data test.0/data
              shoal volume clone web.3/data@monday test.0/data && shoal apply -f test.yaml
            """)

    @OptionGroup var operation: VolumeOperationOptions
    @Argument(help: "SLOT/VOLUME, or SLOT/VOLUME@LABEL.")
    var volume: String
    @Argument(help: "What to call it: SLOT/VOLUME of a service that does not exist yet.")
    var target: String

    mutating func run() async throws {
        try await operation.report(.clone(volume: volume, target: target))
    }
}

/// `shoal volume move`.
struct VolumeMoveCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "move", abstract: "Moves a slot with all of its volumes to another host.",
        discussion: """
            The volumes are copied while the slot runs. Then its set ends, what changed meanwhile is
            copied, every byte is compared, and the slot starts on the other host; what it leaves
            goes into the trash. Refused before anything begins when the other host lacks room or
            cannot keep such volumes; those of class directory need rsync and bubblewrap on both
            hosts. The move goes on when this command is ended, and when hosts
            or agents die on the way; the same command shows how far it is.

            EXAMPLES
              shoal volume move web.3/data --to h2
              shoal volume move web.3 --to h2
              shoal volume move web.3 --cancel
            """)

    @OptionGroup var operation: VolumeOperationOptions
    @Argument(help: "SLOT, or any volume of it: SLOT/VOLUME.")
    var slot: String
    @Option(name: .customLong("to"), help: "The host that is to hold them, by its name.")
    var host: String?
    @Flag(help: "Let the slot stay where it is; in time until the switch.")
    var cancel = false

    func validate() throws {
        guard (host != nil) != cancel else {
            throw ValidationError("say either --to HOST or --cancel")
        }
    }

    mutating func run() async throws {
        if let host {
            try await operation.report(.move(volume: slot, host: host))
        } else {
            try await operation.report(.cancelMove(volume: slot))
        }
    }
}

/// `shoal volume rm`.
struct VolumeRemoveCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "rm", abstract: "Puts a snapshot, or a volume nobody uses, into the trash.",
        discussion: """
            It is kept there for a while (keep-deleted in the configuration of its host), and
            `shoal trash restore` takes it out. A volume that a slot uses is refused.

            EXAMPLES
              shoal volume rm web.3/data@monday
              shoal volume rm test.0/data
            """)

    @OptionGroup var operation: VolumeOperationOptions
    @Argument(help: "SLOT/VOLUME, or SLOT/VOLUME@LABEL for a snapshot.")
    var volume: String

    mutating func run() async throws {
        try await operation.report(.remove(volume: volume))
    }
}

/// `shoal volume shrink`.
struct VolumeShrinkCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "shrink", abstract: "Makes a volume that no slot uses smaller.",
        discussion: """
            Its content is copied into a smaller volume and compared byte for byte; the old one goes
            into the trash. Refused, with what is in use, when the content does not fit. Volumes grow
            with `shoal resize SERVICE --volume NAME=SIZE`.

            EXAMPLES
              shoal volume shrink test.0/data 5Gi
            """)

    @OptionGroup var operation: VolumeOperationOptions
    @Argument(help: "SLOT/VOLUME.")
    var volume: String
    @Argument(help: "The new size, such as 5Gi.")
    var size: QuantityOption

    mutating func run() async throws {
        let bytes = try size.read(Quantity.bytes, "the size")
        try await operation.report(.shrink(volume: volume, sizeBytes: bytes))
    }
}

/// `shoal volume clean`.
struct VolumeCleanCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "clean", abstract: "Lets a full directory volume be written to for a while.",
        discussion: """
            A volume of class directory whose host cannot count by project turns read-only when it
            is full. This gives the time to remove files from it; it stays writable afterwards if
            they were enough.

            EXAMPLES
              shoal volume clean web.3/logs --for 5m
              shoal exec web.3 -- sh -c 'rm /logs/*.old'
            """)

    @OptionGroup var operation: VolumeOperationOptions
    @Argument(help: "SLOT/VOLUME.")
    var volume: String
    @Option(name: .customLong("for"), help: "How long: 30s, 5m, 2h; at most 24h.")
    var window = "5m"

    private var seconds: Int? {
        let units = ["s": 1, "m": 60, "h": 3_600]
        guard let unit = window.last.flatMap({ units[String($0)] }),
            let count = Int(window.dropLast()), (1...86_400).contains(count)
        else { return nil }
        return count * unit
    }

    func validate() throws {
        guard let seconds, (1...86_400).contains(seconds) else {
            throw ValidationError("--for must be a time such as 30s, 5m or 2h, at most 24h")
        }
    }

    mutating func run() async throws {
        try await operation.report(.clean(volume: volume, seconds: seconds ?? 300))
    }
}
