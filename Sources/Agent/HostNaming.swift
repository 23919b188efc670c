import Base
import ClusterState
import ControlAPI

extension ReplicatedState {
    /// The host an operator means: the one of that name, or of an identity that begins so.
    ///
    /// A name comes before an identity, and an identity counts from as many digits as listings show,
    /// so that a typing error never names a host. Of several, the only one of `status` is meant.
    ///
    /// - Throws: Not found when there is none; refused when several remain.
    func host(
        called text: String, preferring status: HostStatus? = nil
    ) throws(ControlError) -> HostRecord {
        var found = hosts.filter { $0.name == text }
        if found.isEmpty, text.utf8.count >= HostID.shortestPrefix {
            found = hosts.filter { $0.id.description.hasPrefix(text.lowercased()) }
        }
        let preferred = found.filter { $0.status == status }
        if found.count > 1, preferred.count == 1 { found = preferred }
        guard let host = found.first else {
            throw ControlError(
                .notFound, "there is no host \(text.prefix(100))",
                next: "`shoal hosts` lists those there are, with names and identities")
        }
        guard found.count == 1 else {
            throw ControlError(
                .refused, "\(found.count) hosts are called \(text.prefix(100))",
                next: "name one by its identity: "
                    + found.prefix(5).map {
                        String($0.id.description.prefix(HostID.shortestPrefix))
                    }.joined(separator: ", "))
        }
        return host
    }
}

extension HostID {
    /// How much of an identity names a host: what listings show.
    fileprivate static let shortestPrefix = 10
}
