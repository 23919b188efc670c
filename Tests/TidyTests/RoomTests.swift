import Foundation
import Testing

/// One target of `Sources`, and all that it may import.
struct Room {
    /// The target, and its folder's name.
    let name: String
    /// Its level: imports go down, or sideways to what the table lists earlier.
    let level: Int
    /// Other targets of ours.
    var rooms: [String] = []
    /// Everything else: the C library, the toolchain's modules, C libraries, packages.
    var others: [String] = []

    /// The design's rooms (section 3), lower ones first.
    ///
    /// A room may import what its line names, and nothing more: to add to a line is a decision about
    /// the house.
    static let all: [Room] = [
        Room(name: "Base", level: 0),

        Room(name: "Wire", level: 1, rooms: ["Base"]),
        Room(name: "ClusterModel", level: 1, rooms: ["Base", "Wire"]),
        Room(name: "Membership", level: 1, rooms: ["Base", "Wire", "ClusterModel"]),
        Room(name: "Consensus", level: 1, rooms: ["Base", "Wire"]),
        Room(name: "ClusterState", level: 1, rooms: ["Base", "Wire", "ClusterModel"]),
        Room(name: "Scheduling", level: 1, rooms: ["Base", "ClusterModel", "ClusterState"]),
        Room(name: "HostPlan", level: 1, rooms: ["Base", "ClusterModel"]),
        Room(name: "VolumePlan", level: 1, rooms: ["Base", "ClusterModel"]),

        Room(
            name: "PeerCore", level: 2,
            rooms: [
                "Base", "Wire", "ClusterModel", "Membership", "Consensus", "ClusterState",
                "Scheduling",
            ]),

        Room(
            name: "EventLoop", level: 3, rooms: ["Base"],
            others: ["CLibuv", "CLinux", "Glibc", "Synchronization"]),
        Room(
            name: "Transport", level: 3, rooms: ["Base", "Wire", "EventLoop"],
            others: ["CLibuv", "CSodium", "Glibc", "Synchronization"]),
        Room(
            name: "Storage", level: 3, rooms: ["Base", "Wire", "Consensus"],
            others: ["CSQLite", "Glibc", "Synchronization"]),
        Room(
            name: "HostControl", level: 3,
            rooms: ["Base", "ClusterModel", "HostPlan", "EventLoop"],
            others: ["CLinux", "Glibc", "Synchronization"]),
        Room(
            name: "ContainerRuntime", level: 3,
            rooms: ["Base", "ClusterModel", "HostPlan", "EventLoop"],
            others: ["CLinux", "Glibc", "Synchronization"]),
        Room(
            name: "VolumeStore", level: 3,
            rooms: ["Base", "ClusterModel", "VolumePlan", "EventLoop"],
            others: ["CLinux", "CSodium", "Glibc", "Synchronization"]),
        Room(
            name: "ImageStore", level: 3, rooms: ["Base", "ClusterModel"],
            others: [
                "CArchive", "CSodium", "CLinux", "FoundationEssentials", "Glibc",
                "Synchronization",
            ]),
        Room(
            name: "ControlAPI", level: 3, rooms: ["Base", "ClusterModel"],
            others: [
                "Hummingbird", "HummingbirdCore", "NIOCore", "NIOPosix", "NIOHTTP1", "Logging",
                "Yams", "CYaml", "FoundationEssentials", "Glibc", "Synchronization",
            ]),
        Room(
            name: "BackupStore", level: 3,
            rooms: [
                "Base", "ClusterModel", "VolumePlan", "EventLoop", "VolumeStore", "ControlAPI",
            ],
            others: [
                "CLinux", "CSodium", "Hummingbird", "HummingbirdCore", "NIOCore", "NIOPosix",
                "Logging", "FoundationEssentials", "Glibc", "Synchronization",
            ]),
        Room(
            name: "Agent", level: 3,
            rooms: [
                "Base", "Wire", "ClusterModel", "Membership", "Consensus", "ClusterState",
                "Scheduling", "HostPlan", "PeerCore", "EventLoop", "Transport", "Storage",
                "HostControl", "ContainerRuntime", "VolumePlan", "VolumeStore", "BackupStore",
                "ImageStore",
                "ControlAPI",
            ], others: ["CLinux", "Yams", "Foundation", "Glibc", "Synchronization"]),

        Room(
            name: "Simulation", level: 4,
            rooms: [
                "Base", "Wire", "ClusterModel", "Membership", "Consensus", "ClusterState",
                "Scheduling", "PeerCore",
            ]),
        Room(
            name: "shoal", level: 4, rooms: ["Agent", "Base", "ClusterModel", "ControlAPI"],
            others: ["ArgumentParser", "FoundationEssentials", "Glibc", "Synchronization"]),
        Room(
            name: "simulate", level: 4, rooms: ["Simulation", "Base"],
            others: ["ArgumentParser", "FoundationEssentials"]),
        Room(
            name: "benchmarks", level: 4,
            rooms: [
                "Base", "ClusterModel", "HostPlan", "Consensus", "ControlAPI", "EventLoop",
                "HostControl", "Storage", "VolumePlan", "VolumeStore",
            ], others: ["ArgumentParser", "FoundationEssentials", "Glibc"]),
    ]

    /// Modules that need no line in `Package.swift`: of the toolchain, or inside a package's product.
    static let undeclared: Set = [
        "Foundation", "FoundationEssentials", "Glibc", "Synchronization", "CYaml",
    ]
}

/// Who may call whom: SwiftPM builds any graph without a circle, these tests keep ours.
@Suite("rooms")
struct RoomTests {
    @Test("the table itself goes down only, and its pure rooms import nothing but rooms")
    func tableGoesDown() {
        for (index, room) in Room.all.enumerated() {
            for name in room.rooms {
                let known = Room.all[..<index].first { $0.name == name }
                #expect(known.map { $0.level <= room.level } == true, "\(room.name): \(name)")
            }
            if room.level < 3 { #expect(room.others.isEmpty, "\(room.name) is pure") }
        }
    }

    @Test("every folder of Sources is a room, and every room has a folder")
    func foldersAreRooms() {
        let folders = Set(
            Repository.swiftFiles.filter { !$0.isTest }.map(\.room))
        let rooms = Set(Room.all.map(\.name))
        #expect(folders.subtracting(rooms).isEmpty, "give it a line in the table of rooms")
        #expect(rooms.subtracting(folders).isEmpty, "rooms appear with their first file")
    }

    @Test("a room imports only what the table allows")
    func importsAreAllowed() {
        var wrong: [String] = []
        for (file, source) in Repository.sources where !file.isTest {
            guard let room = Room.all.first(where: { $0.name == file.room }) else { continue }
            for (module, line) in imports(of: source)
            where !room.rooms.contains(module) && !room.others.contains(module) {
                wrong.append("\(file.path):\(line): \(module)")
            }
        }
        #expect(wrong.isEmpty, "\(wrong)")
    }

    @Test("Package.swift gives a room no more than the table, and no less than it imports")
    func packageAgrees() throws {
        let declared = try PackageFile.dependencies()
        for room in Room.all {
            let given = try #require(declared[room.name], "\(room.name) is not in Package.swift")
            let allowed = Set(room.rooms + room.others)
            #expect(
                given.subtracting(allowed).isEmpty,
                "\(room.name): Package.swift lists \(given.subtracting(allowed).sorted())")
            let used = Repository.sources.filter { !$0.file.isTest && $0.file.room == room.name }
                .flatMap { imports(of: $0.source).map(\.module) }
            let missing = Set(used).subtracting(given).subtracting(Room.undeclared)
            #expect(missing.isEmpty, "\(room.name): Package.swift lacks \(missing.sorted())")
        }
    }

    /// The modules a file imports, with their lines.
    private func imports(of source: SwiftSource) -> [(module: String, line: Int)] {
        let kinds: Set<Substring> = [
            "struct", "class", "enum", "protocol", "typealias", "func", "let", "var",
        ]
        let accesses: Set<Substring> = ["public", "package", "internal", "fileprivate", "private"]
        var found: [(module: String, line: Int)] = []
        for (index, line) in source.lines.enumerated() {
            var words = line.code.split(separator: " ")[...]
            while let word = words.first, word.hasPrefix("@") || accesses.contains(word) {
                words.removeFirst()
            }
            guard words.first == "import" else { continue }
            words.removeFirst()
            if let kind = words.first, kinds.contains(kind) { words.removeFirst() }
            guard let module = words.first else { continue }
            found.append((String(module.prefix { $0 != "." }), index + 1))
        }
        return found
    }
}

/// `Package.swift`, read as text: enough of it for the table of rooms.
enum PackageFile {
    /// The dependencies of every target by its name, products by the module they bring.
    static func dependencies() throws -> [String: Set<String>] {
        let file = try #require(Repository.files.first { $0.path == "Package.swift" })
        let text = SwiftText.withoutComments(file.lines)
        var products: [String: String] = [:]
        let product = /let (\w+) = Target\.Dependency\.product\(\s*name: "(\w+)"/
        for match in text.matches(of: product) {
            products[String(match.output.1)] = String(match.output.2)
        }
        var targets: [String: Set<String>] = [:]
        let short = /\b(?:room|outer)\(\s*"(\w+)"(?:,\s*\[([^\]]*)\])?/
        for match in text.matches(of: short) {
            targets[String(match.output.1)] = names(in: match.output.2 ?? "", products)
        }
        let long = /executableTarget\(\s*name: "(\w+)",\s*dependencies: \[([^\]]*)\]/
        for match in text.matches(of: long) {
            targets[String(match.output.1)] = names(in: match.output.2, products)
        }
        return targets
    }

    /// The elements of a list: names in quotes, or constants that stand for a product.
    private static func names(in list: Substring, _ products: [String: String]) -> Set<String> {
        let elements = list.split { $0 == "," || $0.isWhitespace }.map(String.init)
        return Set(elements.map { products[$0] ?? $0.filter { $0 != "\"" } })
    }
}

/// Swift as one text.
enum SwiftText {
    /// The lines in one, without those that are comments.
    static func withoutComments(_ lines: [String]) -> String {
        lines.filter { !$0.drop { $0 == " " }.hasPrefix("//") }.joined(separator: "\n")
    }
}
