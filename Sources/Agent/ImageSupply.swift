import Base
import ClusterModel
import ClusterState
import ImageStore
import Membership
import PeerCore
import Transport
import Wire

/// Gets images to this host: from its own store, or from a peer that has them.
package actor ImageSupply {
    private let store: ImageStore
    private let driver: PeerDriver
    private let log: AgentLog
    /// How long a peer may be silent before the next one is asked.
    private static let patience = Duration.seconds(10)
    private var underway: [Digest: Task<StoredImage, any Error>] = [:]

    package init(store: ImageStore, driver: PeerDriver, log: AgentLog) {
        self.store = store
        self.driver = driver
        self.log = log
    }

    /// The image a reference leads to in the cluster, here and unpacked when this returns.
    ///
    /// Several sets that want the same image share one transfer.
    func image(_ reference: String) async throws -> StoredImage {
        guard let record = await driver.read({ peer, _ in peer.state.image(reference) }) else {
            throw AgentError(
                "image \(reference) is not known to the cluster: load it with `shoal image load`")
        }
        guard let digest = Digest(record.manifestDigest) else {
            throw AgentError("image \(reference) has the unusable digest \(record.manifestDigest)")
        }
        return try await image(record, digest)
    }

    /// The very image a set was made from, whatever its reference leads to by now.
    func image(_ reference: String, digest text: String) async throws -> StoredImage {
        guard let digest = Digest(text) else { return try await image(reference) }
        if let image = store.image(manifest: digest) { return image }
        let me = await driver.read { peer, _ in peer.id }
        let record = ImageRecord(
            reference: reference, manifestDigest: text, sizeBytes: 0, loadedBy: me)
        return try await image(record, digest)
    }

    /// True when an image need not be fetched: the one of this digest, or else the one that its
    /// reference leads to now.
    func isHere(_ reference: String, digest text: String?) async -> Bool {
        var digest = text.flatMap { Digest($0) }
        if digest == nil {
            let record = await driver.read { peer, _ in peer.state.image(reference) }
            digest = record.flatMap { Digest($0.manifestDigest) }
        }
        return digest.map { store.image(manifest: $0) != nil } ?? false
    }

    private func image(_ record: ImageRecord, _ digest: Digest) async throws -> StoredImage {
        if let image = store.image(manifest: digest) { return image }
        if let task = underway[digest] { return try await task.value }
        let task = Task { try await fetch(record, digest) }
        underway[digest] = task
        defer { underway[digest] = nil }
        return try await task.value
    }

    private func fetch(_ record: ImageRecord, _ digest: Digest) async throws -> StoredImage {
        var refusals: [String] = []
        for host in await candidates(for: record) {
            do {
                let image = try await fetch(record, digest, from: host.id)
                log.info("fetched image \(record.reference) from \(host.name)")
                return image
            } catch {
                refusals.append("\(host.name): \(error)")
            }
        }
        let tried = refusals.isEmpty ? "no other host is up" : refusals.joined(separator: "; ")
        throw AgentError(
            "could not fetch image \(record.reference) (\(record.manifestDigest.prefix(19))) from any host: \(tried). Load it again with `shoal image load`"
        )
    }

    /// The host that loaded it first, then every other live one from a place that differs by host,
    /// so that many hosts in want of one image do not all ask the same peer.
    private func candidates(for record: ImageRecord) async -> [(id: HostID, name: String)] {
        let (me, members) = await driver.read { peer, _ in (peer.id, peer.membership.members) }
        let others = members.filter { $0.id != me && $0.status == .alive }
        guard !others.isEmpty else { return [] }
        let start = others.firstIndex { $0.id > me } ?? 0
        let turned = Array(others[start...] + others[..<start])
        let first = turned.filter { $0.id == record.loadedBy }
        return (first + turned.filter { $0.id != record.loadedBy }).map {
            ($0.id, $0.facts?.name ?? $0.id.short)
        }
    }

    private func fetch(
        _ record: ImageRecord, _ digest: Digest, from host: HostID
    ) async throws -> StoredImage {
        let channel = try await open(.image(manifest: record.manifestDigest), at: host)
        defer { channel.cancel() }
        guard
            let offer = try await channel.receive(
                ImageOffer.self, patience: ImageSupply.patience)
        else { throw AgentError("the list of blobs broke off") }
        for blob in offer.blobs {
            guard let blobDigest = Digest(blob.digest), blob.size <= UInt64(Int.max) else {
                throw AgentError("it offered an unusable blob \(blob.digest)")
            }
            if store.hasBlob(blobDigest) { continue }
            try await fetch(blobDigest, size: Int(blob.size), from: host)
        }
        return try await store.adopt(manifest: digest, reference: record.reference)
    }

    private func fetch(_ blob: Digest, size: Int, from host: HostID) async throws {
        let channel = try await open(.blob(digest: "\(blob)", offset: 0), at: host)
        defer { channel.cancel() }
        let writer = try await store.receive(blob, expectedSize: size)
        do {
            while let bytes = try await channel.receiveBytes(patience: ImageSupply.patience) {
                try await writer.write(bytes)
            }
            try await writer.finish()
        } catch {
            await writer.abort()
            throw error
        }
    }

    private func open(_ request: PeerRequest, at host: HostID) async throws -> PeerChannel {
        let channel = PeerChannel(
            try await driver.openStream(to: host, header: request.encoded))
        try await channel.expectReady(patience: ImageSupply.patience)
        return channel
    }

    // MARK: For other hosts

    /// Answers a peer that wants an image's list of blobs.
    func serve(manifest text: String, to channel: PeerChannel) async throws {
        guard let digest = Digest(text), let image = store.image(manifest: digest) else {
            return try await channel.refuse("it does not have this image")
        }
        let blobs = image.blobDigests.compactMap { digest in
            store.blobSize(digest).map {
                ImageOffer.Blob(digest: "\(digest)", size: UInt64($0))
            }
        }
        try await channel.send(PeerReply.ready)
        try await channel.send(ImageOffer(blobs: blobs))
        await channel.finish()
    }

    /// Answers a peer that wants a blob.
    func serve(blob text: String, offset: UInt64, to channel: PeerChannel) async throws {
        guard let digest = Digest(text), let size = store.blobSize(digest),
            offset <= UInt64(size)
        else { return try await channel.refuse("it does not have blob \(text.prefix(80))") }
        try await channel.send(PeerReply.ready)
        var position = Int(offset)
        while position < size {
            let bytes = try await store.readBlob(digest, offset: position, maximum: 256 << 10)
            guard !bytes.isEmpty else { break }
            try await channel.stream.send(bytes)
            position += bytes.count
        }
        await channel.finish()
    }
}
