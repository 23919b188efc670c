import Base

/// Reads blobs for peers and receives blobs from them, on a thread of its own.
actor BlobFolder {
    private let folders: StoreFolders
    private let inventory: Inventory
    private let executor: ThreadExecutor

    nonisolated var unownedExecutor: UnownedSerialExecutor {
        executor.asUnownedSerialExecutor()
    }

    init(inventory: Inventory) throws {
        folders = inventory.folders
        self.inventory = inventory
        executor = try ThreadExecutor(name: "blobs")
    }

    /// A small blob as a whole.
    func whole(_ digest: Digest, bytesMax: Int) throws -> [UInt8] {
        try folders.wholeBlob(digest, bytesMax: bytesMax)
    }

    /// A piece of a blob.
    func read(_ digest: Digest, offset: Int, maximum: Int) throws -> [UInt8] {
        guard offset >= 0, maximum >= 0 else {
            throw ImageError(
                .refused,
                "could not read blob \(digest): offset \(offset) and size \(maximum) must not be "
                    + "negative")
        }
        let file = try folders.openBlob(digest)
        let size = min(maximum, folders.limits.readBytesMax)
        return try file.read(offset: offset, maximum: size, naming: "blob \(digest)")
    }

    /// Begins to receive a blob.
    func receive(_ digest: Digest, expectedSize: Int) throws -> BlobWriter {
        guard (1...folders.limits.blobBytesMax).contains(expectedSize) else {
            throw ImageError(
                .refused,
                "could not receive blob \(digest): a size of \(expectedSize) bytes is not between "
                    + "1 and \(folders.limits.blobBytesMax)")
        }
        try folders.requireFree(expectedSize, attempt: "receive blob \(digest)")
        let staged = try folders.makeStagedFile()
        return BlobWriter(
            digest: digest, expectedSize: expectedSize, file: staged, inventory: inventory,
            executor: executor)
    }
}

/// Receives one blob. Until `finish` returns, and after any error, the store does not have it.
///
/// A writer that goes away unfinished removes what it wrote.
package actor BlobWriter {
    private let digest: Digest
    private let expectedSize: Int
    private let inventory: Inventory
    private let executor: ThreadExecutor
    private var staged: StagedFile?
    private var hasher = DigestHasher()

    package nonisolated var unownedExecutor: UnownedSerialExecutor {
        executor.asUnownedSerialExecutor()
    }

    init(
        digest: Digest, expectedSize: Int, file: consuming StagedFile, inventory: Inventory,
        executor: ThreadExecutor
    ) {
        self.digest = digest
        self.expectedSize = expectedSize
        staged = consume file
        self.inventory = inventory
        self.executor = executor
    }

    /// Bytes written so far.
    package var size: Int { hasher.size }

    /// Appends a piece; refused, and everything removed, beyond the expected size.
    package func write(_ bytes: [UInt8]) throws {
        guard bytes.count <= expectedSize - hasher.size else {
            throw failed(.refused, "more than the expected \(expectedSize) bytes came")
        }
        guard staged != nil else { throw failed(.refused, "it was finished or aborted") }
        do {
            try bytes.withUnsafeBytes { try staged?.write($0, naming: "blob \(digest)") }
        } catch {
            abort()
            throw error
        }
        bytes.withUnsafeBytes { hasher.update($0) }
    }

    /// Verifies size and digest and puts the blob into the store, safe against a power cut.
    package func finish() throws {
        guard let complete = staged.take() else {
            throw failed(.refused, "it was finished or aborted")
        }
        guard hasher.size == expectedSize else {
            throw failed(.refused, "\(hasher.size) bytes came instead of \(expectedSize)")
        }
        let found = hasher.finish()
        guard found == digest else { throw failed(.refused, "the bytes that came are \(found)") }
        try inventory.keep(complete, asReceived: digest)
    }

    /// Gives up and removes what was written; idempotent.
    package func abort() {
        staged = nil
    }

    private func failed(_ reason: ImageError.Reason, _ why: String) -> ImageError {
        abort()
        return ImageError(
            reason, "could not receive blob \(digest): \(why); fetch it again, from another peer")
    }
}
