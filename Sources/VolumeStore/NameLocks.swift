import VolumePlan

/// Lets one operation at a time work on a volume, first come first served.
///
/// Used by one actor only; snapshots count as their volume.
struct NameLocks {
    private var waiting: [VolumeName: [CheckedContinuation<Void, Never>]] = [:]

    /// True when it was free and is taken now.
    mutating func take(_ name: VolumeName) -> Bool {
        guard waiting[name] == nil else { return false }
        waiting[name] = []
        return true
    }

    /// Lines up for a name that is taken; the lock is handed over when the continuation resumes.
    mutating func wait(for name: VolumeName, _ continuation: CheckedContinuation<Void, Never>) {
        waiting[name]?.append(continuation)
    }

    /// Hands the name to the next in line, or frees it.
    mutating func release(_ name: VolumeName) {
        guard var line = waiting[name] else { return }
        if line.isEmpty {
            waiting[name] = nil
        } else {
            let next = line.removeFirst()
            waiting[name] = line
            next.resume()
        }
    }
}
