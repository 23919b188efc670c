import ClusterModel
import Foundation
import Synchronization
import Testing
import VolumePlan

@testable import VolumeStore

/// One operation on the volumes of a test, to be cut off by SIGKILL.
enum VictimOperation: String, CaseIterable, Sendable {
    case create, attach, detach, grow, growAttached, shrink, snapshot, clone, delete, restore, purge
    case receive

    /// True when the volume is attached before the operation.
    var isAttached: Bool {
        switch self {
        case .detach, .growAttached, .snapshot, .delete: true
        default: false
        }
    }

    /// True when the volume is in the trash before the operation.
    var isTrashed: Bool { self == .restore || self == .purge }
}

/// What a process that will be killed is to do; handed over in its environment.
struct VictimOrder: Codable, Sendable {
    static let variable = "SHOALT_VOLUME_VICTIM"

    var root: String
    var volumeClass: String
    var fileSystem: String
    var pool: String?
    var operation: String
    /// The checkpoint at which it kills itself, from 1; 0 for never.
    var killAt: Int
    /// After how many microseconds it kills itself, wherever it is then; nil for never.
    var killAfter: UInt32?

    /// The order of this process, when it is a victim.
    static let own: VictimOrder? = {
        guard let text = ProcessInfo.processInfo.environment[variable] else { return nil }
        return try? JSONDecoder().decode(VictimOrder.self, from: Data(text.utf8))
    }()

    var thinPool: ThinPool? {
        let parts = (pool ?? "").split(separator: "/").map(String.init)
        return parts.count == 2 ? ThinPool(group: parts[0], pool: parts[1]) : nil
    }

    func settings(checkpoint: (@Sendable (String) -> Void)? = nil) -> VolumeStoreSettings {
        VolumeStoreSettings(
            root: root, thinPool: thinPool, trashSeconds: 0, reserveBytes: 0,
            allowsOvercommit: true, now: { 1_000_000 }, checkpoint: checkpoint)
    }

    /// The volume that is there before, and the one that is made.
    static let old = VolumeName("web.0/data")
    static let new = VolumeName("web.1/data")

    var smallSize: Int { fileSystem == "xfs" ? mebibytes(300) : mebibytes(16) }
    var middleSize: Int { fileSystem == "xfs" ? mebibytes(332) : mebibytes(24) }
    var largeSize: Int { fileSystem == "xfs" ? mebibytes(364) : mebibytes(32) }

    func request(_ name: VolumeName) throws -> VolumeRequest {
        let kept = try #require(VolumeClass(rawValue: volumeClass))
        return VolumeRequest(
            name: name, volumeClass: kept, size: middleSize,
            fileSystem: FileSystemKind(rawValue: fileSystem))
    }

    /// Where the victim writes, when it is done, how many microseconds that took.
    var donePath: String { "\(root).done" }

    /// Does it.
    func perform(_ store: VolumeStore) async throws {
        let old = try #require(VictimOrder.old)
        let new = try #require(VictimOrder.new)
        switch try #require(VictimOperation(rawValue: operation)) {
        case .create: try await store.create(request(new))
        case .attach: _ = try await store.attach(old)
        case .detach: try await store.detach(old)
        case .grow, .growAttached: try await store.grow(old, to: largeSize)
        case .shrink: try await store.shrink(old, to: smallSize)
        case .snapshot: try await store.snapshot(old, label: "label")
        case .clone: try await store.clone(old, as: new)
        case .delete:
            let isThere = try await store.list(measuring: false).contains {
                $0.record.state == .ready
            }
            if isThere { try await store.delete(old) }
        case .restore:
            let trashed = try await store.list(measuring: false).first { $0.record.state.isTrashed }
            if let trashed { try await store.restore(trashed.record.id) }
        case .purge: try await store.purgeExpired()
        case .receive: try await receive(old, as: new, store)
        }
    }

    /// Copies a volume as one of another host's, piece by piece, and takes the copy for one of ours.
    private func receive(
        _ old: VolumeName, as new: VolumeName, _ store: VolumeStore
    ) async throws {
        let isHere = try await store.list(measuring: false).contains {
            $0.record.name == new && $0.record.state == .ready
        }
        guard !isHere else { return }
        let record = try await store.find(old)
        let copy = try await store.beginReceiving(
            VolumeOriginal(
                name: new, id: record.id, volumeClass: record.volumeClass,
                fileSystem: record.fileSystem, size: record.size, owner: 7))
        guard record.volumeClass != .directory else {
            try await receiveTree(old, to: copy.id, store)
            try await store.acceptCopy(copy.id)
            return
        }
        let target = try await store.openCopy(copy.id)
        try await store.atRest(old) { source in
            for piece in 0..<source.count {
                let theirs = try await store.digests(of: source, piece..<piece + 1)
                let ours = try await store.digests(of: target, piece..<piece + 1)
                guard theirs != ours else { continue }
                try await store.write(
                    piece, try await store.read(piece, of: source), to: target)
            }
        }
        try await store.settle(target)
        try await store.acceptCopy(copy.id)
    }

    /// Copies the files, as a move does: while the volume may be in use, and at rest.
    private func receiveTree(
        _ old: VolumeName, to copy: VolumeID, _ store: VolumeStore
    ) async throws {
        let first = try await TreePump(store, from: old, to: copy).run()
        try #require(first.code == 0, "\(first)")
        try await store.treeAtRest(old) { folder in
            let last = try await TreePump(store, from: old, to: copy).run()
            try #require(last.code == 0, "\(last)")
            let path = try await store.settleTree(copy)
            var comparison = try TreeComparison(folder, path, name: old, attempt: "test")
            while try comparison.step() {}
        }
    }

    /// Starts a process that does it; returns how it ended, as waitpid(2) says, and what it said.
    func run() throws -> (status: Int32, output: String) {
        let order = String(decoding: try JSONEncoder().encode(self), as: UTF8.self)
        let log = "\(root).log"
        let process = try start(order: order, log: log)
        var status: Int32 = 0
        while waitpid(process, &status, 0) < 0, errno == EINTR {}
        return (status, VolumeFixture.read(log) ?? "")
    }

    /// Starts this test program again, with the victim as its only test.
    private func start(order: String, log: String) throws -> pid_t {
        var words: [String] = []
        var isFilter = false
        for word in CommandLine.arguments {
            if word == "--filter" || isFilter {
                isFilter = word == "--filter"
            } else {
                words.append(word)
            }
        }
        words += ["--filter", "VolumeStoreTests.VictimTests"]
        var arguments = words.map { strdup($0) } + [nil]
        var variables = ProcessInfo.processInfo.environment
        variables[VictimOrder.variable] = order
        var environment = variables.map { strdup("\($0)=\($1)") } + [nil]
        defer { for text in arguments + environment { free(text) } }
        var actions = posix_spawn_file_actions_t()
        posix_spawn_file_actions_init(&actions)
        defer { posix_spawn_file_actions_destroy(&actions) }
        posix_spawn_file_actions_addopen(&actions, 1, log, O_WRONLY | O_CREAT | O_TRUNC, 0o600)
        posix_spawn_file_actions_adddup2(&actions, 1, 2)
        var process = pid_t()
        let status = posix_spawn(
            &process, "/proc/self/exe", &actions, nil, &arguments, &environment)
        try #require(status == 0)
        return process
    }
}

/// Runs in a process of its own only, which ends in the middle.
@Suite("victim", .enabled(if: VictimOrder.own != nil))
struct VictimTests {
    @Test("an operation is cut off")
    func perform() async throws {
        let order = try #require(VictimOrder.own)
        let passed = Atomic<Int>(0)
        let isCounting = Atomic<Bool>(false)
        let store = try VolumeStore(
            settings: order.settings { _ in
                guard isCounting.load(ordering: .relaxed) else { return }
                if passed.add(1, ordering: .relaxed).newValue == order.killAt {
                    kill(getpid(), SIGKILL)
                }
            })
        _ = try await store.recover()
        isCounting.store(true, ordering: .relaxed)
        if let delay = order.killAfter {
            // From another thread, so that it comes wherever the operation is.
            Thread.detachNewThread {
                usleep(delay)
                kill(getpid(), SIGKILL)
            }
        }
        let clock = ContinuousClock()
        let start = clock.now
        try await order.perform(store)
        let took = start.duration(to: clock.now) / .microseconds(1)
        try VolumeFixture.write("\(Int(took))", to: order.donePath)
    }
}
