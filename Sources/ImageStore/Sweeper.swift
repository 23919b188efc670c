/// Removes for good what was discarded, on a thread of its own: a tree may have a million files.
actor Sweeper {
    private let folders: StoreFolders
    private let executor: ThreadExecutor

    nonisolated var unownedExecutor: UnownedSerialExecutor {
        executor.asUnownedSerialExecutor()
    }

    init(folders: StoreFolders) throws {
        self.folders = folders
        executor = try ThreadExecutor(name: "images-sweep")
    }

    /// Removes what was discarded; throws the first failure, after trying all.
    func sweep(_ discarded: Discarded) throws {
        try discarded.remove(from: folders)
    }
}
