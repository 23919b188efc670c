import Base
import ClusterModel
import Glibc

extension ContainerRuntime {
    /// The exit code reported for a container that had to be given up: 128 + SIGKILL.
    static let lostCode = 137

    /// Every container on disk, checked against the processes; the living are watched from then on.
    ///
    /// Numbers of processes count only together with their start time and the host's boot. A
    /// container without a monitor is killed here and has code 137, as has one that a boot of the
    /// host ended. Sorted by id.
    package func containers() async throws -> [AdoptedContainer] {
        var found: [AdoptedContainer] = []
        for id in HostFiles.names(in: "\(settings.folder)/bundles")
        where ContainerLaunch.isValid(id: id) {
            let container = try await alone(with: id) { try await $0.adopt(id) }
            if let container { found.append(container) }
        }
        return found
    }

    private func adopt(_ id: String) async throws -> AdoptedContainer? {
        guard let record = record(of: id) else {
            // Not even an intention: lost with the host's power, or never written.
            try await remove(id)
            return nil
        }
        var container = AdoptedContainer(
            id: id, slot: record.slot, container: record.container,
            placementIndex: record.placementIndex,
            pid: running(record) == nil ? nil : record.process?.pid,
            conmonPid: isMonitored(record) ? record.monitor?.pid : nil, running: false,
            exit: exitRecord(of: id))
        guard container.exit == nil, record.stage == .started else { return container }
        if container.pid != nil, container.conmonPid != nil {
            watch(record)
            container.running = true
            return container
        }
        // Ended just now, or since the last agent; else its monitor was lost.
        await settle(record)
        if exitRecord(of: id) == nil { try await giveUp(record) }
        container.pid = nil
        container.conmonPid = nil
        container.exit = exitRecord(of: id)
        return container
    }

    /// Ends a container that nobody monitors, and writes down the exit in the monitor's place.
    private func giveUp(_ record: ContainerRecord) async throws {
        try await kill(record)
        try HostFiles.write("\(ContainerRuntime.lostCode)", to: exitPath(record.id), mode: 0o600)
    }

    /// Waits for the monitor's end in a task of its own, and reports the exit.
    func watch(_ record: ContainerRecord) {
        guard watches[record.id] == nil else { return }
        let watcher = watcher
        watches[record.id] = Task { [weak self] in
            if let monitor = record.monitor?.open() {
                _ = await watcher.isReadable(monitor.number, within: nil)
            }
            guard !Task.isCancelled else { return }
            await self?.monitorEnded(record.id, record.monitor)
        }
    }

    /// The monitor of a watched container has ended.
    private func monitorEnded(_ id: String, _ monitor: ProcessIdentity?) async {
        // A delete, or a new container of the same id, may have come first.
        guard !Task.isCancelled, let record = record(of: id), record.monitor == monitor else {
            return
        }
        watches[id] = nil
        let isLost = exitRecord(of: id) == nil
        if isLost {
            // Not alone with it: a delete that waits would only do the same.
            do { try await giveUp(record) } catch { return retry(record) }
            guard self.record(of: id)?.monitor == monitor else { return }
        }
        guard let exit = exitRecord(of: id) else { return }
        exitsContinuation.yield(
            ExitNotice(
                id: id, code: exit.code, at: exit.at, outOfMemory: exit.outOfMemory,
                monitorLost: isLost))
    }

    /// Tries later again to end what could not be killed.
    private func retry(_ record: ContainerRecord) {
        guard watches[record.id] == nil else { return }
        watches[record.id] = Task { [weak self] in
            try? await Task.sleep(for: .seconds(5))
            guard !Task.isCancelled else { return }
            await self?.monitorEnded(record.id, record.monitor)
        }
    }

    /// What the exit file says; nil when there is none.
    nonisolated func exitRecord(of id: String) -> ExitRecord? {
        guard let status = HostFiles.status(exitPath(id)),
            let text = HostFiles.text(exitPath(id)),
            let code = Int(text.prefix { !$0.isWhitespace })
        else { return nil }
        return ExitRecord(
            code: code, at: WallTime(milliseconds: status.modified),
            outOfMemory: HostFiles.exists("\(bundlePath(id))/oom"))
    }
}
