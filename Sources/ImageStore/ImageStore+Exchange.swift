extension ImageStore {
    /// The bytes of a manifest blob; for a peer that wants the image.
    package nonisolated func manifestBytes(_ digest: Digest) async throws -> [UInt8] {
        try await blobs.whole(digest, bytesMax: limits.manifestBytesMax)
    }

    /// True when the blob is here, whole and verified.
    package nonisolated func hasBlob(_ digest: Digest) -> Bool { blobSize(digest) != nil }

    /// The size of a blob in bytes; nil when it is not here.
    package nonisolated func blobSize(_ digest: Digest) -> Int? { folders.blobSize(digest) }

    /// A piece of a blob: at most `maximum` bytes (and at most `limits.readBytesMax`) from
    /// `offset`, fewer at its end, none behind it.
    package nonisolated func readBlob(
        _ digest: Digest, offset: Int, maximum: Int
    ) async throws -> [UInt8] {
        try await blobs.read(digest, offset: offset, maximum: maximum)
    }

    /// Begins to receive a blob from a peer; it is not in the store until `finish` says so.
    ///
    /// Refused when the size is beyond `limits.blobBytesMax` or would not leave the reserve free.
    package nonisolated func receive(
        _ digest: Digest, expectedSize: Int
    ) async throws -> BlobWriter {
        try await blobs.receive(digest, expectedSize: expectedSize)
    }

    /// Makes an image of a manifest blob that is here with all it names; idempotent.
    ///
    /// It is verified like a loaded one, its layers are unpacked, and it is listed under the
    /// reference.
    package nonisolated func adopt(
        manifest digest: Digest, reference: String
    ) async throws -> StoredImage {
        try await loader.adopt(manifest: digest, reference: reference)
    }
}
