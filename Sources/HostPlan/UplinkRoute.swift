/// Which device leads out of the host.
package enum UplinkRoute {
    /// The device of the default IPv4 route, the preferred one if there are several.
    ///
    /// `routes` is the text of /proc/net/route (proc_pid_net(5)): a heading, then one route a line,
    /// its device first, destination second, flags fourth, metric seventh and mask eighth, addresses
    /// in hexadecimal.
    package static func device(routes: String) -> String? {
        var best: (device: String, metric: Int)?
        for line in routes.utf8.split(separator: UInt8(ascii: "\n")) {
            let words = Substring(line).split(whereSeparator: { $0 == "\t" || $0 == " " })
            guard words.count >= 8, words[1] == "00000000", words[7] == "00000000",
                let flags = Int(words[3], radix: 16), flags & 1 == 1,
                let metric = Int(words[6])
            else { continue }
            if let known = best, known.metric <= metric { continue }
            best = (String(words[0]), metric)
        }
        return best?.device
    }
}
