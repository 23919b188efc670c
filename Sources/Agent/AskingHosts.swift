/// Asks many at once, but no more than `maximum`; the answers are in the order of the elements.
///
/// A question to every host of a large cluster would otherwise open a stream to each in one moment.
func askEach<Element: Sendable, Answer: Sendable>(
    of elements: [Element], atOnce maximum: Int = 32,
    _ ask: @escaping @Sendable (Element) async -> Answer
) async -> [Answer] {
    await withTaskGroup(of: (Int, Answer).self) { group in
        var answers: [(Int, Answer)] = []
        for (position, element) in elements.enumerated() {
            if position >= maximum, let answer = await group.next() { answers.append(answer) }
            group.addTask { (position, await ask(element)) }
        }
        for await answer in group { answers.append(answer) }
        return answers.sorted { $0.0 < $1.0 }.map(\.1)
    }
}
