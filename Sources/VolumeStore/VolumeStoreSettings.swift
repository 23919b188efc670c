import Glibc

/// The thin pool that `lvm` volumes are made in.
package struct ThinPool: Hashable, Sendable, CustomStringConvertible {
    /// The volume group.
    package var group: String
    /// The pool in it.
    package var pool: String

    package init(group: String, pool: String) {
        self.group = group
        self.pool = pool
    }

    package var description: String { "\(group)/\(pool)" }
}

/// Where a host keeps its volumes, and by which rules.
package struct VolumeStoreSettings: Sendable {
    /// The store's folder, absolute; made when it is missing.
    ///
    /// Nobody but root may write there.
    package var root: String
    /// The pool for volumes of class `lvm`; nil when the host has none.
    package var thinPool: ThinPool?
    /// How long the trash keeps a volume, in seconds.
    package var trashSeconds: Int
    /// Bytes of the disk that volumes may never be promised.
    package var reserveBytes: Int
    /// The most bytes of the disk that volumes may be promised together; nil is as many as are free.
    package var capacityBytes: Int?
    /// True when volumes may be promised more than the disk has.
    package var allowsOvercommit: Bool
    /// The civil time in seconds since 1970.
    package var now: @Sendable () -> Int
    /// Called between any two steps with the name of what comes next; for tests, which end the
    /// process there.
    package var checkpoint: (@Sendable (String) -> Void)?

    package init(
        root: String, thinPool: ThinPool? = nil, trashSeconds: Int = 7 * 86_400,
        reserveBytes: Int = 256 << 20, capacityBytes: Int? = nil, allowsOvercommit: Bool = false,
        now: @escaping @Sendable () -> Int = { time(nil) },
        checkpoint: (@Sendable (String) -> Void)? = nil
    ) {
        self.root = root
        self.thinPool = thinPool
        self.trashSeconds = trashSeconds
        self.reserveBytes = reserveBytes
        self.capacityBytes = capacityBytes
        self.allowsOvercommit = allowsOvercommit
        self.now = now
        self.checkpoint = checkpoint
    }

    /// Every broken rule, as a sentence with the setting's name.
    package func problems() -> [String] {
        var problems: [String] = []
        let isPlain = root.utf8.allSatisfy {
            97...122 ~= $0 || 65...90 ~= $0 || 48...57 ~= $0 || [45, 46, 47, 95].contains($0)
        }
        // Commas, colons and blanks would mean something in the options of an overlay.
        if !root.hasPrefix("/") || root.utf8.count > 256 || !isPlain || root.contains("/../") {
            problems.append(
                "the folder `\(root.prefix(300))` must be an absolute path of at most 256 "
                    + "characters out of a-z, A-Z, 0-9, `/`, `.`, `-` and `_`")
        }
        if trashSeconds < 0 { problems.append("the trash cannot keep volumes a negative time") }
        if reserveBytes < 0 { problems.append("the reserve cannot be negative") }
        if let thinPool,
            ![thinPool.group, thinPool.pool].allSatisfy(VolumeStoreSettings.isPoolName)
        {
            problems.append(
                "the thin pool `\(thinPool)` must be GROUP/POOL of a-z, A-Z, 0-9, `.`, `_`, `-`")
        }
        return problems
    }

    private static func isPoolName(_ text: String) -> Bool {
        1...100 ~= text.utf8.count && text.utf8.first != UInt8(ascii: "-")
            && text.utf8.first != UInt8(ascii: ".")
            && text.utf8.allSatisfy {
                97...122 ~= $0 || 65...90 ~= $0 || 48...57 ~= $0 || [45, 46, 95].contains($0)
            }
    }
}
