import Foundation
import Testing
import VolumePlan

@testable import VolumeStore

/// Looks at everything after a kill: what the next start finds, and what asking again does.
struct KillInspection {
    let fixture: VolumeFixture
    let pool: PoolFixture?
    let store: VolumeStore
    let order: VictimOrder
    let operation: VictimOperation

    /// Recovers, checks the rules, asks for the operation again, and checks them again.
    func run() async throws -> [KillViolation] {
        let said = try await store.recover()
        var found = said.filter { $0.contains("could not") }.map { KillViolation(.unsettled, $0) }
        found += said.filter { $0.contains("found") }.map { KillViolation(.leaked, $0) }
        found += said.filter { $0.contains("is gone") }.map { KillViolation(.lost, $0) }
        found += try await brokenRules()
        found += try await lostContent()
        // Whoever asked got no answer, and asks again.
        try await order.perform(store)
        found += try await brokenRules()
        found += try await wrongOutcome()
        found += try await store.recover().map { KillViolation(.unsettled, "said again: \($0)") }
        for status in try await store.list(measuring: false) where status.path != nil {
            try await store.detach(status.record.name)
        }
        found += VolumeFixture.mountPoints(below: fixture.folder).map {
            KillViolation(.leaked, "mounted after detaching: \($0)")
        }
        found += VolumeFixture.loopDevices(below: fixture.folder).map {
            KillViolation(.leaked, "held after detaching: \($0)")
        }
        return found
    }

    /// What must hold after every recovery and does not.
    private func brokenRules() async throws -> [KillViolation] {
        let records = try await store.list(measuring: false).map(\.record)
        var found = records.filter {
            $0.state != .ready && $0.state != .receiving && !$0.state.isTrashed
        }
        .map { KillViolation(.unsettled, "\($0.name) is \($0.state.summary)") }
        let names = records.filter(\.state.holdsName).map(\.name)
        if Set(names).count != names.count {
            found.append(KillViolation(.leaked, "two volumes of one name among \(names)"))
        }
        let expected = records.flatMap { record -> [String] in
            let end = record.volumeClass == .loop ? ".image" : ""
            let folder = record.state.isTrashed ? "trash" : "data"
            let content = record.volumeClass == .lvm ? [] : ["\(folder)/\(record.id)\(end)"]
            return content + ["records/\(record.id).record"]
        }
        let files = fixture.files().filter { path in
            path.split(separator: "/").count == 2 && !path.hasPrefix("mounts/")
        }
        found += differences(expected: expected, files)
        if let pool {
            let names = records.filter { $0.volumeClass == .lvm }
                .map { "shoal-\($0.state.isTrashed ? "trash-" : "")\($0.id)" }
            found += differences(expected: names, try pool.volumes())
        }
        for record in records
        where record.volumeClass == .lvm && record.state.isTrashed {
            if try await store.isLogicalVolumeMisplaced(record) {
                found.append(KillViolation(.unsettled, "\(record.name) has a device in the trash"))
            }
        }
        return found + brokenMounts(records)
    }

    private func differences(expected: [String], _ actual: [String]) -> [KillViolation] {
        expected.filter { !actual.contains($0) }.map { KillViolation(.lost, $0) }
            + actual.filter { !expected.contains($0) }.map { KillViolation(.leaked, $0) }
    }

    /// Nothing is mounted twice, and nothing held without a mount.
    private func brokenMounts(_ records: [VolumeRecord]) -> [KillViolation] {
        let points = VolumeFixture.mountPoints(below: fixture.folder)
        let ready = records.filter { $0.state == .ready }
        let allowed = ready.map { store.mountPath($0) }
        var found: [KillViolation] = []
        if Set(points).count != points.count {
            found.append(KillViolation(.doubleMounted, "\(points)"))
        }
        found += points.filter { !allowed.contains($0) }.map {
            KillViolation(.leaked, "mount \($0)")
        }
        let held = VolumeFixture.loopDevices(below: fixture.folder)
        let mounted = ready.filter {
            $0.volumeClass == .loop && points.contains(store.mountPath($0))
        }
        if held.count > mounted.count {
            let kind: KillViolation.Kind = mounted.isEmpty ? .leaked : .doubleMounted
            found.append(KillViolation(kind, "\(held) for \(mounted.count) mounted files"))
        } else if held.count < mounted.count {
            found.append(KillViolation(.lost, "\(held) for \(mounted.count) mounted files"))
        }
        return found
    }

    /// The volume that was acknowledged must be there with its content, in use, at rest or in the
    /// trash.
    private func lostContent() async throws -> [KillViolation] {
        let old = try #require(VictimOrder.old)
        let records = try await store.list(measuring: false).map(\.record)
        var found: [KillViolation] = []
        if operation != .purge, !records.contains(where: { $0.name == old }) {
            found.append(KillViolation(.lost, "no volume is called \(old)"))
        }
        // What is still being received is not whole, and nobody's.
        for record in records
        where record.state != .receiving && (record.name == old || record.origin != nil) {
            let text = try await content(of: record)
            if text != KillTests.token {
                found.append(
                    KillViolation(.lost, "\(record.name) says \(text ?? "nothing")"))
            }
        }
        return found
    }

    /// What the file in a volume says, in the trash too; the volume is as before.
    private func content(of record: VolumeRecord) async throws -> String? {
        let path = store.mountPath(record)
        if try await store.mountTable().mount(at: path) != nil, record.state == .ready {
            // Not frozen, either.
            try VolumeFixture.write("more", to: "\(path)/other")
            return VolumeFixture.read("\(path)/file")
        }
        try await store.mountWork(record, isReadOnly: true)
        let text = VolumeFixture.read("\(store.workPath(record.id))/file")
        try await store.unmountWork(record.id)
        if record.volumeClass == .lvm, record.state.isTrashed {
            // Reading it gave it a device, which the next recovery would take away again and say so.
            try await store.settleLogicalVolume(record)
        }
        return text
    }

    /// The operation, done again, must have had its effect once.
    private func wrongOutcome() async throws -> [KillViolation] {
        let statuses = try await store.list(measuring: false)
        let records = statuses.map(\.record)
        let ready = records.filter { $0.state == .ready }.map { "\($0.name)" }
        let trashed = records.filter(\.state.isTrashed)
        let size = records.first { $0.name == VictimOrder.old && $0.state == .ready }?.size
        let isRight =
            switch operation {
            case .create, .clone, .receive: ready == ["web.0/data", "web.1/data"]
            case .attach: statuses.first?.path != nil
            case .detach: statuses.first?.path == nil
            case .grow, .growAttached: size == order.largeSize
            case .shrink:
                size == order.smallSize
                    && trashed.count == (order.volumeClass == "directory" ? 0 : 1)
            case .snapshot: ready == ["web.0/data", "web.0/data@label"]
            case .delete: ready.isEmpty && trashed.count == 1
            case .restore: ready == ["web.0/data"] && trashed.isEmpty
            case .purge: records.isEmpty
            }
        guard !isRight else { return [] }
        let what =
            "\(operation) left \(records.map { "\($0.name) \($0.state.summary) \($0.size)" })"
        return [KillViolation(.unsettled, what)]
    }
}
