import Glibc

/// Blobs, unpacked layers and their short links.
extension StoreFolders {
    /// The size of a blob in bytes; nil when it is not here.
    func blobSize(_ digest: Digest) -> Int? {
        var facts = stat()
        guard
            fstatat(blobs.descriptor, digest.hexadecimal, &facts, AT_SYMLINK_NOFOLLOW) == 0,
            facts.st_mode & S_IFMT == S_IFREG
        else { return nil }
        return Int(facts.st_size)
    }

    /// Opens a blob for reading.
    func openBlob(_ digest: Digest) throws -> OpenFile {
        guard blobSize(digest) != nil else {
            throw ImageError(
                .notFound, "could not read blob \(digest): it is not here; ask another peer")
        }
        return try OpenFile(
            in: blobs, digest.hexadecimal, flags: O_RDONLY, attempt: "open blob \(digest)")
    }

    /// Reads a small blob and verifies it.
    func wholeBlob(_ digest: Digest, bytesMax: Int) throws -> [UInt8] {
        let file = try openBlob(digest)
        let bytes = try file.read(offset: 0, maximum: bytesMax + 1, naming: "blob \(digest)")
        guard bytes.count <= bytesMax else {
            throw ImageError(
                .refused,
                "could not read blob \(digest): a manifest or configuration may have at most "
                    + "\(bytesMax) bytes")
        }
        guard Digest(of: bytes) == digest else {
            throw ImageError(
                .refused,
                "could not read blob \(digest): its bytes have changed on the disk; load the image "
                    + "again")
        }
        return bytes
    }

    /// Gives a verified staged file its place among the blobs, safe against a power cut.
    func keep(_ file: StagedFile, asBlob digest: Digest) throws {
        try file.move(to: blobs, digest.hexadecimal)
        try blobs.synchronize(naming: "the blob folder")
    }

    /// Moves a blob into `staging/`, to be removed there; nil when it is not here.
    func withdraw(blob digest: Digest) throws -> String? {
        try withdraw(digest.hexadecimal, from: blobs)
    }

    /// True when a layer is unpacked.
    func hasLayer(_ diffID: Digest) -> Bool {
        var facts = stat()
        return fstatat(layers.descriptor, diffID.hexadecimal, &facts, AT_SYMLINK_NOFOLLOW) == 0
    }

    /// Removes an unpacked layer's short link and moves the layer into `staging/`, to be removed
    /// there; nil when it is not here.
    func withdraw(layer diffID: Digest) throws -> String? {
        if let short = try shortLink(diffID, making: false) {
            guard unlinkat(links.descriptor, short, 0) == 0 || errno == ENOENT else {
                throw ImageError(attempt: "remove the link of layer \(diffID)", code: errno)
            }
        }
        return try withdraw(diffID.hexadecimal, from: layers)
    }

    /// The name in `l/` that leads to an unpacked layer: the first 12 digits of its digest.
    ///
    /// mount(2) takes one page of options, too little for full names. When another layer already
    /// has the same first digits, which an attacker could arrange, more digits are used.
    func shortLink(_ diffID: Digest, making: Bool) throws -> String? {
        let target = "../layers/\(diffID.hexadecimal)"
        for length in 12...64 {
            let short = String(diffID.hexadecimal.prefix(length))
            if linkTarget(short) == target { return short }
            guard making else { continue }
            if symlinkat(target, links.descriptor, short) == 0 { return short }
            guard errno == EEXIST else {
                throw ImageError(attempt: "link layer \(diffID)", code: errno)
            }
        }
        return nil
    }

    private func linkTarget(_ short: String) -> String? {
        var buffer = [CChar](repeating: 0, count: 128)
        let count = readlinkat(links.descriptor, short, &buffer, buffer.count)
        guard count >= 0 else { return nil }
        return String(decoding: buffer.prefix(count).map(UInt8.init(bitPattern:)), as: UTF8.self)
    }
}
