import ClusterModel
import ControlAPI
import Glibc

/// How long it takes to back a volume of 1 GiB up while it is written to, to bring it back, and to
/// have it elsewhere after its host is lost.
struct BackupBenchmark: Benchmark {
    let names = [
        "backup.volume.time", "backup.again.time", "backup.restore.time", "backup.loss.time",
    ]

    private static let volume = "web.0/data"
    /// What the volume holds; its load comes on top.
    private static let mebibytes = 1_024

    func measure(_ lab: Lab) async throws -> [Figure] {
        try await lab.spreadImage()
        let answer = try await lab.shell(#"mkdir -p "$RUN/backups" && echo "$RUN/backups""#)
        let target = answer.split(separator: "\n").first.map(String.init) ?? answer
        let service = BackupBenchmark.service(lab)
        try await lab.insist { _ = try await lab.client(2).apply(service) }
        try await lab.wait("the volume to be filled", limit: .seconds(600), every: .seconds(1)) {
            let request = ExecRequest(
                slot: SlotID(service: "web", ordinal: 0),
                command: ["sh", "-c", "[ -e /data/ready ]"])
            return try await lab.client(2).exec(request, input: nil, receive: { _ in }) == 0
        }
        let first = try await time { try await backUp(lab, to: target) }
        let again = try await time { try await backUp(lab, to: target) }
        let restored = try await time {
            _ = try await lab.client(2).operate(
                .restoreBackup(
                    volume: BackupBenchmark.volume, backup: nil, target: "test.0/data", host: nil))
        }
        let newest = try await lab.client(2).backups().first?.backups.first
        guard newest?.pointInTime == true else {
            throw BenchmarkError("the backup is not of one moment")
        }
        // Only now, so that the schedule's own first backup is not under way before.
        try await lab.insist {
            _ = try await lab.client(2).apply(BackupBenchmark.backedUp(service, to: target))
        }
        let lost = try await lose(lab)
        try await lab.remove()
        try await lab.down()
        let conditions =
            "1 GiB of random bytes in a loop volume, written to meanwhile (4 MiB and fsync in a "
            + "loop), to a folder of the same disk; \(Machine.load)"
        let verified = "read back from disk and equal to the snapshot's digest"
        return [
            Figure(name: names[0], value: first, unit: "s", conditions: "the first; \(conditions)"),
            Figure(name: names[1], value: again, unit: "s", conditions: "the next; \(conditions)"),
            Figure(
                name: names[2], value: restored, unit: "s",
                conditions: "into a new volume, \(verified); \(conditions)"),
            Figure(
                name: names[3], value: lost, unit: "s",
                conditions: "SIGKILL of its host to the set running on another, restore-on-loss: "
                    + "0s, the volume \(verified); \(conditions)"),
        ]
    }

    private static func service(_ lab: Lab) -> ServiceSpec {
        var service = lab.service(sets: 1)
        service.network.publish = []
        service.containers[0].memory = MemorySpec(requestBytes: 32 << 20, limitBytes: 256 << 20)
        service.containers[0].cpu = CPUSpec(requestMillicores: 50, limitMillicores: 1_000)
        service.containers[0].command = [
            "sh", "-c",
            "[ -e /data/ready ] || { dd if=/dev/urandom of=/data/content bs=1M count=\(mebibytes) && "
                + "touch /data/ready; }; while :; do date >> /data/log; "
                + "dd if=/dev/zero of=/data/load bs=64k count=64 conv=fsync; done",
        ]
        service.volumes = [
            VolumeSpec(name: "data", sizeBytes: 1_280 << 20, mount: "/data")
        ]
        return service
    }

    /// The service with backups by itself; the one that was just made is newer than the last moment.
    private static func backedUp(_ service: ServiceSpec, to target: String) -> ServiceSpec {
        var service = service
        service.volumes[0].backup = BackupSpec(
            everySeconds: 300 * 86_400, keep: BackupKeep(last: 3), to: target,
            restoreOnLossSeconds: 0)
        return service
    }

    private func time(_ body: () async throws -> Void) async throws -> Double {
        let start = ContinuousClock.now
        try await body()
        return (ContinuousClock.now - start).inSeconds
    }

    private func backUp(_ lab: Lab, to target: String) async throws {
        _ = try await lab.client(2).operate(
            .backup(volume: BackupBenchmark.volume, to: target))
    }

    private func lose(_ lab: Lab) async throws -> Double {
        guard let name = try await lab.client(2).sets(service: "web").first?.host,
            let host = Int(name.dropFirst())
        else { throw BenchmarkError("web.0 runs nowhere") }
        let watcher = Lab.hosts.first { $0 != host } ?? host
        let taken = try await time {
            try await lab.killHost(host)
            try await lab.wait(
                "the set elsewhere", limit: .seconds(600), every: .milliseconds(50)
            ) {
                try await lab.runs(1, at: watcher, without: name)
            }
        }
        try await lab.startAgent(host)
        try await lab.settle()
        return taken
    }
}
