/// The message for a key nobody knows, with the nearest known one.
func unknownKeyMessage(_ key: String, known: [String]) -> String {
    let shown = String(key.prefix(60)).filter { !$0.isNewline && $0 != "\u{1B}" }
    if let near = nearest(key, among: known) {
        return "unknown key '\(shown)'; did you mean '\(near)'?"
    }
    return "unknown key '\(shown)'; known here: \(known.sorted().joined(separator: ", "))"
}

/// The known word that is at most a third of its letters away; nil when none is.
func nearest(_ word: String, among known: [String]) -> String? {
    guard word.utf8.count <= 40 else { return nil }
    let ranked = known.map { (distance: editDistance(word.lowercased(), $0), word: $0) }
        .sorted { ($0.distance, $0.word) < ($1.distance, $1.word) }
    guard let best = ranked.first, best.distance <= max(1, best.word.utf8.count / 3) else {
        return nil
    }
    return best.word
}

/// How many insertions, deletions, replacements and swaps of neighbours lead from one to the other.
///
/// The restricted Damerau-Levenshtein distance (optimal string alignment).
private func editDistance(_ left: String, _ right: String) -> Int {
    let left = Array(left.utf8)
    let right = Array(right.utf8)
    var beforePrevious: [Int] = []
    var previous = Array(0...right.count)
    for row in 0..<left.count {
        var current = [row + 1]
        for column in 0..<right.count {
            var best = min(
                previous[column] + (left[row] == right[column] ? 0 : 1),
                previous[column + 1] + 1, current[column] + 1)
            if row > 0, column > 0, left[row] == right[column - 1], left[row - 1] == right[column] {
                best = min(best, beforePrevious[column - 1] + 1)
            }
            current.append(best)
        }
        (beforePrevious, previous) = (previous, current)
    }
    return previous[right.count]
}
