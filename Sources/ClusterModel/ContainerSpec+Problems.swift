extension ContainerSpec {
    /// Adds every broken rule of one container.
    func check(at path: String, into list: inout ProblemList) {
        list.check(name: name, at: "\(path).name")
        if let problem = ImageReference.problem(in: image) {
            list.add("\(path).image", "the image reference '\(quoted(image))' \(problem)")
        }
        checkCommand(at: path, into: &list)
        checkEnvironment(at: path, into: &list)
        checkCPU(at: path, into: &list)
        checkMemory(at: path, into: &list)
        list.check(pidsMax, in: SpecLimits.pids, at: "\(path).pids")
        checkIO(at: "\(path).io", into: &list)
        checkRights(at: path, into: &list)
    }

    private func checkCommand(at path: String, into list: inout ProblemList) {
        if command.count > SpecLimits.arguments {
            list.add("\(path).command", "at most \(SpecLimits.arguments) arguments are allowed")
        }
        for (position, argument) in command.prefix(SpecLimits.arguments).enumerated() {
            list.check(
                text: argument, bytesMax: SpecLimits.argumentBytes,
                at: "\(path).command[\(position)]")
        }
        if let first = command.first, first.isEmpty {
            list.add("\(path).command[0]", "the program to run must not be empty")
        }
    }

    private func checkEnvironment(at path: String, into list: inout ProblemList) {
        if environment.count > SpecLimits.variables {
            list.add("\(path).env", "at most \(SpecLimits.variables) variables are allowed")
        }
        for variable in environment.prefix(SpecLimits.variables) {
            let place = "\(path).env.\(quoted(variable.name))"
            if variable.name.isEmpty || variable.name.utf8.contains(UInt8(ascii: "=")) {
                list.add(place, "a variable's name must not be empty or contain '='")
            }
            list.check(text: variable.name, bytesMax: SpecLimits.variableNameBytes, at: place)
            list.check(text: variable.value, bytesMax: SpecLimits.variableValueBytes, at: place)
        }
        for (left, right) in zip(environment, environment.dropFirst())
        where left.name >= right.name {
            list.add(
                "\(path).env.\(quoted(right.name))",
                left.name == right.name
                    ? "the variable is set twice" : "variables must be sorted by name")
        }
    }

    private func checkCPU(at path: String, into list: inout ProblemList) {
        list.check(
            cpu.limitMillicores, in: SpecLimits.cpuLimitMillicores, at: "\(path).cpu.limit",
            text: Quantity.text(millicores:))
        let request = Quantity.text(millicores: cpu.requestMillicores)
        if cpu.requestMillicores < 0 {
            list.add("\(path).cpu.request", "\(request) is negative; 0 or more is allowed")
        } else if cpu.limitMillicores > 0, cpu.requestMillicores > cpu.limitMillicores {
            list.add(
                "\(path).cpu.request",
                "the request \(request) is above the limit "
                    + "\(Quantity.text(millicores: cpu.limitMillicores))")
        }
        if cpu.limitMillicores > 0, !(0...cpu.limitMillicores ~= cpu.burstMillicores) {
            list.add(
                "\(path).cpu.burst",
                "the burst \(Quantity.text(millicores: cpu.burstMillicores)) is not in 0 to the limit "
                    + "\(Quantity.text(millicores: cpu.limitMillicores)), which is all the kernel saves up"
            )
        }
        if cpu.cores == .dedicated, cpu.limitMillicores > 0 {
            checkDedicated(at: path, into: &list)
        }
    }

    /// Cores that nobody else may use are whole, and all of them are set aside.
    private func checkDedicated(at path: String, into list: inout ProblemList) {
        let limit = Quantity.text(millicores: cpu.limitMillicores)
        if cpu.limitMillicores % 1_000 != 0 {
            list.add(
                "\(path).cpu.limit",
                "dedicated cores are whole: \(limit) must be a whole number of cores, such as "
                    + "\(cpu.limitMillicores / 1_000 + 1)")
        } else if 0..<cpu.limitMillicores ~= cpu.requestMillicores {
            list.add(
                "\(path).cpu.request",
                "the request of dedicated cores must be their limit, \(limit), since nobody else "
                    + "can use them")
        }
    }

    private func checkMemory(at path: String, into list: inout ProblemList) {
        list.check(
            memory.limitBytes, in: SpecLimits.memoryLimitBytes, at: "\(path).memory.limit",
            text: Quantity.text(bytes:))
        let request = Quantity.text(bytes: memory.requestBytes)
        if memory.requestBytes < 0 {
            list.add("\(path).memory.request", "\(request) is negative; 0 or more is allowed")
        } else if memory.limitBytes > 0, memory.requestBytes > memory.limitBytes {
            list.add(
                "\(path).memory.request",
                "the request \(request) is above the limit "
                    + "\(Quantity.text(bytes: memory.limitBytes))")
        }
        if let soft = memory.softBytes {
            list.check(
                soft, in: SpecLimits.memoryLimitBytes, at: "\(path).memory.soft",
                text: Quantity.text(bytes:))
            if SpecLimits.memoryLimitBytes ~= soft, soft > memory.limitBytes {
                list.add(
                    "\(path).memory.soft",
                    "the soft limit \(Quantity.text(bytes: soft)) is above the limit "
                        + "\(Quantity.text(bytes: memory.limitBytes))")
            }
        }
        list.check(
            memory.swapBytes, in: SpecLimits.swapBytes, at: "\(path).memory.swap",
            text: Quantity.text(bytes:))
    }

    private func checkIO(at path: String, into list: inout ProblemList) {
        if let weight = io.weight {
            list.check(weight, in: SpecLimits.ioWeight, at: "\(path).weight")
        }
        for (name, rate) in [("read", io.readBytesPerSecond), ("write", io.writeBytesPerSecond)] {
            guard let rate else { continue }
            list.check(
                rate, in: SpecLimits.ioBytesPerSecond, at: "\(path).\(name)",
                text: Quantity.text(bytesPerSecond:))
        }
        for (name, rate) in [
            ("read", io.readOperationsPerSecond), ("write", io.writeOperationsPerSecond),
        ] {
            guard let rate else { continue }
            list.check(rate, in: SpecLimits.ioOperationsPerSecond, at: "\(path).\(name)-operations")
        }
    }
}

/// Collects the broken rules of a spec.
struct ProblemList {
    private(set) var problems: [SpecProblem] = []

    /// More would not help anybody; a hostile spec must not make a long answer.
    private static let maximum = 100

    mutating func add(_ path: String, _ sentence: String) {
        guard problems.count < ProblemList.maximum else { return }
        problems.append(SpecProblem(path: path, sentence: sentence))
    }

    mutating func check(
        _ value: Int, in range: ClosedRange<Int>, at path: String,
        text: (Int) -> String = { String($0) }
    ) {
        guard !range.contains(value) else { return }
        add(
            path,
            "\(text(value)) is not allowed: from \(text(range.lowerBound)) "
                + "to \(text(range.upperBound))")
    }

    mutating func check(name: String, at path: String) {
        guard !Naming.isName(name) else { return }
        add(
            path,
            "'\(quoted(name))' is not a name: 1 to 40 of a-z, 0-9 and -, a letter first, "
                + "no hyphen last")
    }

    mutating func check(label: String, at path: String) {
        guard !Naming.isLabel(label) else { return }
        add(
            path,
            "'\(quoted(label))' is not allowed: 1 to 63 of letters, digits, '-', '_' and '.', "
                + "a letter or digit first")
    }

    mutating func check(text: String, bytesMax: Int, at path: String) {
        if text.utf8.count > bytesMax { add(path, "at most \(bytesMax) bytes are allowed") }
        if text.utf8.contains(0) { add(path, "a NUL byte is not allowed") }
    }

    /// Reports each text that stood before in the list.
    mutating func check(unique texts: [String], path: (Int) -> String) {
        var seen: Set<String> = []
        for (position, text) in texts.enumerated() where !seen.insert(text).inserted {
            add(path(position), "'\(quoted(text))' is there twice")
        }
    }
}

/// The rules for names.
package enum Naming {
    /// A service's or container's name: 1 to 40 of `a-z 0-9 -`, a letter first, no hyphen last.
    ///
    /// Short enough to be a label in DNS with an ordinal behind it.
    package static func isName(_ text: String) -> Bool {
        let bytes = Array(text.utf8)
        guard (1...40).contains(bytes.count), let first = bytes.first, let last = bytes.last,
            isLower(first), last != UInt8(ascii: "-")
        else { return false }
        return bytes.allSatisfy { isLower($0) || isDigit($0) || $0 == UInt8(ascii: "-") }
    }

    /// A name of a pool, datacentre, rack or host: 1 to 63 of letters, digits, `-`, `_` and `.`,
    /// a letter or digit first.
    package static func isLabel(_ text: String) -> Bool {
        let bytes = Array(text.utf8)
        guard (1...63).contains(bytes.count), let first = bytes.first,
            isLetter(first) || isDigit(first)
        else { return false }
        return bytes.allSatisfy(isLabelByte)
    }

    /// A host's name as the kernel reports it: 1 to 255 of the characters of a label.
    package static func isHostName(_ text: String) -> Bool {
        (1...255).contains(text.utf8.count) && text.utf8.allSatisfy(isLabelByte)
    }

    private static func isLabelByte(_ byte: UInt8) -> Bool {
        isLetter(byte) || isDigit(byte) || byte == UInt8(ascii: "-") || byte == UInt8(ascii: "_")
            || byte == UInt8(ascii: ".")
    }

    private static func isLower(_ byte: UInt8) -> Bool {
        (UInt8(ascii: "a")...UInt8(ascii: "z")).contains(byte)
    }

    private static func isLetter(_ byte: UInt8) -> Bool { isLower(byte | 0x20) }

    private static func isDigit(_ byte: UInt8) -> Bool {
        (UInt8(ascii: "0")...UInt8(ascii: "9")).contains(byte)
    }
}

/// A foreign text as it may stand in a sentence: short, on one line.
func quoted(_ text: String) -> String {
    String(text.prefix(64).map { $0.isNewline || $0 == "\0" ? " " : $0 })
}
