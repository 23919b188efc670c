import ControlAPI

/// How far a followed log was handed on, so that a new connection repeats nothing.
actor LogProgress {
    /// By container: the time of its last line, and how many lines had that time.
    private var last: [String: (time: String, count: Int)] = [:]
    /// What a new connection has to skip of each container.
    private var skip: [String: (time: String, count: Int)] = [:]

    /// The next lines come from a new connection, which begins before the last one's end.
    func reconnect() { skip = last }

    /// True for a line that was not handed on yet.
    ///
    /// Times are RFC 3339 of one form, so their texts compare as they do; lines that were written
    /// at once share theirs.
    func isNew(_ line: LogLine) -> Bool {
        if let (time, count) = skip[line.container] {
            if line.time < time { return false }
            if line.time == time, count > 0 {
                skip[line.container] = (time, count - 1)
                return false
            }
            skip[line.container] = nil
        }
        let before = last[line.container]
        let known = before.map { $0.time == line.time ? $0.count : 0 } ?? 0
        last[line.container] = (line.time, known + 1)
        return true
    }
}
