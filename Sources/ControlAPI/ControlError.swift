/// A refusal or failure of the local API, with what the operator can do about it.
package struct ControlError: Error, Hashable, Sendable, CustomStringConvertible {
    /// What kind of refusal; decides the HTTP status.
    package var code: ControlErrorCode
    /// What was attempted on what, and why it was refused: one sentence.
    package var message: String
    /// The operator's next step; nil when the message says it all.
    package var next: String?
    /// What is wrong with the input, all of it, in the order of the input.
    package var problems: [ProblemView]

    package init(
        _ code: ControlErrorCode, _ message: String, next: String? = nil,
        problems: [ProblemView] = []
    ) {
        self.code = code
        self.message = message
        self.next = next
        self.problems = problems
    }

    /// The error that the API answered.
    package init(_ view: ErrorView) {
        self.init(
            ControlErrorCode(rawValue: view.code) ?? .failed, view.message, next: view.next,
            problems: view.problems)
    }

    /// The error as the API answers it.
    package var view: ErrorView {
        ErrorView(code: code.rawValue, message: message, next: next, problems: problems)
    }

    package var description: String {
        ([message] + problems.map { "\($0.path): \($0.message)" } + (next.map { [$0] } ?? []))
            .joined(separator: "\n")
    }
}

/// The kinds of refusal.
package enum ControlErrorCode: String, Hashable, Sendable, CaseIterable {
    /// The input is wrong; the problems say where. Status 400.
    case invalid
    /// What was named does not exist. Status 404.
    case notFound
    /// The input is right but cannot be done now or here. Status 409.
    case refused
    /// The input is above its limit. Status 413.
    case tooLarge
    /// No majority of voters answers, so nothing can be decided. Status 503.
    case noQuorum
    /// The agent cannot do it at the moment. Status 503.
    case unavailable
    /// The agent failed; its log says more. Status 500.
    case failed
    /// Client side only: no agent listens, or the connection broke. Never sent.
    case unreachable

    /// The HTTP status that carries this code.
    package var httpStatus: Int {
        switch self {
        case .invalid: 400
        case .notFound: 404
        case .refused: 409
        case .tooLarge: 413
        case .noQuorum, .unavailable, .unreachable: 503
        case .failed: 500
        }
    }
}

/// The body of every answer whose status is 400 or above.
package struct ErrorView: Codable, Hashable, Sendable {
    /// The stable code, such as `notFound`.
    package var code: String
    /// What was refused and why: one sentence.
    package var message: String
    /// The operator's next step.
    package var next: String?
    /// What is wrong with the input.
    package var problems: [ProblemView]

    package init(code: String, message: String, next: String? = nil, problems: [ProblemView] = []) {
        self.code = code
        self.message = message
        self.next = next
        self.problems = problems
    }
}

/// One thing wrong with an input.
package struct ProblemView: Codable, Hashable, Sendable {
    /// The path of the offending field, such as `containers[0].memory.limit`.
    package var path: String
    /// The line in the file, from 1; nil when there is no file.
    package var line: Int?
    /// The column in the line, from 1.
    package var column: Int?
    /// What is wrong, and what would be right.
    package var message: String

    package init(path: String, line: Int? = nil, column: Int? = nil, message: String) {
        self.path = path
        self.line = line
        self.column = column
        self.message = message
    }
}
