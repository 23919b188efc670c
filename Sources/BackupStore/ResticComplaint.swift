/// What restic's words mean.
///
/// Restic 0.14 has one exit code for everything, so its words decide.
enum ResticComplaint {
    /// The words of one meaning, all in lower case.
    private static let accessWords = [
        "(401)", "(403)", " 401 ", " 403 ", "access denied", "accessdenied",
        "invalidaccesskeyid", "signaturedoesnotmatch", "access key id you provided",
        "request signature we calculated", "invalid security", "not authorized",
        "permission denied", "unauthorized", "forbidden",
    ]
    private static let roomWords = [
        "(507)", " 507 ", "insufficient storage", "quotaexceeded", "storagefull",
    ]
    /// Of a folder that is the target; a server says it in its own words, and then these are of
    /// this machine's disk.
    private static let diskRoomWords = ["no space left on device", "disk quota exceeded"]
    private static let reachWords = [
        "connection refused", "no such host", "i/o timeout", "no route to host",
        "network is unreachable", "connection reset", "broken pipe", "tls handshake",
        "certificate", "server misbehaving", "deadline exceeded", "(500)", "(502)", "(503)",
        "(504)", "stale file handle", "connection closed",
    ]
    private static let damageWords = [
        "ciphertext verification failed", "nonce is invalid", "invalid data returned",
        "does not match",
        "unexpected eof", "repository contains errors", "pack file cannot be listed",
        "invalid character", "illegal base64", "input/output error", "hash does not match",
        "unsupported repository version", "is damaged", "not found in index", "invalid header",
        "no such file or directory", "does not exist", "404", "config is invalid", "too short",
        "decryption", "wrong content",
    ]

    /// The error that these lines tell of; nil when they tell of none that is known.
    static func error(_ lines: [String], _ repository: BackupRepository) -> BackupError? {
        let text = lines.joined(separator: "\n").lowercased()
        func says(_ words: [String]) -> Bool { words.contains { text.contains($0) } }
        let target = repository.display
        let cause = short(lines)
        if says(["wrong password or no key found"]) { return .wrongPassword(target: target) }
        if says(["already locked"]) {
            return .locked(target: target, by: holder(lines))
        }
        if says(roomWords) { return .targetFull(target: target) }
        // First: a store that does not know a key says that the key does not exist.
        if says(accessWords) { return .accessDenied(target: target, cause: cause) }
        if says(diskRoomWords) {
            if case .rest = repository.target { return nil }
            return .targetFull(target: target)
        }
        if says(["is there a repository at"]), isAbsent(text) {
            return .noRepository(target: target)
        }
        if says(["no matching id found", "no snapshot found"]) {
            return .noSnapshot("asked for", target: target)
        }
        if says(reachWords) { return .unreachable(target: target, cause: cause) }
        if says(damageWords) { return .damaged(target: target, cause: cause) }
        return nil
    }

    /// The last lines as one, at most 600 characters.
    static func short(_ lines: [String]) -> String {
        let text = lines.suffix(4).joined(separator: "; ")
        return text.isEmpty ? "it said nothing" : String(text.suffix(600))
    }

    /// One line, at most 600 characters.
    static func short(_ line: String) -> String { short([line]) }

    /// The target answered, and has nothing there.
    private static func isAbsent(_ text: String) -> Bool {
        ["no such file or directory", "does not exist", "(404)", "404", "nosuchkey", "not found"]
            .contains { text.contains($0) }
    }

    /// Who holds the lock: `by PID 123 on host by root (UID 0, GID 0)`.
    private static func holder(_ lines: [String]) -> String {
        let mark = "already locked "
        for line in lines {
            guard let range = line.firstRange(of: mark) else { continue }
            let words = line[range.upperBound...].prefix(200)
            return words.hasPrefix("exclusively ") || words.hasPrefix("by ")
                ? String(words) : "by somebody"
        }
        return "by somebody"
    }
}
