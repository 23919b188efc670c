import Base

/// The form of a datagram: a readable header, then the sealed payload.
///
/// ```
/// magic 2 | version 1 | kind 1 | cluster 16 | sender 32 | boot epoch 8 | sequence 8 | nonce 24
/// payload, sealed with XChaCha20-Poly1305 under a key derived from the cluster's; the header is
/// additional data
/// ```
/// The nonce is drawn at random: a cloned host key then costs no secrecy. The receiver is not named:
/// a datagram replayed to another host is accepted there once, as if sent there by its sender, with
/// the attacker's address as source. Datagram payloads must tolerate that; membership's do, being
/// idempotent and versioned, and probes carry the number of the request they answer.
package struct DatagramCodec: Sendable {
    /// What a header says; not authentic before the payload was opened.
    package struct Header: Equatable, Sendable {
        /// The host and its start.
        package var sender: SenderIdentity
        /// Counts the datagrams of that start from 1.
        package var sequence: UInt64

        package init(sender: SenderIdentity, sequence: UInt64) {
            self.sender = sender
            self.sequence = sequence
        }
    }

    /// Why a packet is not one of ours, by what can be told without cryptography.
    package enum Refusal: Error, Equatable, Sendable {
        case truncated
        case oversized
        /// Wrong magic, version or kind.
        case foreign
        case wrongCluster
    }

    /// Bytes before the sealed payload.
    package static let headerBytes = 2 + 1 + 1 + ClusterID.byteCount + HostID.byteCount + 8 + 8 + 24
    /// Bytes that a datagram is longer than its payload.
    package static let overheadBytes = headerBytes + Sodium.tagBytes

    private static let start: [UInt8] = [0x53, 0x4C, 1, 0]  // "SL", version 1, kind 0

    private let clusterID: ClusterID
    private let key: [UInt8]
    private let bytesMax: Int

    /// Seals and opens for one cluster, up to `bytesMax` bytes a datagram.
    package init(secret: ClusterSecret, bytesMax: Int) {
        clusterID = secret.clusterID
        key = secret.key(for: "datagram")
        self.bytesMax = bytesMax
    }

    /// The whole datagram; the caller keeps to the payload's bound.
    package func seal(_ payload: [UInt8], header: Header) -> [UInt8] {
        let nonce = Sodium.random(Sodium.longNonceBytes)
        let packet =
            DatagramCodec.start + clusterID.bytes + header.sender.hostID.bytes
            + bigEndian(header.sender.bootEpoch.value) + bigEndian(header.sequence) + nonce
        return packet + Sodium.seal(payload, additional: packet, nonce: nonce, key: key)
    }

    /// Reads the header without any cryptography.
    package func header(of packet: [UInt8]) throws(Refusal) -> Header {
        guard packet.count >= DatagramCodec.overheadBytes else { throw .truncated }
        guard packet.count <= bytesMax else { throw .oversized }
        guard packet.starts(with: DatagramCodec.start) else { throw .foreign }
        guard packet[4..<20].elementsEqual(clusterID.bytes) else { throw .wrongCluster }
        guard let hostID = HostID(bytes: packet[20..<52]) else { throw .foreign }
        let bootEpoch = BootEpoch(number(bigEndian: packet[52..<60]))
        return Header(
            sender: SenderIdentity(hostID: hostID, bootEpoch: bootEpoch),
            sequence: number(bigEndian: packet[60..<68]))
    }

    /// The payload; nil when the packet was not sealed so under this cluster's key.
    package func open(_ packet: [UInt8]) -> [UInt8]? {
        guard packet.count >= DatagramCodec.overheadBytes else { return nil }
        let header = Array(packet[..<DatagramCodec.headerBytes])
        return Sodium.open(
            Array(packet[DatagramCodec.headerBytes...]), additional: header,
            nonce: Array(header.suffix(Sodium.longNonceBytes)), key: key)
    }
}
