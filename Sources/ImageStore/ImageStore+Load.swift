extension ImageStore {
    /// Loads the images of an archive: an OCI image layout or the output of `docker save`, as a
    /// folder, a tar, or a tar compressed with gzip, zstd, xz or bzip2.
    ///
    /// `references`, when given, replace the names that the archive gives; it must then hold one
    /// image. All or nothing: on failure nothing of the archive stays. Loading again what is here
    /// changes nothing.
    package func load(
        archive path: String, references: [String] = []
    ) async throws -> [StoredImage] {
        throw ImageError(.unsupported, "could not load \(path)")
    }
}
