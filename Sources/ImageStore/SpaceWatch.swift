/// Stops long writing before it eats the disk's reserve, and when the task is cancelled.
struct SpaceWatch {
    /// How much is written between two looks at the disk, in bytes.
    static let interval = 32 << 20

    private let folders: StoreFolders
    private let attempt: String
    private var sinceLastLook = SpaceWatch.interval

    init(folders: StoreFolders, attempt: String) {
        self.folders = folders
        self.attempt = attempt
    }

    /// Accounts for bytes about to be written; a new file counts as one block.
    mutating func willWrite(_ size: Int) throws {
        sinceLastLook += size
        guard sinceLastLook >= SpaceWatch.interval else { return }
        sinceLastLook = 0
        try Task.checkCancellation()
        try folders.requireFree(SpaceWatch.interval, attempt: attempt)
    }
}
