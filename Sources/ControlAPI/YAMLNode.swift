/// A value of a YAML file, with where it stands.
struct YAMLNode: Sendable {
    /// Where it begins.
    var place: YAMLPlace
    /// What it is.
    var content: Content

    enum Content: Sendable {
        /// A text as written; `plain` when it has no quotes and is no block.
        case scalar(String, plain: Bool)
        /// A list.
        case sequence([YAMLNode])
        /// Keys and values in the order of the file; no key twice.
        case mapping([Entry])
    }

    /// One key of a mapping and its value.
    struct Entry: Sendable {
        var key: String
        var keyPlace: YAMLPlace
        var value: YAMLNode
    }

    /// What it is, for sentences.
    var kind: String {
        switch content {
        case .scalar(_, plain: true) where isNull: "nothing"
        case .scalar: "text"
        case .sequence: "a list"
        case .mapping: "a mapping"
        }
    }

    /// True for an empty value, `~` and `null`.
    var isNull: Bool {
        guard case .scalar(let text, plain: true) = content else { return false }
        return ["", "~", "null", "Null", "NULL"].contains(text)
    }
}

/// A place in a file: line and column, both from 1.
struct YAMLPlace: Hashable, Sendable {
    var line: Int
    var column: Int
}
