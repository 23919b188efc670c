/// The small files that tell a container its own name and where names are resolved.
enum NetworkFiles {
    /// The text of `/etc/hosts` (hosts(5)).
    static func hosts(name: String, address: String?) -> String {
        var text = "127.0.0.1 localhost\n::1 localhost ip6-localhost ip6-loopback\n"
        if let address { text += "\(address) \(name)\n" }
        return text
    }

    /// The text of `/etc/resolv.conf` (resolv.conf(5)): the servers given, else the host's.
    static func resolver(nameServers: [String]) -> String {
        guard nameServers.isEmpty else {
            return nameServers.map { "nameserver \($0)\n" }.joined()
        }
        // Beside systemd-resolved the host's own file names a server on its loopback, which no
        // container reaches; the second file then has the real ones.
        for path in ["/etc/resolv.conf", "/run/systemd/resolve/resolv.conf"] {
            let text = reachable(HostFiles.text(path) ?? "")
            if text.contains("nameserver") { return text }
        }
        return ""
    }

    /// The host's settings without servers on its loopback.
    static func reachable(_ text: String) -> String {
        let kept = text.split(separator: "\n").filter { line in
            let words = line.split(whereSeparator: { $0 == " " || $0 == "\t" })
            guard words.first == "nameserver", words.count > 1 else { return words.first != "#" }
            return !words[1].hasPrefix("127.") && words[1] != "::1"
        }
        return kept.map { "\($0)\n" }.joined()
    }
}
