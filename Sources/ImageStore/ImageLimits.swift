/// The bounds of everything the store reads from outside; what goes beyond is refused.
package struct ImageLimits: Hashable, Sendable {
    /// The largest manifest, index or list of references, in bytes.
    package var manifestBytesMax = 4 << 20
    /// The largest configuration blob, in bytes.
    package var configurationBytesMax = 4 << 20
    /// The largest blob, in bytes.
    package var blobBytesMax = 64 << 30
    /// All files of one archive together, in bytes, after the archive's own compression.
    package var archiveBytesMax = 256 << 30
    /// Files, folders and links in one archive.
    package var archiveEntriesMax = 100_000
    /// Images in one archive.
    package var archiveImagesMax = 1_000
    /// Layers of one image.
    ///
    /// The names of this many fit into the one page that mount(2) takes:
    /// 127 × (12 digits + 1) + the container's own folders < 4,096.
    package var layersMax = 127
    /// Entries of one layer.
    package var layerEntriesMax = 1_000_000
    /// One layer uncompressed, in bytes; also the sum of its files' sizes, holes included.
    package var layerBytesMax = 64 << 30
    /// The longest path inside a layer, in bytes.
    package var pathBytesMax = 4_096
    /// The deepest path inside a layer, in names.
    package var pathDepthMax = 256
    /// What must stay free on the store's disk, in bytes; writing stops before that.
    package var freeBytesReserve = 256 << 20
    /// The largest piece that `readBlob` returns, in bytes.
    package var readBytesMax = 4 << 20

    package init() {}
}
