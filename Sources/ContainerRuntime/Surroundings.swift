/// What a further command in a container shares with the first one, as kept in the bundle.
///
/// NUL-separated, since environment variables may hold anything else. Apart from the record, which
/// is read often and stays small.
struct Surroundings: Sendable, Equatable {
    /// The user as the launch named it.
    var user: String
    /// Where commands start.
    var workingDirectory: String
    /// The launch's environment.
    var environment: [String]

    init(user: String, workingDirectory: String, environment: [String]) {
        self.user = user
        self.workingDirectory = workingDirectory
        self.environment = environment
    }

    /// The file's text.
    var text: String { ([user, workingDirectory] + environment).joined(separator: "\0") }

    /// Reads the file's text; nil when it is not whole.
    init?(text: String) {
        let fields = text.split(separator: "\0", omittingEmptySubsequences: false)
            .map { String($0) }
        guard fields.count >= 2 else { return nil }
        self.init(
            user: fields[0], workingDirectory: fields[1], environment: Array(fields.dropFirst(2)))
    }
}
