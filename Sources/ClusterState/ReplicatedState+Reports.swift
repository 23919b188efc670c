import Base
import ClusterModel

extension ReplicatedState {
    /// Takes in what a host says of its sets; what is about another decision or older is ignored.
    mutating func report(
        _ reports: [SetReport], of id: HostID, _ bootEpoch: BootEpoch, _ change: inout Change
    ) throws(CommandRefusal) {
        guard let position = hostPosition(id) else {
            throw CommandRefusal(.hostUnknown, "host \(id.short) is not registered")
        }
        guard bootEpoch >= hosts[position].bootEpoch else { return }
        let name = hosts[position].name
        for report in reports {
            guard let record = slot(report.slot), record.accepts(report, host: id),
                record.report?.isNewer(bootEpoch, change.request.number) != true
            else { continue }
            let status = SetStatus(
                report, bootEpoch: bootEpoch, requestNumber: change.request.number)
            if !record.stranded { noteTransition(of: record, to: status, on: name, &change) }
            update(report.slot) { $0.report = status }
            limitsReported(record, revision: report.revision)
        }
    }

    private func noteTransition(
        of record: SlotRecord, to status: SetStatus, on host: String, _ change: inout Change
    ) {
        let subject = record.slot.description
        for container in status.containers {
            let before = record.report?.containers.first { $0.name == container.name }
            guard container.ranOutOfMemory(since: before), let exit = container.lastExit else {
                continue
            }
            change.note(
                .setOutOfMemory, subject,
                "container \(container.name) was killed on \(host): \(exit.outOfMemoryReason)")
        }
        if let revision = record.report?.revision, revision != status.revision, revision > 0 {
            change.note(
                .setResized, subject, "has the limits of revision \(status.revision) on \(host)")
        }
        guard status.phase != record.report?.phase else { return }
        switch status.phase {
        case .running:
            change.note(.setRunning, subject, "runs on \(host)")
        case .backingOff:
            change.note(.setBackingOff, subject, "\(status.endings) on \(host)")
        case .failed:
            change.note(.setFailed, subject, "cannot run on \(host): \(status.reason)")
        case .pending, .starting, .stopping:
            break
        }
    }
}

extension SlotRecord {
    /// True when the report is about this very placement; only a host's phases are taken.
    fileprivate func accepts(_ report: SetReport, host: HostID) -> Bool {
        guard let placement, report.phase != .pending else { return false }
        return placement.host == host && placement.index == report.placementIndex
    }
}

extension SetStatus {
    fileprivate init(_ report: SetReport, bootEpoch: BootEpoch, requestNumber: UInt64) {
        self.init(
            phase: report.phase,
            address: report.address.count == 4 ? report.address : [],
            reason: report.reason.bounded,
            containers: Array(report.containers.prefix(SpecLimits.containers)),
            revision: report.revision, bootEpoch: bootEpoch, requestNumber: requestNumber)
    }

    /// True when this is at least as new as a report with these numbers.
    fileprivate func isNewer(_ otherEpoch: BootEpoch, _ otherNumber: UInt64) -> Bool {
        (bootEpoch, requestNumber) >= (otherEpoch, otherNumber)
    }

    /// How its containers ended, for an event.
    fileprivate var endings: String {
        let ended = containers.filter { !$0.running }.compactMap { container in
            container.lastExit.map { "container \(container.name) exited with \($0.code)" }
        }
        return ended.isEmpty ? "a container ended" : ended.joined(separator: ", ")
    }
}

extension ContainerStatus {
    /// True when it ended for lack of memory since it was last reported.
    fileprivate func ranOutOfMemory(since before: ContainerStatus?) -> Bool {
        guard let lastExit, lastExit.outOfMemory else { return false }
        guard let before, before.lastExit == lastExit else { return true }
        return before.running && (!running || restarts > before.restarts)
    }
}
