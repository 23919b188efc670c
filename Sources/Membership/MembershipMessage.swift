import Base
import ClusterModel
import Wire

/// One datagram of membership.
///
/// Every message says what its sender is: with the identity and boot epoch that the transport
/// proves, it is a member record of the best kind, and refutes older beliefs about the sender.
package struct MembershipMessage: Sendable, Equatable {
    /// What the sender says of itself in every message.
    package struct Sender: Sendable, Equatable {
        /// Its incarnation.
        package var incarnation: UInt64
        /// False once it has left.
        package var isPresent: Bool
        /// Where it takes datagrams; unspecified when it does not know.
        package var address: SocketAddress
        /// Its local health; 0 is well.
        package var health: UInt8

        package init(
            incarnation: UInt64, isPresent: Bool, address: SocketAddress, health: UInt8
        ) {
            self.incarnation = incarnation
            self.isPresent = isPresent
            self.address = address
            self.health = health
        }
    }

    /// What the message is for.
    package enum Body: Sendable, Equatable {
        /// "Are you there?" Answered by `ack` when `target` is the receiver.
        case ping(sequence: UInt64, target: HostID)
        /// The answer to a ping, from its target or through the member asked to probe it.
        case ack(sequence: UInt64)
        /// "I could not reach it either, but I am here" (Lifeguard §IV.A).
        case nack(sequence: UInt64)
        /// "Ping this one for me."
        case pingRequest(sequence: UInt64, target: HostID)
        /// Only the updates matter.
        case gossip
        /// "Send what differs from these digests, behind this key." Answered by `syncPage`.
        ///
        /// With `wantsReturn` the receiver asks back if anything differs.
        case syncRequest(
            number: UInt64, digests: [UInt64], after: HostID?, wantsReturn: Bool)
        /// The updates are one page of a table; `next` is where to go on, nil at the end.
        case syncPage(number: UInt64, next: HostID?)
    }

    /// The sender's own record.
    package var sender: Sender
    /// What the message is for.
    package var body: Body
    /// Beliefs about members that travel along.
    package var updates: [MemberUpdate]

    /// The version of the form; the first byte of every message.
    package static let version: UInt8 = 1
    /// The most updates in one message; their count takes one byte.
    package static let updatesMax = 64

    package init(sender: Sender, body: Body, updates: [MemberUpdate] = []) {
        self.sender = sender
        self.body = body
        self.updates = updates
    }

    /// How many bytes `encode` writes.
    var encodedCount: Int {
        updates.reduce(into: 5 + sender.address.encodedCount + encodedCountOf(sender.incarnation)) {
            $0 += $1.encodedCount
        } + body.encodedCount
    }
}

extension MembershipMessage: WireCodable {
    package func encode(into writer: inout ByteWriter) {
        writer.write(byte: MembershipMessage.version)
        writer.write(byte: body.code)
        writer.write(sender.incarnation)
        writer.write(sender.isPresent)
        writer.write(sender.address)
        writer.write(byte: sender.health)
        body.encode(into: &writer)
        writer.write(list: updates)
    }

    package init(from reader: inout ByteReader) throws(WireError) {
        let version = try reader.readByte()
        guard version == MembershipMessage.version else {
            throw .unknownCase(what: "membership version", value: UInt64(version))
        }
        let code = try reader.readByte()
        let sender = Sender(
            incarnation: try reader.readUInt64(), isPresent: try reader.readBool(),
            address: try reader.read(), health: try reader.readByte())
        let body = try Body(code: code, from: &reader)
        let updates = try reader.readList(
            of: MemberUpdate.self, maximum: MembershipMessage.updatesMax)
        self.init(sender: sender, body: body, updates: updates)
    }
}

extension MembershipMessage.Body {
    /// The byte that names the case.
    fileprivate var code: UInt8 {
        switch self {
        case .ping: 1
        case .ack: 2
        case .nack: 3
        case .pingRequest: 4
        case .gossip: 5
        case .syncRequest: 6
        case .syncPage: 7
        }
    }

    /// How many bytes the body takes without its code.
    fileprivate var encodedCount: Int {
        func count(_ id: HostID?) -> Int { id == nil ? 1 : 1 + HostID.byteCount }
        return switch self {
        case .ping(let sequence, _), .pingRequest(let sequence, _):
            encodedCountOf(sequence) + HostID.byteCount
        case .ack(let sequence), .nack(let sequence): encodedCountOf(sequence)
        case .gossip: 0
        case .syncRequest(let number, let digests, let after, _):
            encodedCountOf(number) + 8 * digests.count + count(after) + 1
        case .syncPage(let number, let next): encodedCountOf(number) + count(next)
        }
    }

    fileprivate func encode(into writer: inout ByteWriter) {
        switch self {
        case .ping(let sequence, let target), .pingRequest(let sequence, let target):
            writer.write(sequence)
            writer.write(target)
        case .ack(let sequence), .nack(let sequence): writer.write(sequence)
        case .gossip: break
        case .syncRequest(let number, let digests, let after, let wantsReturn):
            writer.write(number)
            for digest in digests {
                for shift in stride(from: UInt64(56), through: 0, by: -8) {
                    writer.write(byte: UInt8(truncatingIfNeeded: digest >> shift))
                }
            }
            writer.write(optional: after)
            writer.write(wantsReturn)
        case .syncPage(let number, let next):
            writer.write(number)
            writer.write(optional: next)
        }
    }

    fileprivate init(code: UInt8, from reader: inout ByteReader) throws(WireError) {
        switch code {
        case 1: self = .ping(sequence: try reader.readUInt64(), target: try reader.read())
        case 2: self = .ack(sequence: try reader.readUInt64())
        case 3: self = .nack(sequence: try reader.readUInt64())
        case 4: self = .pingRequest(sequence: try reader.readUInt64(), target: try reader.read())
        case 5: self = .gossip
        case 6:
            let number = try reader.readUInt64()
            let raw = try reader.readRaw(8 * TableDigest.bucketCount)
            let digests = stride(from: 0, to: raw.count, by: 8).map { start in
                raw[start..<start + 8].reduce(UInt64(0)) { $0 << 8 | UInt64($1) }
            }
            self = .syncRequest(
                number: number, digests: digests, after: try reader.readOptional(),
                wantsReturn: try reader.readBool())
        case 7: self = .syncPage(number: try reader.readUInt64(), next: try reader.readOptional())
        default: throw .unknownCase(what: "membership message", value: UInt64(code))
        }
    }
}
