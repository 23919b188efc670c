import Base

/// The form of a datagram: a readable header, then the sealed payload.
///
/// ```
/// magic 2 | version 1 | kind 1 | cluster 16 | sender 32 | its boot epoch 8 | sequence 8
/// receiver 32 | its boot epoch 8 | nonce 24
/// payload, sealed with XChaCha20-Poly1305 under a key derived from the cluster's; the header is
/// additional data
/// ```
/// The nonce is drawn at random: a cloned host key then costs no secrecy. The receiver is one start
/// of one host's agent, so that a recorded datagram is worth nothing anywhere else, nor after a
/// restart. Who does not know the receiver yet (a seed known by address alone, an agent that was
/// started again) leaves it zero or names the older start; no such datagram is taken. It is answered
/// with an introduction, shorter than itself, which tells the sender whom to name: the exchange of
/// DTLS's HelloVerifyRequest (RFC 6347, section 4.2.1), which also proves the sender's address.
package struct DatagramCodec: Sendable {
    /// What a datagram is for.
    package enum Kind: UInt8, Sendable {
        /// Carries a payload.
        case payload = 0
        /// Tells who we are, and carries nothing: the answer to a datagram that does not name us.
        case introduction = 1
    }

    /// What a header says; not authentic before the payload was opened.
    package struct Header: Equatable, Sendable {
        /// What the datagram is for.
        package var kind: Kind
        /// The host and its start.
        package var sender: PeerIdentity
        /// Counts the datagrams of that start from 1.
        package var sequence: UInt64
        /// Whom it is for; nil when the sender knows no more than an address.
        package var receiver: PeerIdentity?

        package init(
            kind: Kind = .payload, sender: PeerIdentity, sequence: UInt64, receiver: PeerIdentity?
        ) {
            self.kind = kind
            self.sender = sender
            self.sequence = sequence
            self.receiver = receiver
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
    package static let headerBytes =
        2 + 1 + 1 + ClusterID.byteCount + 2 * (HostID.byteCount + 8) + 8 + 24
    /// Bytes that a datagram is longer than its payload.
    package static let overheadBytes = headerBytes + Sodium.tagBytes

    private static let start: [UInt8] = [0x53, 0x4C, 2]  // "SL", version 2
    private static let nobody = [UInt8](repeating: 0, count: HostID.byteCount + 8)

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
        var packet = DatagramCodec.start
        packet.reserveCapacity(DatagramCodec.overheadBytes + payload.count)
        packet.append(header.kind.rawValue)
        packet += clusterID.bytes
        packet += bytes(of: header.sender)
        packet += bigEndian(header.sequence)
        packet += header.receiver.map(bytes(of:)) ?? DatagramCodec.nobody
        packet += nonce
        return packet + Sodium.seal(payload, additional: packet, nonce: nonce, key: key)
    }

    /// Reads the header without any cryptography.
    package func header(of packet: [UInt8]) throws(Refusal) -> Header {
        guard packet.count >= DatagramCodec.overheadBytes else { throw .truncated }
        guard packet.count <= bytesMax else { throw .oversized }
        guard packet.starts(with: DatagramCodec.start) else { throw .foreign }
        guard packet[4..<20].elementsEqual(clusterID.bytes) else { throw .wrongCluster }
        guard let kind = Kind(rawValue: packet[3]), let sender = identity(packet[20..<60])
        else { throw .foreign }
        let receiver = packet[68..<108]
        return Header(
            kind: kind, sender: sender, sequence: number(bigEndian: packet[60..<68]),
            receiver: receiver.elementsEqual(DatagramCodec.nobody) ? nil : identity(receiver))
    }

    private func bytes(of peer: PeerIdentity) -> [UInt8] {
        peer.hostID.bytes + bigEndian(peer.bootEpoch.value)
    }

    private func identity(_ bytes: ArraySlice<UInt8>) -> PeerIdentity? {
        guard let hostID = HostID(bytes: bytes.prefix(HostID.byteCount)) else { return nil }
        let bootEpoch = BootEpoch(number(bigEndian: bytes.suffix(8)))
        return PeerIdentity(hostID: hostID, bootEpoch: bootEpoch)
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
