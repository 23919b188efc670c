import CYaml

/// Reads the documents of a YAML file from libyaml's events.
///
/// Not through Yams' own nodes: they are built by recursion, follow aliases (ten lines can then
/// mean a billion nodes), and lose the place of a key that stands twice. Here nesting, the number
/// of nodes and everything exotic are bounded or refused while reading: no anchors, no aliases, no
/// tags, no keys that are not plain text.
struct YAMLDocuments: ~Copyable {
    /// The deepest nesting; a service needs five levels.
    static let depthMax = 32
    /// The most values in one file.
    static let nodesMax = 100_000

    fileprivate static let tooDeep = "nested deeper than \(depthMax) levels"

    /// The roots of all documents; empty documents are left out.
    static func read(_ bytes: [UInt8]) throws(ControlError) -> [YAMLNode] {
        var builder = TreeBuilder()
        do {
            try bytes.withUnsafeBufferPointer { buffer in
                // libyaml keeps pointers into its parser: it must not move, hence on the heap.
                let parser = UnsafeMutablePointer<yaml_parser_t>.allocate(capacity: 1)
                defer { parser.deallocate() }
                guard yaml_parser_initialize(parser) == 1 else {
                    throw ControlError(.failed, "no memory to read YAML")
                }
                defer { yaml_parser_delete(parser) }
                yaml_parser_set_encoding(parser, YAML_UTF8_ENCODING)
                yaml_parser_set_input_string(parser, buffer.baseAddress, buffer.count)
                try pump(parser, into: &builder)
            }
        } catch let error as ControlError {
            throw error
        } catch {
            throw ControlError(.failed, "cannot read YAML: \(error)")
        }
        return builder.roots
    }

    private static func pump(
        _ parser: UnsafeMutablePointer<yaml_parser_t>, into builder: inout TreeBuilder
    ) throws {
        while true {
            var event = yaml_event_t()
            guard yaml_parser_parse(parser, &event) == 1 else { throw syntaxError(parser.pointee) }
            defer { yaml_event_delete(&event) }
            let mark = event.start_mark
            let place = YAMLPlace(line: Int(mark.line) + 1, column: Int(mark.column) + 1)
            switch event.type {
            case YAML_STREAM_END_EVENT: return
            case YAML_SCALAR_EVENT:
                let scalar = event.data.scalar
                try builder.refuse(anchor: scalar.anchor, tag: scalar.tag, at: place)
                let text = UnsafeBufferPointer(start: scalar.value, count: scalar.length)
                try builder.scalar(
                    String(decoding: text, as: UTF8.self),
                    plain: scalar.style == YAML_PLAIN_SCALAR_STYLE, at: place)
            case YAML_SEQUENCE_START_EVENT:
                let start = event.data.sequence_start
                try builder.refuse(anchor: start.anchor, tag: start.tag, at: place)
                try builder.open(isMapping: false, at: place)
            case YAML_MAPPING_START_EVENT:
                let start = event.data.mapping_start
                try builder.refuse(anchor: start.anchor, tag: start.tag, at: place)
                try builder.open(isMapping: true, at: place)
            case YAML_SEQUENCE_END_EVENT, YAML_MAPPING_END_EVENT: try builder.close()
            case YAML_ALIAS_EVENT:
                throw refusal("aliases (*name) are not allowed: write the value out", at: place)
            default: break
            }
        }
    }

    private static func syntaxError(_ parser: yaml_parser_t) -> ControlError {
        // libyaml's own bound, for nesting that is read ahead.
        if parser.problem.map({ String(cString: $0) })?.hasPrefix("Maximum nesting") == true {
            return refusal(tooDeep, at: YAMLPlace(line: 1, column: 1))
        }
        let problem = parser.problem.map { String(cString: $0) } ?? "it cannot be read"
        let context = parser.context.map { String(cString: $0) + ": " } ?? ""
        return refusal(
            "not valid YAML: \(context)\(problem)",
            at: YAMLPlace(
                line: Int(parser.problem_mark.line) + 1,
                column: Int(parser.problem_mark.column) + 1))
    }
}

/// The error for something a file must not have.
func refusal(_ message: String, at place: YAMLPlace, path: String = "") -> ControlError {
    ControlError(
        .invalid, "the file is not a service's description",
        problems: [
            ProblemView(path: path, line: place.line, column: place.column, message: message)
        ])
}

/// Puts events together to trees, without recursion.
private struct TreeBuilder {
    private(set) var roots: [YAMLNode] = []
    private var open: [Frame] = []
    private var nodes = 0

    /// A list or mapping that is not yet closed.
    private struct Frame {
        var isMapping: Bool
        var place: YAMLPlace
        var items: [YAMLNode] = []
        var entries: [YAMLNode.Entry] = []
        var keys: [String: YAMLPlace] = [:]
        var key: (text: String, place: YAMLPlace)?
    }

    func refuse(
        anchor: UnsafeMutablePointer<UInt8>?, tag: UnsafeMutablePointer<UInt8>?,
        at place: YAMLPlace
    ) throws {
        guard anchor == nil else { throw refusal("anchors (&name) are not allowed", at: place) }
        guard tag == nil else { throw refusal("tags (!name) are not allowed", at: place) }
    }

    mutating func scalar(_ text: String, plain: Bool, at place: YAMLPlace) throws {
        guard let top = open.indices.last, open[top].isMapping, open[top].key == nil else {
            return try add(YAMLNode(place: place, content: .scalar(text, plain: plain)))
        }
        try count(at: place)
        if let earlier = open[top].keys.updateValue(place, forKey: text) {
            throw refusal(
                "key '\(text.prefix(60))' is there twice; first on line \(earlier.line)",
                at: place)
        }
        open[top].key = (text, place)
    }

    mutating func open(isMapping: Bool, at place: YAMLPlace) throws {
        guard open.count < YAMLDocuments.depthMax else {
            throw refusal(YAMLDocuments.tooDeep, at: place)
        }
        if let top = open.last, top.isMapping, top.key == nil {
            throw refusal("a key must be text, not a list or mapping", at: place)
        }
        open.append(Frame(isMapping: isMapping, place: place))
    }

    mutating func close() throws {
        guard let frame = open.popLast() else { return }
        try add(
            YAMLNode(
                place: frame.place,
                content: frame.isMapping ? .mapping(frame.entries) : .sequence(frame.items)))
    }

    private mutating func add(_ node: YAMLNode) throws {
        try count(at: node.place)
        guard let top = open.indices.last else {
            if !node.isNull { roots.append(node) }
            return
        }
        guard let key = open[top].key else { return open[top].items.append(node) }
        open[top].entries.append(
            YAMLNode.Entry(key: key.text, keyPlace: key.place, value: node))
        open[top].key = nil
    }

    private mutating func count(at place: YAMLPlace) throws {
        nodes += 1
        guard nodes <= YAMLDocuments.nodesMax else {
            throw refusal("more than \(YAMLDocuments.nodesMax) values", at: place)
        }
    }
}
