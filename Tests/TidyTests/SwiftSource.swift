import Foundation

/// One Swift file's lines, with comments and the contents of strings told apart from code.
///
/// This is no parser: it relies on swift-format, which lays every declaration out the same way, and
/// on there being no block comments, which swift-format refuses.
struct SwiftSource {
    /// A line as the tests look at it.
    struct Line {
        /// The code alone: strings are empty, comments are gone.
        var code: String
        /// True when the line holds a comment, alone or after code.
        var hasComment: Bool
        /// Spaces before the first character.
        var indentation: Int
        /// True when nothing at all is on the line.
        var isBlank: Bool
    }

    /// A function, initialiser or subscript with a body.
    struct Function {
        /// The line of its name, from 1.
        var line: Int
        /// Its lines, signature and last brace included.
        var length: Int
    }

    /// The lines in order.
    let lines: [Line]

    init(_ texts: [String]) {
        var lines: [Line] = []
        var isInText = false
        for text in texts {
            let parts = SwiftSource.split(text, isInText: &isInText)
            lines.append(
                Line(
                    code: parts.code, hasComment: parts.hasComment,
                    indentation: text.prefix { $0 == " " }.count,
                    isBlank: text.allSatisfy { $0 == " " }))
        }
        self.lines = lines
    }

    /// Takes strings and comments out of a line.
    ///
    /// `isInText` says whether the line begins within `"""`, and then whether it ends there.
    private static func split(
        _ text: String, isInText: inout Bool
    ) -> (code: String, hasComment: Bool) {
        var code = ""
        var rest = text[...]
        while let first = rest.first {
            if isInText {
                guard let end = rest.range(of: "\"\"\"") else { return (code, false) }
                rest = rest[end.upperBound...]
                isInText = false
            } else if rest.hasPrefix("\"\"\"") {
                rest = rest.dropFirst(3)
                isInText = true
            } else if first == "#", rest.hasPrefix("#\"") {
                // A raw string: it ends at the next quote that a number sign follows.
                rest = rest.dropFirst(2)
                guard let end = rest.range(of: "\"#") else { return (code, false) }
                rest = rest[end.upperBound...]
                code += "\"\""
            } else if first == "\"" {
                rest = SwiftSource.afterString(rest.dropFirst())
                code += "\"\""
            } else if rest.hasPrefix("//") {
                return (code, true)
            } else {
                code.append(first)
                rest = rest.dropFirst()
            }
        }
        return (code, false)
    }

    /// What follows the quote that ends a string, interpolations with strings of their own included.
    private static func afterString(_ text: Substring) -> Substring {
        var rest = text
        while let first = rest.popFirst() {
            switch first {
            case "\"": return rest
            case "\\":
                if rest.popFirst() == "(" { rest = afterInterpolation(rest) }
            default: continue
            }
        }
        return rest
    }

    private static func afterInterpolation(_ text: Substring) -> Substring {
        var rest = text
        var depth = 1
        while depth > 0, let first = rest.popFirst() {
            switch first {
            case "(": depth += 1
            case ")": depth -= 1
            case "\"": rest = afterString(rest)
            default: continue
            }
        }
        return rest
    }

    /// Every function with a body of more than one line.
    var functions: [Function] {
        lines.indices.filter { SwiftSource.isFunction(lines[$0].code) }.compactMap { start in
            length(from: start).map { Function(line: start + 1, length: $0) }
        }
    }

    private static func isFunction(_ code: String) -> Bool {
        let words = code.split { $0 == " " }
        for (index, word) in words.enumerated() {
            if word.hasPrefix("@") { continue }
            if word == "func" || word == "deinit" { return true }
            if word.hasPrefix("subscript(") || word.hasPrefix("subscript<") { return true }
            let isInitialiser = ["init(", "init?(", "init<"].contains { word.hasPrefix($0) }
            if isInitialiser { return true }
            guard modifiers.contains(String(word.prefix { $0 != "(" })), index < 8 else {
                return false
            }
        }
        return false
    }

    private static let modifiers: Set = [
        "package", "public", "internal", "fileprivate", "private", "static", "class", "final",
        "override", "mutating", "nonmutating", "nonisolated", "isolated", "required",
        "convenience", "consuming", "borrowing", "indirect", "prefix", "postfix", "infix",
    ]

    /// How many lines the declaration at `start` takes; nil when it has no body.
    private func length(from start: Int) -> Int? {
        let indentation = lines[start].indentation
        var isOpen = false
        for index in start..<lines.count {
            let line = lines[index]
            let code = line.code.drop { $0 == " " }
            if index > start, !line.isBlank, line.indentation < indentation { return nil }
            if isOpen, line.indentation == indentation, code.hasPrefix("}") {
                return index - start + 1
            }
            if isOpen { continue }
            let opened = code.count { $0 == "{" }
            let closed = code.count { $0 == "}" }
            // All on one line, but not a default argument's closure inside a longer signature.
            let isTop = line.indentation == indentation && line.code.hasSuffix("}")
            if opened > 0, opened == closed, isTop { return index - start + 1 }
            if opened > closed { isOpen = true }
            let goesOn = [")", "{", "->", "where", "async", "throws", "#"].contains {
                code.hasPrefix($0)
            }
            if index > start, line.indentation == indentation, !goesOn, !isOpen { return nil }
        }
        return nil
    }
}
