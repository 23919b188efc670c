/// A host that the cluster knows no more.
package struct ForgetResult: Codable, Hashable, Sendable {
    /// The host.
    package var host: HostReference
    /// The log entry that says so.
    package var index: UInt64
    /// The volumes that slots used and that were given up with it, such as `db.0/data`.
    package var volumes: [String]

    package init(host: HostReference, index: UInt64, volumes: [String]) {
        self.host = host
        self.index = index
        self.volumes = volumes
    }
}
