import Foundation
import ImageStore
import Synchronization

/// Stops a store's long work before chosen steps until the test lets it go on.
///
/// Nothing here waits for time: the work says that it stands, and the test says when it may go on.
final class StepGate: Sendable {
    private let isChosen: @Sendable (ImageStep) -> Bool
    private let isHolding = Atomic<Bool>(false)
    private let passes = DispatchSemaphore(value: 0)
    /// Steps that stand at the gate; nil at the end of the work.
    private let stream: AsyncStream<ImageStep?>
    private let continuation: AsyncStream<ImageStep?>.Continuation

    /// A gate that holds the chosen steps; all when nothing is said.
    init(_ isChosen: @escaping @Sendable (ImageStep) -> Bool = { _ in true }) {
        self.isChosen = isChosen
        (stream, continuation) = AsyncStream.makeStream()
    }

    /// What the store is given as `onStep`; holds nothing but while `drive` runs.
    func hold(_ step: ImageStep) {
        guard isChosen(step), isHolding.load(ordering: .acquiring) else { return }
        continuation.yield(step)
        passes.wait()
    }

    /// Runs long work, and `body` while it stands at each chosen step; returns how the work ended.
    ///
    /// When `body` throws or the test runs out of time, the work goes on to its end unheld.
    func drive<Value: Sendable>(
        _ work: @escaping @Sendable () async throws -> Value,
        atEachStep body: (ImageStep) async throws -> Void
    ) async throws -> Result<Value, any Error> {
        isHolding.store(true, ordering: .releasing)
        let task = Task {
            let result: Result<Value, any Error>
            do { result = .success(try await work()) } catch { result = .failure(error) }
            continuation.yield(nil)
            return result
        }
        do {
            try await withTaskCancellationHandler {
                var steps = stream.makeAsyncIterator()
                while case .some(.some(let step)) = await steps.next() {
                    try await body(step)
                    passes.signal()
                }
            } onCancel: {
                open()
            }
        } catch {
            open()
            _ = await task.value
            throw error
        }
        isHolding.store(false, ordering: .releasing)
        return await task.value
    }

    /// Holds nothing any more.
    private func open() {
        isHolding.store(false, ordering: .releasing)
        passes.signal()
    }
}
