/// The body of `POST /v1/remains`: which hosts to ask about a service that was deleted.
package struct RemainsRequest: Codable, Hashable, Sendable {
    /// The service.
    package var service: String
    /// The identities of the hosts that ran its sets; at most `hostsMax`.
    package var hosts: [String]

    /// The most hosts that one request may name: as many as a cluster can have.
    package static let hostsMax = 10_000

    package init(service: String, hosts: [String]) {
        self.service = service
        self.hosts = hosts
    }
}

/// What one host still has of a service, or why it cannot be asked.
package struct RemainsView: Codable, Hashable, Sendable {
    /// The host's name.
    package var host: String
    /// The sets, such as `web.3`.
    package var sets: [String]
    /// Why the host did not answer; absent when it did.
    package var problem: String?

    package init(host: String, sets: [String], problem: String? = nil) {
        self.host = host
        self.sets = sets
        self.problem = problem
    }
}
