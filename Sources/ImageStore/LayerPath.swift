import Glibc

/// A path of a layer's entry, split and found harmless: relative, without `..`, within bounds.
///
/// The names carry a zero at their end, as system calls want them.
struct LayerPath: Equatable {
    /// The names from the layer's root down; none for the root itself.
    private(set) var names: [[CChar]]

    /// What an entry with the name `.wh.…` asks for.
    enum Whiteout: Equatable {
        /// Hide this name of the layers below.
        case hide([CChar])
        /// Hide everything that the layers below have in this folder.
        case opaque
        /// A private mark of a tool; it means nothing to others.
        case ignored
    }

    /// Checks a path from a tar; `role` says what it is, for the refusal.
    init(_ path: [UInt8], role: String, limits: ImageLimits, layer: String) throws {
        func refusal(_ why: String) -> ImageError {
            return ImageError(
                .refused,
                "could not unpack \(layer): the \(role) \"\(printable(path))\" \(why); do not "
                    + "trust this image")
        }
        guard !path.isEmpty else { throw refusal("has an empty name") }
        guard path.count <= limits.pathBytesMax else {
            throw refusal("has more than \(limits.pathBytesMax) bytes")
        }
        guard path.first != UInt8(ascii: "/") else { throw refusal("is absolute") }
        names = []
        for part in path.split(separator: UInt8(ascii: "/")) {
            if part.elementsEqual(".".utf8) { continue }
            guard !part.elementsEqual("..".utf8) else { throw refusal("leads out by \"..\"") }
            guard part.count <= Int(NAME_MAX) else {
                throw refusal("has a name of more than \(NAME_MAX) bytes")
            }
            names.append(part.map { CChar(bitPattern: $0) } + [0])
        }
        guard names.count <= limits.pathDepthMax else {
            throw refusal("is nested more than \(limits.pathDepthMax) folders deep")
        }
        guard !names.dropLast().contains(where: { $0.starts(with: LayerPath.mark) }) else {
            throw refusal("is inside a whiteout")
        }
        if let last = names.last, last.starts(with: LayerPath.mark) {
            let hidden = last.dropFirst(LayerPath.mark.count).dropLast()
            let dot = CChar(UInt8(ascii: "."))
            guard !hidden.isEmpty, ![[dot], [dot, dot]].contains(Array(hidden)) else {
                throw refusal("is a whiteout of no name")
            }
        }
    }

    /// The folder's path.
    var parent: ArraySlice<[CChar]> { names.dropLast() }

    /// The whiteout this path stands for; nil for an ordinary name.
    ///
    /// Source: OCI image specification 1.1, layer.md, "Whiteouts".
    var whiteout: Whiteout? {
        guard let last = names.last, last.starts(with: LayerPath.mark) else { return nil }
        let hidden = Array(last.dropFirst(LayerPath.mark.count))
        guard hidden.starts(with: LayerPath.mark) else { return .hide(hidden) }
        return hidden.dropLast().elementsEqual(LayerPath.opaqueRest) ? .opaque : .ignored
    }

    /// The path as text for messages.
    var text: String {
        printable(
            names.map { $0.dropLast().map(UInt8.init(bitPattern:)) }
                .joined(separator: [UInt8(ascii: "/")]))
    }

    private static let mark = ".wh.".utf8.map { CChar(bitPattern: $0) }
    private static let opaqueRest = ".wh..opq".utf8.map { CChar(bitPattern: $0) }
}
