import Wire

/// How a volume is, as its host sees it: what people are told of it beside its size.
package struct VolumeCondition: Hashable, Sendable {
    /// What is wrong with a volume.
    ///
    /// The order of the cases is their binary form: append only.
    package enum Trouble: String, Hashable, Sendable, CaseIterable {
        /// The disk or file system below it, or its own file system, met an error.
        case failed
        /// Its content is not where it was.
        case gone
    }

    /// The line that its use has passed: 0, 80, 95 or 100 %.
    package var filledPercent: Int
    /// True while nobody may write to it because it is full.
    package var isHeld: Bool
    /// What is wrong with it; nil while it is well.
    package var trouble: Trouble?
    /// What is wrong and what to do, as the end of a sentence that begins with the volume; empty
    /// while nothing is.
    package var reason: String

    /// The most bytes of a reason.
    package static let reasonBytesMax = 800

    /// A reason that is too long is cut, so that what is told equals what is kept.
    package init(
        filledPercent: Int = 0, isHeld: Bool = false, trouble: Trouble? = nil, reason: String = ""
    ) {
        self.filledPercent = filledPercent
        self.isHeld = isHeld
        self.trouble = trouble
        guard reason.utf8.count > VolumeCondition.reasonBytesMax else {
            self.reason = reason
            return
        }
        var kept = String.UnicodeScalarView()
        var bytes = 0
        for scalar in reason.unicodeScalars {
            bytes += UTF8.width(scalar)
            guard bytes <= VolumeCondition.reasonBytesMax else { break }
            kept.append(scalar)
        }
        self.reason = String(kept)
    }

    /// What is wrong with the volume of this name and what to do; nil when nothing is.
    package func problem(of title: String) -> String? {
        if trouble != nil { return reason }
        guard isHeld else { return nil }
        return "it is full and read-only: grow it, or allow a clean-up with `shoal volume clean "
            + "\(title)`"
    }

    /// True of a volume that there is nothing to say of.
    package var isWell: Bool { self == VolumeCondition() }
}

extension VolumeCondition: WireCodable {
    package func encode(into writer: inout ByteWriter) {
        writer.write(byte: UInt8(clamping: filledPercent))
        writer.write(isHeld)
        // Zero is none, and the position among the cases counts from one.
        let place = trouble.flatMap { Trouble.allCases.firstIndex(of: $0) }
        writer.write(byte: place.map { UInt8(clamping: $0 + 1) } ?? 0)
        writer.write(reason)
    }

    package init(from reader: inout ByteReader) throws(WireError) {
        let percent = Int(try reader.readByte())
        guard [0, 80, 95, 100].contains(percent) else {
            throw .unknownCase(what: "line of a volume's use", value: UInt64(percent))
        }
        let isHeld = try reader.readBool()
        let place = Int(try reader.readByte())
        guard place <= Trouble.allCases.count else {
            throw .unknownCase(what: "trouble of a volume", value: UInt64(place))
        }
        self.init(
            filledPercent: percent, isHeld: isHeld,
            trouble: place == 0 ? nil : Trouble.allCases[place - 1],
            reason: try reader.readString(maximum: VolumeCondition.reasonBytesMax))
    }
}
