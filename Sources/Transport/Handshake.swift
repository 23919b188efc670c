import Base

/// The keys and the other side of a connection whose handshake succeeded.
struct HandshakeResult {
    var peer: PeerIdentity
    var sealing: FrameCipher
    var opening: FrameCipher
}

/// Why a handshake ends.
enum HandshakeRefusal: Error, Equatable {
    /// Not sealed under this cluster's key: another cluster, or no member.
    case notAMember
    /// A member, but not the one that was called.
    case wrongIdentity(HostID)
    /// The signature is not that of the identity it claims.
    case badSignature
    /// The other end claims our own identity.
    case ourself
}

/// The three messages that open a connection; pure but for the random numbers.
///
/// In the manner of SIGMA (Krawczyk 2003) inside a pre-shared key:
/// ```
/// I -> R   "SHL1" nonce seal_hello(cluster, ephemeral I, identity I, boot epoch I)
/// R -> I   nonce seal_reply(ephemeral R, identity R, boot epoch R, signature R)
/// I -> R   the first frame: signature I
/// ```
/// The hello keys derive from the cluster's key, so an outsider learns nothing and fails at the first
/// message. Both signatures (Ed25519) cover the transcript: cluster, both ephemeral X25519 keys, both
/// identities and boot epochs. The frame keys derive from the X25519 secret, the transcript and the
/// cluster's key: recorded connections stay closed even to who learns the cluster's key later.
enum Handshake {
    static let helloBytes = 4 + 24 + 16 + 32 + 32 + 8 + Sodium.tagBytes
    static let replyBytes = 24 + 32 + 32 + 8 + Sodium.signatureBytes + Sodium.tagBytes

    /// What our side brings.
    struct Side: Sendable {
        let secret: ClusterSecret
        let keys: HostKeyPair
        let bootEpoch: BootEpoch
    }

    private static let magic: [UInt8] = Array("SHL1".utf8)

    /// False as soon as the first bytes show that no hello is coming.
    static func mayBeHello(_ bytes: [UInt8]) -> Bool {
        bytes.prefix(magic.count).elementsEqual(magic.prefix(bytes.count))
    }

    /// The calling side between its two messages.
    struct Initiator {
        let side: Side
        let expected: HostID
        let hello: [UInt8]
        private let ephemeral: (publicKey: [UInt8], secretKey: [UInt8])

        init(side: Side, expected: HostID) {
            self.side = side
            self.expected = expected
            ephemeral = Sodium.agreementKeys()
            let text =
                side.secret.clusterID.bytes + ephemeral.publicKey + side.keys.hostID.bytes
                + bigEndian(side.bootEpoch.value)
            let nonce = Sodium.random(Sodium.longNonceBytes)
            hello =
                magic + nonce
                + Sodium.seal(
                    text, additional: magic, nonce: nonce, key: side.secret.key(for: "hello"))
        }

        /// Reads the reply; returns the keys and the proof to send as the first frame.
        func finish(
            reply: [UInt8]
        ) throws(HandshakeRefusal) -> (result: HandshakeResult, proof: [UInt8]) {
            guard reply.count == replyBytes,
                let text = Sodium.open(
                    Array(reply[24...]), additional: magic, nonce: Array(reply[..<24]),
                    key: side.secret.key(for: "reply")),
                let peer = HostID(bytes: text[32..<64]),
                let shared = Sodium.agree(
                    secretKey: ephemeral.secretKey, publicKey: Array(text[..<32]))
            else { throw .notAMember }
            guard peer != side.keys.hostID else { throw .ourself }
            guard peer == expected else { throw .wrongIdentity(peer) }
            let transcript = Transcript(
                secret: side.secret, hello: hello, publicPart: Array(text[..<72]))
            let signature = Array(text[72...])
            guard Sodium.isValid(signature, of: transcript.replyMessage, by: peer.bytes) else {
                throw .badSignature
            }
            let master = transcript.master(shared: shared, signature: signature)
            let result = HandshakeResult(
                peer: PeerIdentity(
                    hostID: peer, bootEpoch: BootEpoch(number(bigEndian: text[64..<72]))),
                sealing: FrameCipher(key: Sodium.derive("to responder", from: master)),
                opening: FrameCipher(key: Sodium.derive("to initiator", from: master)))
            return (result, side.keys.sign(transcript.proofMessage(after: signature)))
        }
    }

    /// The called side between hello and proof.
    struct Responder {
        let reply: [UInt8]
        let result: HandshakeResult
        private let proofMessage: [UInt8]

        /// Reads the hello and makes the reply.
        init(side: Side, hello: [UInt8]) throws(HandshakeRefusal) {
            guard hello.count == helloBytes, hello.starts(with: magic),
                let text = Sodium.open(
                    Array(hello[28...]), additional: magic, nonce: Array(hello[4..<28]),
                    key: side.secret.key(for: "hello")),
                text[..<16].elementsEqual(side.secret.clusterID.bytes),
                let peer = HostID(bytes: text[48..<80])
            else { throw .notAMember }
            guard peer != side.keys.hostID else { throw .ourself }
            let ephemeral = Sodium.agreementKeys()
            guard
                let shared = Sodium.agree(
                    secretKey: ephemeral.secretKey, publicKey: Array(text[16..<48]))
            else { throw .notAMember }
            let publicPart =
                ephemeral.publicKey + side.keys.hostID.bytes + bigEndian(side.bootEpoch.value)
            let transcript = Transcript(secret: side.secret, hello: hello, publicPart: publicPart)
            let signature = side.keys.sign(transcript.replyMessage)
            let nonce = Sodium.random(Sodium.longNonceBytes)
            reply =
                nonce
                + Sodium.seal(
                    publicPart + signature, additional: magic, nonce: nonce,
                    key: side.secret.key(for: "reply"))
            proofMessage = transcript.proofMessage(after: signature)
            let master = transcript.master(shared: shared, signature: signature)
            result = HandshakeResult(
                peer: PeerIdentity(
                    hostID: peer, bootEpoch: BootEpoch(number(bigEndian: text[80..<88]))),
                sealing: FrameCipher(key: Sodium.derive("to initiator", from: master)),
                opening: FrameCipher(key: Sodium.derive("to responder", from: master)))
        }

        /// True when the first frame proves the identity that the hello claimed.
        func accepts(proof: [UInt8]) -> Bool {
            Sodium.isValid(proof, of: proofMessage, by: result.peer.hostID.bytes)
        }
    }

    /// What was said so far, hashed.
    private struct Transcript {
        private let secret: ClusterSecret
        private let digest: [UInt8]

        init(secret: ClusterSecret, hello: [UInt8], publicPart: [UInt8]) {
            self.secret = secret
            // The hello is hashed as sent: under the one key that both sides use, its nonce and
            // ciphertext determine the text.
            digest = Sodium.hash(
                [Array("shoal handshake 1".utf8), secret.clusterID.bytes, hello, publicPart],
                key: secret.key(for: "transcript"))
        }

        var replyMessage: [UInt8] { Array("shoal handshake 1 responder".utf8) + digest }

        func proofMessage(after signature: [UInt8]) -> [UInt8] {
            Array("shoal handshake 1 initiator".utf8) + Sodium.hash([digest, signature])
        }

        func master(shared: [UInt8], signature: [UInt8]) -> [UInt8] {
            Sodium.hash([shared, digest, signature], key: secret.key(for: "frames"))
        }
    }
}
