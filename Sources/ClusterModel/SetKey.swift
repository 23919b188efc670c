import Base

/// A slot: the stable ordinal of a set in its service, written `web.3`.
package struct SlotID: Hashable, Comparable, Sendable, Codable, CustomStringConvertible {
    /// The service.
    package var service: String
    /// The ordinal, from 0.
    package var ordinal: Int

    package init(service: String, ordinal: Int) {
        self.service = service
        self.ordinal = ordinal
    }

    /// Reads `web.3`; nil when the text is not a service name, a dot and a number.
    package init?(_ text: String) {
        guard let dot = text.lastIndex(of: "."),
            let ordinal = Int(text[text.index(after: dot)...]), ordinal >= 0,
            dot != text.startIndex
        else { return nil }
        self.init(service: String(text[..<dot]), ordinal: ordinal)
    }

    package static func < (left: SlotID, right: SlotID) -> Bool {
        (left.service, left.ordinal) < (right.service, right.ordinal)
    }

    package var description: String { "\(service).\(ordinal)" }
}

/// The decision that binds a slot to a host; a newer log index replaces an older one.
package struct Placement: Hashable, Sendable {
    /// The slot.
    package var slot: SlotID
    /// The host that runs it.
    package var host: HostID
    /// The revision of the service's template.
    package var revision: UInt64
    /// The lease term in which it was decided.
    package var epoch: Epoch
    /// The log index that decided it.
    package var index: LogIndex

    package init(
        slot: SlotID, host: HostID, revision: UInt64, epoch: Epoch, index: LogIndex
    ) {
        self.slot = slot
        self.host = host
        self.revision = revision
        self.epoch = epoch
        self.index = index
    }
}

/// Where a set is in its life, as its host sees it.
package enum SetPhase: String, Hashable, Sendable, Codable, CaseIterable {
    /// No host yet; the slot carries a reason.
    case pending
    /// Its host fetches the image, makes network and cgroups, starts containers.
    case starting
    /// All its containers run.
    case running
    /// A container exited; the host starts it again after a delay.
    case backingOff
    /// Its host is ending it.
    case stopping
    /// Its host cannot run it; the reason says why.
    case failed
}

/// How a container ended.
package struct ContainerExit: Hashable, Sendable, Codable {
    /// The exit status; 128 plus the signal's number when a signal ended it.
    package var code: Int
    /// True when the kernel killed it for exceeding its memory limit.
    package var outOfMemory: Bool
    /// What it had used by then; nil when the kernel does not say, or it ended otherwise.
    package var memory: MemoryAtExit?

    package init(code: Int, outOfMemory: Bool = false, memory: MemoryAtExit? = nil) {
        self.code = code
        self.outOfMemory = outOfMemory
        self.memory = outOfMemory ? memory : nil
    }

    /// Why the kernel killed it for lack of memory, in words: `it used ...`.
    package var outOfMemoryReason: String {
        guard let memory else { return "it used more memory than its limit" }
        let figures =
            " (used \(Quantity.display(bytes: memory.peakBytes)) of limit "
            + "\(Quantity.display(bytes: memory.limitBytes)))"
        return memory.reachedLimit
            ? "it used more memory than its limit\(figures)"
            : "its host ran out of the memory that all sets share\(figures)"
    }
}

/// A container's memory when the kernel killed it.
package struct MemoryAtExit: Hashable, Sendable, Codable {
    /// The most it had used.
    package var peakBytes: Int
    /// Its limit.
    package var limitBytes: Int

    package init(peakBytes: Int, limitBytes: Int) {
        self.peakBytes = peakBytes
        self.limitBytes = limitBytes
    }

    /// True when its own limit was in the way; else the host's for all sets was, or its memory.
    ///
    /// What did not fit any more is not in the most it had used: an eighth is more than any
    /// allocation that a kernel charges at once.
    package var reachedLimit: Bool { peakBytes >= limitBytes - limitBytes / 8 }
}
