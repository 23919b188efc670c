import HostPlan

/// Turns a user as an image or a spec names it into numbers, by the container's own tables.
///
/// The root is an image's and is not trusted: its `/etc/passwd` may be a link to the host's, a FIFO
/// or a gigabyte. Every step of the path is resolved inside the root, and sizes are bounded.
package struct ContainerUser: Sendable, Equatable {
    /// The numbers.
    package var user: RuntimeBundle.User
    /// The user's home inside the root.
    package var home: String

    /// Resolves `""`, `1000`, `1000:1000`, `name`, `name:group` by the tables in a container's root.
    static func resolve(_ text: String, in root: ContainerRoot) throws -> ContainerUser {
        do {
            return try resolve(text, passwd: root.text("etc/passwd"), group: root.text("etc/group"))
        } catch var error as RuntimeError {
            error.attempt += " \(root.container)"
            throw error
        }
    }

    /// The same by the tables' text: passwd(5) and group(5).
    ///
    /// As Docker has it: a number that is in no table stands for itself, with group 0; a name must
    /// be there. The groups that list the user count unless the group was given.
    package static func resolve(_ text: String, passwd: String, group: String) throws
        -> ContainerUser
    {
        func fail(_ cause: String) -> RuntimeError {
            RuntimeError(
                .badLaunch, "find the user `\(text)` of the container", cause: cause,
                advice: "name a user of the image, or use numbers such as 1000:1000")
        }
        let parts = text.split(separator: ":", omittingEmptySubsequences: false)
        guard parts.count <= 2, !text.utf8.contains(where: { $0 < 0x20 }), text.utf8.count <= 128
        else { throw fail("it is not written as user or user:group") }
        let wanted = parts.first.map { String($0) } ?? ""
        let name = wanted.isEmpty ? "0" : wanted
        let entry = entries(passwd, fields: 7).first { $0[0] == name || $0[2] == name }
        guard let uid = entry.flatMap({ number($0[2]) }) ?? number(name) else {
            throw fail("the image's /etc/passwd has no such user")
        }
        var user = RuntimeBundle.User(uid: uid, gid: entry.flatMap { number($0[3]) } ?? 0)
        let groups = entries(group, fields: 4)
        var further: [UInt32] = []
        if parts.count == 2 {
            let wanted = String(parts[1])
            let found = groups.first { $0[0] == wanted || $0[2] == wanted }
            guard let gid = found.flatMap({ number($0[2]) }) ?? number(wanted) else {
                throw fail("the image's /etc/group has no group `\(wanted)`")
            }
            user.gid = gid
        } else if let entry {
            further = groups.filter { $0[3].split(separator: ",").contains { $0 == entry[0] } }
                .compactMap { number($0[2]) }
        }
        // The group itself too: else a set-group-id program could shed it and pass by files that
        // are closed to the group but open to others (CVE-2022-36109).
        let others = Array(Set(further).subtracting([user.gid]).sorted().prefix(64))
        user.additionalGids = [user.gid] + others
        return ContainerUser(user: user, home: home(of: entry?[5], uid: uid))
    }

    private static func home(of text: String?, uid: UInt32) -> String {
        if let text, text.hasPrefix("/"), text.utf8.count < 4_096 { return text }
        return uid == 0 ? "/root" : "/"
    }

    private static func number(_ text: some StringProtocol) -> UInt32? {
        // Every digit checked: the number -1 means "leave it" to the kernel, and "+0" is no name.
        guard !text.isEmpty, text.utf8.allSatisfy({ (0x30...0x39).contains($0) }),
            let value = UInt32(text), value <= UInt32(Int32.max)
        else { return nil }
        return value
    }

    private static func entries(_ table: String, fields: Int) -> [[String]] {
        table.split(separator: "\n").compactMap { line in
            let parts = line.split(separator: ":", omittingEmptySubsequences: false)
            guard parts.count >= fields, !parts[0].isEmpty else { return nil }
            return parts.map { String($0) }
        }
    }
}
