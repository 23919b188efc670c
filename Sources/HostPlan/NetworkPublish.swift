/// One port of the host and where it leads on this host.
package struct PublishedBackend: Equatable, Sendable {
    /// The protocol above IP.
    package enum Transport: String, Sendable, CaseIterable {
        /// TCP.
        case tcp
        /// UDP.
        case udp
    }

    /// One set that answers.
    package struct Target: Hashable, Sendable {
        /// The set's address.
        package var address: IPv4Address
        /// The port inside the set.
        package var port: UInt16

        package init(address: IPv4Address, port: UInt16) {
            self.address = address
            self.port = port
        }
    }

    /// The service, for the comment that an operator sees in `nft list table`.
    package var service: String
    /// The port on the host.
    package var hostPort: UInt16
    /// The protocol.
    package var transport: Transport
    /// The local sets that answer, in turn; none means the port is not led anywhere.
    package var targets: [Target]

    package init(service: String, hostPort: UInt16, transport: Transport, targets: [Target]) {
        self.service = service
        self.hostPort = hostPort
        self.transport = transport
        self.targets = targets
    }
}

extension NetworkPlan {
    /// The most targets of one port: a host's /24 has no more sets.
    package static let targetsMax = 253

    /// The whole nftables table of the host, as one text for `nft -f -`, which applies it at once.
    ///
    /// Connections to a published port of any of the host's own addresses go to the local sets in
    /// turn (`numgen`), or by a hash of the sender where the kernel has no `numgen`. Of two services
    /// that claim one port the first by name has it. Order of the input does not matter.
    package func publishScript(_ backends: [PublishedBackend], hasNumgen: Bool) -> String {
        let ports = sorted(backends)
        var rules = ""
        for (index, backend) in ports.enumerated() {
            guard !backend.targets.isEmpty,
                !ports[..<index].contains(where: {
                    $0.hostPort == backend.hostPort && $0.transport == backend.transport
                        && !$0.targets.isEmpty
                })
            else { continue }
            rules += "    \(rule(backend, hasNumgen: hasNumgen))\n"
        }
        let bridge = names.bridge
        return """
            table ip \(names.table)
            delete table ip \(names.table)
            table ip \(names.table) {
              chain publish {
            \(rules)  }
              chain prerouting {
                type nat hook prerouting priority -100; policy accept;
                fib daddr type local jump publish
              }
              chain output {
                type nat hook output priority -100; policy accept;
                ip daddr != 127.0.0.0/8 fib daddr type local jump publish
              }
              chain postrouting {
                type nat hook postrouting priority 100; policy accept;
                ip saddr \(subnet) oifname != "\(bridge)" masquerade
                ip saddr \(subnet) oifname "\(bridge)" ct status dnat masquerade
              }
            }

            """
    }

    /// The text that removes the table, whether it is there or not.
    package static func unpublishScript(names: NetworkNames) -> String {
        "table ip \(names.table)\ndelete table ip \(names.table)\n"
    }

    /// By protocol, port and name, each with sorted targets, so that equal wishes give equal text.
    private func sorted(_ backends: [PublishedBackend]) -> [PublishedBackend] {
        backends.map { backend in
            var backend = backend
            var targets: [PublishedBackend.Target] = []
            for target in backend.targets.sorted(by: {
                ($0.address, $0.port) < ($1.address, $1.port)
            }) where target != targets.last && targets.count < NetworkPlan.targetsMax {
                targets.append(target)
            }
            backend.targets = targets
            return backend
        }.sorted {
            ($0.transport.rawValue, $0.hostPort, $0.service)
                < ($1.transport.rawValue, $1.hostPort, $1.service)
        }
    }

    private func rule(_ backend: PublishedBackend, hasNumgen: Bool) -> String {
        let match = "\(backend.transport.rawValue) dport \(backend.hostPort)"
        let comment = "comment \"\(backend.service.filter { isPlain($0) })\""
        if backend.targets.count == 1 {
            let target = backend.targets[0]
            return "\(match) dnat to \(target.address):\(target.port) \(comment)"
        }
        let count = backend.targets.count
        let choice =
            hasNumgen ? "numgen inc mod \(count)" : "jhash ip saddr mod \(count)"
        let map = backend.targets.enumerated()
            .map { "\($0.offset) : \($0.element.address) . \($0.element.port)" }
            .joined(separator: ", ")
        return "\(match) dnat to \(choice) map { \(map) } \(comment)"
    }

    /// True for what may stand in a quoted nftables comment without ending it.
    private func isPlain(_ character: Character) -> Bool {
        character.isASCII && (character.isLetter || character.isNumber || character == "-")
    }
}
