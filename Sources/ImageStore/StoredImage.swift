/// An image that is whole in the store: every blob is there, verified, and its layers unpacked.
package struct StoredImage: Hashable, Sendable {
    /// One layer, the lowest first in `StoredImage.layers`.
    package struct Layer: Hashable, Sendable {
        /// The blob as it is stored and exchanged, most often compressed.
        package let digest: Digest
        /// The digest of the uncompressed tar: the name of the unpacked folder.
        package let diffID: Digest
        /// The media type as the manifest has it.
        package let mediaType: String
        /// The size of the blob in bytes.
        package let sizeBytes: Int
    }

    /// The name it was loaded or tagged under, in its short form: `demo/web:1`.
    package let reference: String
    /// The digest of the manifest: the image's identity, the same on every host.
    package let manifestDigest: Digest
    /// The digest of the configuration blob.
    package let configDigest: Digest
    /// The layers, lowest first.
    package let layers: [Layer]
    /// All blobs together in bytes: manifest, configuration and layers.
    package let sizeBytes: Int
    /// What to run.
    package let configuration: ImageConfiguration

    /// The digests of all blobs a peer needs to adopt this image, the manifest first.
    package var blobDigests: [Digest] {
        var seen: Set<Digest> = []
        return ([manifestDigest, configDigest] + layers.map(\.digest)).filter {
            seen.insert($0).inserted
        }
    }

    /// The same image under another name.
    func named(_ reference: String) -> StoredImage {
        StoredImage(
            reference: reference, manifestDigest: manifestDigest, configDigest: configDigest,
            layers: layers, sizeBytes: sizeBytes, configuration: configuration)
    }
}

/// What an image says about the process to run; a service's own settings come before these.
package struct ImageConfiguration: Hashable, Sendable {
    /// The start of the command line; a service's `command` does not replace it in OCI terms.
    package let entrypoint: [String]
    /// The rest of the command line.
    package let command: [String]
    /// Variables as `NAME=value`.
    package let environment: [String]
    /// Where the process starts; `/` when the image says nothing.
    package let workingDirectory: String
    /// `user`, `uid`, `user:group` or `uid:gid`; empty for root.
    package let user: String
    /// The signal that asks the process to stop, as `SIGTERM` or `15`; nil for the default.
    package let stopSignal: String?

    package init(
        entrypoint: [String] = [], command: [String] = [], environment: [String] = [],
        workingDirectory: String = "/", user: String = "", stopSignal: String? = nil
    ) {
        self.entrypoint = entrypoint
        self.command = command
        self.environment = environment
        self.workingDirectory = workingDirectory
        self.user = user
        self.stopSignal = stopSignal
    }
}
