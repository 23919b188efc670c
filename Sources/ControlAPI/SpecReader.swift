import ClusterModel

/// Turns the tree of one YAML document into a service, noting every problem with its place.
///
/// A text field takes the scalar as written, whatever YAML would make of it: `image: 1.10` is
/// `1.10`, `A: no` is `no`. A field that is wrong keeps its default, so that reading goes on.
struct SpecReader {
    private(set) var problems: [ProblemView] = []
    /// Where each path of the file stands.
    private var places: [String: YAMLPlace] = [:]

    /// The keys of design that this version does not have.
    private static let laterService = ["update", "scaling"]
    private static let laterContainer = ["health"]
    private static let laterPlacement = ["after"]

    /// The whole document.
    mutating func service(_ root: YAMLNode) -> ServiceSpec {
        places[""] = root.place
        let fields = mapping(
            root, "",
            known: [
                "service", "pool", "sets", "priority", "containers", "network", "placement",
                "volumes", "runtime",
            ],
            later: SpecReader.laterService)
        var spec = ServiceSpec(name: "", containers: [])
        spec.name = required("service", fields, root).flatMap { text($0, "service") } ?? ""
        set(&spec.pool, fields["pool"].flatMap { text($0, "pool") })
        set(&spec.sets, fields["sets"].flatMap { wholeNumber($0, "sets") })
        set(&spec.priority, fields["priority"].flatMap { wholeNumber($0, "priority") })
        if let node = required("containers", fields, root) {
            spec.containers = list(node, "containers") { $0.container($1, $2) }
        }
        if let node = fields["network"] { spec.network = network(node) }
        if let node = fields["placement"] { spec.placement = placement(node) }
        if let node = fields["volumes"] {
            spec.volumes = list(node, "volumes") { $0.volume($1, $2) }
        }
        spec.runtime = fields["runtime"].flatMap { text($0, "runtime") }
        return spec
    }

    /// All problems: of reading, then those of the rules, without those that reading explains.
    func finish(_ spec: ServiceSpec) -> [ProblemView] {
        let noted = problems.map(\.path)
        let broken = spec.problems().filter { problem in
            !noted.contains {
                $0.isEmpty || problem.path == $0 || problem.path.hasPrefix("\($0).")
                    || problem.path.hasPrefix("\($0)[")
            }
        }
        let all =
            problems
            + broken.map { problem in
                let place = place(of: problem.path)
                return ProblemView(
                    path: problem.path, line: place.line, column: place.column,
                    message: problem.sentence)
            }
        return all.enumerated().sorted {
            ($0.element.line ?? 0, $0.element.column ?? 0, $0.offset)
                < ($1.element.line ?? 0, $1.element.column ?? 0, $1.offset)
        }.map(\.element)
    }

    /// Notes a problem at a path's place.
    mutating func note(_ path: String, _ message: String) {
        note(path, message, at: place(of: path))
    }

    private mutating func note(_ path: String, _ message: String, at place: YAMLPlace) {
        guard problems.count < 100 else { return }
        problems.append(
            ProblemView(path: path, line: place.line, column: place.column, message: message))
    }

    /// Where a path stands, or the nearest that leads to it.
    private func place(of path: String) -> YAMLPlace {
        var path = path[...]
        while true {
            if let place = places[String(path)] { return place }
            guard let cut = path.lastIndex(where: { $0 == "." || $0 == "[" }) else { break }
            path = path[..<cut]
        }
        return places[""] ?? YAMLPlace(line: 1, column: 1)
    }
}

// MARK: - The parts of a service

extension SpecReader {
    private mutating func container(_ node: YAMLNode, _ path: String) -> ContainerSpec {
        let fields = mapping(
            node, path,
            known: [
                "name", "image", "command", "env", "cpu", "memory", "pids", "io", "devices",
                "capabilities",
            ],
            later: SpecReader.laterContainer)
        var spec = ContainerSpec(name: "", image: "")
        spec.name =
            required("name", fields, node, path).flatMap { text($0, path + ".name") } ?? ""
        spec.image =
            required("image", fields, node, path).flatMap { text($0, path + ".image") } ?? ""
        if let command = fields["command"] {
            spec.command = list(command, path + ".command") { $0.text($1, $2) ?? "" }
        }
        if let environment = fields["env"] {
            spec.environment = variables(environment, path + ".env")
        }
        if let cpu = fields["cpu"] { spec.cpu = self.cpu(cpu, path + ".cpu") }
        if let memory = fields["memory"] { spec.memory = self.memory(memory, path + ".memory") }
        set(&spec.pidsMax, fields["pids"].flatMap { wholeNumber($0, path + ".pids") })
        if let io = fields["io"] { spec.io = self.io(io, path + ".io") }
        if let devices = fields["devices"] {
            spec.devices = list(devices, path + ".devices") { $0.text($1, $2) ?? "" }
        }
        if let names = fields["capabilities"] {
            spec.capabilities = list(names, path + ".capabilities") {
                LinuxCapability.plain($0.text($1, $2) ?? "")
            }
        }
        return spec
    }

    private mutating func variables(_ node: YAMLNode, _ path: String) -> [EnvironmentVariable] {
        guard case .mapping(let entries) = node.content else {
            wrongKind(node, path, wanted: "a mapping of names to values")
            return []
        }
        places[path] = node.place
        return entries.compactMap { entry in
            let value = entry.value.isNull ? "" : text(entry.value, "\(path).\(entry.key)")
            places["\(path).\(entry.key)"] = entry.keyPlace
            return value.map { EnvironmentVariable(name: entry.key, value: $0) }
        }.sorted { $0.name < $1.name }
    }

    private mutating func network(_ node: YAMLNode) -> NetworkSpec {
        let fields = mapping(node, "network", known: ["egress", "ingress", "publish"])
        var spec = NetworkSpec()
        spec.egress = fields["egress"].flatMap { bandwidth($0, "network.egress") }
        spec.ingress = fields["ingress"].flatMap { bandwidth($0, "network.ingress") }
        if let publish = fields["publish"] {
            spec.publish = list(publish, "network.publish") { $0.publishedPort($1, $2) }
        }
        return spec
    }

    /// One amount is rate and ceiling; in a mapping, a rate without a ceiling is its own.
    private mutating func bandwidth(_ node: YAMLNode, _ path: String) -> BandwidthSpec? {
        if case .scalar = node.content {
            return quantity(node, path, Quantity.bitsPerSecond)
                .map { BandwidthSpec(bitsPerSecond: $0) }
        }
        let fields = mapping(node, path, known: ["rate", "ceiling", "outside"])
        func amount(_ key: String) -> Int? {
            fields[key].flatMap { quantity($0, "\(path).\(key)", Quantity.bitsPerSecond) }
        }
        let rate = amount("rate")
        return BandwidthSpec(
            rateBitsPerSecond: rate, ceilingBitsPerSecond: amount("ceiling") ?? rate,
            outsideBitsPerSecond: amount("outside"))
    }

    private mutating func publishedPort(_ node: YAMLNode, _ path: String) -> PublishedPort {
        let fields = mapping(node, path, known: ["port", "host", "transport"])
        var spec = PublishedPort(port: 0, hostPort: 0)
        set(
            &spec.port,
            required("port", fields, node, path).flatMap { wholeNumber($0, path + ".port") })
        set(
            &spec.hostPort,
            required("host", fields, node, path).flatMap { wholeNumber($0, path + ".host") })
        set(&spec.transport, fields["transport"].flatMap { text($0, path + ".transport") })
        return spec
    }

    private mutating func placement(_ node: YAMLNode) -> PlacementSpec {
        let fields = mapping(
            node, "placement", known: ["datacenters", "spread", "apart-from"],
            later: SpecReader.laterPlacement)
        var spec = PlacementSpec()
        if let datacenters = fields["datacenters"] {
            spec.datacenters = list(datacenters, "placement.datacenters") { $0.text($1, $2) ?? "" }
        }
        if let spread = fields["spread"] {
            spec.spread = list(spread, "placement.spread") { $0.failureDomain($1, $2) }
                .compactMap(\.self)
        }
        if let others = fields["apart-from"] {
            spec.apartFrom = list(others, "placement.apart-from") { $0.text($1, $2) ?? "" }
        }
        return spec
    }

    private mutating func volume(_ node: YAMLNode, _ path: String) -> VolumeSpec {
        let fields = mapping(
            node, path,
            known: [
                "name", "size", "mount", "class", "read-only", "no-exec", "file-system",
                "backup",
            ])
        var spec = VolumeSpec(name: "", sizeBytes: 0, mount: "")
        spec.name =
            required("name", fields, node, path).flatMap { text($0, path + ".name") } ?? ""
        set(
            &spec.sizeBytes,
            required("size", fields, node, path).flatMap {
                quantity($0, path + ".size", Quantity.bytes)
            })
        spec.mount =
            required("mount", fields, node, path).flatMap { text($0, path + ".mount") } ?? ""
        set(
            &spec.volumeClass,
            fields["class"].flatMap { choice($0, path + ".class", of: VolumeClass.self) })
        if let backup = fields["backup"] { spec.backup = self.backup(backup, path + ".backup") }
        set(&spec.readOnly, fields["read-only"].flatMap { truth($0, path + ".read-only") })
        set(&spec.noExec, fields["no-exec"].flatMap { truth($0, path + ".no-exec") })
        spec.fileSystem = fields["file-system"].flatMap {
            choice($0, path + ".file-system", of: VolumeFileSystem.self)
        }
        return spec
    }

    private mutating func failureDomain(_ node: YAMLNode, _ path: String) -> FailureDomain? {
        choice(node, path, of: FailureDomain.self)
    }

    /// `true` or `false`, without quotes.
    private mutating func truth(_ node: YAMLNode, _ path: String) -> Bool? {
        guard let text = text(node, path) else { return nil }
        guard case .scalar(_, plain: true) = node.content, let value = Bool(text) else {
            note(path, "'\(text.prefix(60))' is not true or false")
            return nil
        }
        return value
    }

    /// One of the names that a field knows.
    mutating func choice<Choice: RawRepresentable & CaseIterable>(
        _ node: YAMLNode, _ path: String, of _: Choice.Type
    ) -> Choice? where Choice.RawValue == String {
        guard let name = text(node, path) else { return nil }
        if let choice = Choice(rawValue: name) { return choice }
        let known = Choice.allCases.map(\.rawValue)
        let hint = nearest(name, among: known).map { "; did you mean '\($0)'?" } ?? ""
        note(path, "'\(name.prefix(60))' is not one of \(known.joined(separator: ", "))\(hint)")
        return nil
    }
}

// MARK: - The kinds of values

extension SpecReader {
    /// The values of a mapping by key; notes unknown keys and those of a later version.
    mutating func mapping(
        _ node: YAMLNode, _ path: String, known: [String], later: [String] = []
    ) -> [String: YAMLNode] {
        places[path] = node.place
        guard case .mapping(let entries) = node.content else {
            wrongKind(
                node, path,
                wanted: "a mapping with keys such as \(known.prefix(2).joined(separator: ", "))")
            return [:]
        }
        var fields: [String: YAMLNode] = [:]
        for entry in entries {
            let keyPath = path.isEmpty ? entry.key : "\(path).\(entry.key)"
            if known.contains(entry.key) {
                fields[entry.key] = entry.value
                places[keyPath] = entry.value.place
            } else if later.contains(entry.key) {
                note(
                    keyPath, "'\(entry.key)' is not supported by this version", at: entry.keyPlace)
            } else {
                note(keyPath, unknownKeyMessage(entry.key, known: known), at: entry.keyPlace)
            }
        }
        return fields
    }

    /// The value of a key that must be there.
    mutating func required(
        _ key: String, _ fields: [String: YAMLNode], _ node: YAMLNode, _ path: String = ""
    ) -> YAMLNode? {
        if let value = fields[key] { return value }
        guard case .mapping = node.content else { return nil }
        note(path.isEmpty ? key : "\(path).\(key)", "key '\(key)' is missing", at: node.place)
        return nil
    }

    private mutating func list<Element>(
        _ node: YAMLNode, _ path: String,
        _ element: (inout SpecReader, YAMLNode, String) -> Element
    ) -> [Element] {
        places[path] = node.place
        guard case .sequence(let items) = node.content else {
            wrongKind(node, path, wanted: "a list")
            return []
        }
        return items.enumerated().map { index, item in
            places["\(path)[\(index)]"] = item.place
            return element(&self, item, "\(path)[\(index)]")
        }
    }

    mutating func text(_ node: YAMLNode, _ path: String) -> String? {
        places[path] = node.place
        guard case .scalar(let text, _) = node.content, !node.isNull else {
            wrongKind(node, path, wanted: "text")
            return nil
        }
        return text
    }

    mutating func wholeNumber(_ node: YAMLNode, _ path: String) -> Int? {
        places[path] = node.place
        guard case .scalar(let text, let plain) = node.content, !node.isNull else {
            wrongKind(node, path, wanted: "a whole number")
            return nil
        }
        let digits = text.hasPrefix("-") ? text.dropFirst() : text[...]
        guard !digits.isEmpty, digits.utf8.allSatisfy({ (0x30...0x39).contains($0) }) else {
            note(path, "'\(text.prefix(60))' is not a whole number")
            return nil
        }
        guard plain else {
            note(path, "'\(text.prefix(60))' is text: write the number without quotes")
            return nil
        }
        guard let number = Int(text) else {
            note(path, "\(text.prefix(60)) is too large")
            return nil
        }
        return number
    }

    mutating func quantity(
        _ node: YAMLNode, _ path: String, _ read: (String) throws(QuantityError) -> Int
    ) -> Int? {
        guard let text = text(node, path) else { return nil }
        do {
            return try read(text)
        } catch {
            note(path, error.description)
            return nil
        }
    }

    private mutating func wrongKind(_ node: YAMLNode, _ path: String, wanted: String) {
        note(path, "must be \(wanted), not \(node.kind)", at: node.place)
    }

    func set<Value>(_ target: inout Value, _ value: Value?) {
        if let value { target = value }
    }
}
