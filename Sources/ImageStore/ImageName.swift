import ClusterModel

/// An image's name in its short form, with a tag: `demo/web:1`, `registry.example:5000/web:latest`.
///
/// The registry `docker.io` and its folder `library` are left out, as every tool shows it, so that
/// the same image has one name whichever tool wrote the archive.
struct ImageName: Hashable, Sendable {
    /// The name.
    let text: String

    /// Reads a reference without a digest; nil when it is malformed (see `ImageReference`).
    init?(_ reference: some StringProtocol) {
        let whole = String(reference)
        guard ImageReference.problem(in: whole) == nil, !whole.contains("@") else { return nil }
        var name = whole
        for prefix in ["docker.io/library/", "docker.io/"] where name.hasPrefix(prefix) {
            name = String(name.dropFirst(prefix.count))
        }
        text = ImageReference.hasTagOrDigest(name) ? name : "\(name):latest"
        guard ImageReference.problem(in: text) == nil else { return nil }
    }

    /// Reads a reference, with a sentence for the operator when it is malformed.
    static func parse(_ reference: String) throws -> ImageName {
        guard let parsed = ImageName(reference) else {
            let problem = ImageReference.problem(in: reference) ?? "must be a name with a tag"
            throw ImageError(
                .refused,
                "could not use \"\(printable(reference.utf8))\" as an image name: it \(problem)")
        }
        return parsed
    }

    /// The text under which the catalog knows what an operator or the index names: the short form,
    /// or `name@sha256:…` for an image whose name went to another one.
    static func listed(_ reference: String) throws -> String {
        guard reference.contains("@"), ImageReference.problem(in: reference) == nil else {
            return try parse(reference).text
        }
        return reference
    }

    /// The name of an image whose reference goes to another one: with the digest for the tag.
    static func displaced(_ image: StoredImage) -> String {
        let reference = image.reference
        guard !reference.contains("@"), let colon = reference.lastIndex(of: ":") else {
            return reference
        }
        return "\(reference[..<colon])@\(image.manifestDigest)"
    }
}
