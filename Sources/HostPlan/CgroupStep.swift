/// One step of making or changing control groups; doing a step again changes nothing.
package enum CgroupStep: Equatable, Sendable {
    /// Make this folder; it is fine when it exists.
    case makeDirectory(String)
    /// Hand controllers down to the groups in a folder, by its file `cgroup.subtree_control`.
    case handDown(file: String, controllers: String)
    /// Write the text to the file. An optional file may be absent, and the step is then left out.
    case write(file: String, value: String, optional: Bool)
    /// Write one entry of a file that has a line for each, unless it says so already.
    case writeEntry(CgroupEntry, optional: Bool)
    /// Set the memory limit, never by killing.
    case setMemory(MemoryChange)
    /// Read the file back and compare: a limit that the kernel did not take is no limit.
    case expect(file: String, Expectation, optional: Bool)
    /// Say this when none of the files is there: what was asked for has no effect, but harms nobody.
    case inform(unlessAny: [String], sentence: String)

    /// What a limit's file must say.
    package enum Expectation: Equatable, Sendable, CustomStringConvertible {
        /// Exactly these words, whatever space is between them.
        case words(String)
        /// A number in this range: the kernel rounds memory down to whole pages (4 to 64 KiB).
        case number(ClosedRange<Int>)
        /// The entry stands in the file, or is as good as not there.
        case entry(CgroupEntry)

        /// True when the file's text is as expected.
        package func matches(_ text: String) -> Bool {
            switch self {
            case .words(let words):
                return text.prefix(256).split(whereSeparator: \.isWhitespace)
                    == words.split(separator: " ")
            case .number(let range):
                let found = text.prefix(256).split(whereSeparator: \.isWhitespace)
                guard found.count == 1, let value = Int(found[0]) else { return false }
                return range.contains(value)
            case .entry(let entry): return entry.former(in: text) == entry.value
            }
        }

        /// True when the file says already what writing it would make it say, to the page.
        package func isInPlace(_ text: String, pageBytes: Int) -> Bool {
            guard case .number(let range) = self, range.count > 1, range.upperBound < 1 << 60 else {
                return matches(text)
            }
            let wanted = range.upperBound - range.upperBound % max(pageBytes, 1)
            return Int(text.prefix(64).filter { !$0.isWhitespace }) == wanted
        }

        package var description: String {
            switch self {
            case .words(let words): words
            case .number(let range): "\(range.upperBound)"
            case .entry(let entry): "\(entry.key) \(entry.value)"
            }
        }
    }
}

/// One line of a file that has a line for each device: `8:0 1048576`, `default 100`.
package struct CgroupEntry: Equatable, Sendable {
    /// The file.
    package var file: String
    /// The first word of the line: a device's numbers, or `default`.
    package var key: String
    /// The rest of the line.
    package var value: String
    /// The rest that takes the line away; what is not there counts as this.
    package var none: String

    package init(file: String, key: String, value: String, none: String) {
        self.file = file
        self.key = key
        self.value = value
        self.none = none
    }

    /// What is written to the file.
    package var text: String { "\(key) \(value)" }

    /// What the file says for the key.
    package func former(in text: String) -> String {
        for line in text.utf8.split(separator: UInt8(ascii: "\n")).prefix(1_024) {
            let words = Substring(line).split(separator: " ")
            if let first = words.first, first == key {
                return words.dropFirst().joined(separator: " ")
            }
        }
        return none
    }

    /// The same entry with another value.
    package func with(value: String) -> CgroupEntry {
        CgroupEntry(file: file, key: key, value: value, none: none)
    }
}

/// A change of a group's memory: what is in use above the new limit is reclaimed first, and when that
/// fails the change is refused and nothing is killed.
///
/// Version 1 refuses by itself (EBUSY), but memory with swap may never be below memory. On version 2
/// writing less than is in use would kill: `softFile` is lowered first, which reclaims and slows
/// whoever asks for more, and only then usage is compared.
package struct MemoryChange: Equatable, Sendable {
    /// The hard limit's file.
    package var file: String
    /// Memory with swap on version 1, swap alone on version 2; absent where swap is not counted.
    package var swapFile: String
    /// Version 2: `memory.high`, nil for version 1.
    package var softFile: String?
    /// The hard limit.
    package var bytes: Int
    /// Swap beyond it.
    package var swapBytes: Int

    package init(file: String, swapFile: String, softFile: String?, bytes: Int, swapBytes: Int) {
        self.file = file
        self.swapFile = swapFile
        self.softFile = softFile
        self.bytes = bytes
        self.swapBytes = swapBytes
    }

    /// From here on a number is no limit; the kernel shows none as 2^63 less a page.
    package static let unlimited = 1 << 60

    /// Memory and swap together, as version 1 counts.
    package var totalBytes: Int {
        let (sum, overflow) = bytes.addingReportingOverflow(max(swapBytes, 0))
        return overflow ? MemoryChange.unlimited : min(sum, MemoryChange.unlimited)
    }

    /// A number of bytes as the kernel reads it.
    package func text(_ bytes: Int) -> String {
        guard bytes >= MemoryChange.unlimited else { return "\(bytes)" }
        return softFile == nil ? "-1" : "max"
    }
}
