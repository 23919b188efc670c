// swift-tools-version: 6.2
import PackageDescription

/// Settings of every target of our own. (Not MemberImportVisibility: which C module owns a type of
/// the kernel's headers, Glibc's or libuv's, differs from build to build.)
let shell: [SwiftSetting] = [
    .enableUpcomingFeature("ExistentialAny"),
    .treatAllWarnings(as: .error),
]

/// Settings of the pure rooms (L0 to L2): the same, proof that no unsafe pointer is in them, and
/// every import named.
let core: [SwiftSetting] =
    shell + [.enableUpcomingFeature("MemberImportVisibility"), .strictMemorySafety()]

/// A pure room.
///
/// It may import only what is listed, and never Foundation.
func room(_ name: String, _ dependencies: [Target.Dependency] = []) -> Target {
    .target(name: name, dependencies: dependencies, swiftSettings: core)
}

/// A room that touches the outside world.
func outer(_ name: String, _ dependencies: [Target.Dependency] = []) -> Target {
    .target(name: name, dependencies: dependencies, swiftSettings: shell)
}

/// The tests of one room, or of several that belong together.
func tests(
    _ name: String, _ dependencies: [Target.Dependency], exclude: [String] = []
) -> Target {
    .testTarget(name: name, dependencies: dependencies, exclude: exclude, swiftSettings: shell)
}

let hummingbird = Target.Dependency.product(name: "Hummingbird", package: "hummingbird")
let hummingbirdCore = Target.Dependency.product(
    name: "HummingbirdCore", package: "hummingbird")
let nioCore = Target.Dependency.product(name: "NIOCore", package: "swift-nio")
let nioPosix = Target.Dependency.product(name: "NIOPosix", package: "swift-nio")
let nioHTTP = Target.Dependency.product(name: "NIOHTTP1", package: "swift-nio")
let logging = Target.Dependency.product(name: "Logging", package: "swift-log")
let yams = Target.Dependency.product(name: "Yams", package: "Yams")
let argumentParser = Target.Dependency.product(
    name: "ArgumentParser", package: "swift-argument-parser")

let package = Package(
    name: "shoal",
    products: [
        .executable(name: "shoal", targets: ["shoal"]),
        .executable(name: "simulate", targets: ["simulate"]),
        .executable(name: "benchmarks", targets: ["benchmarks"]),
    ],
    dependencies: [
        .package(url: "https://github.com/hummingbird-project/hummingbird", exact: "2.28.1"),
        .package(url: "https://github.com/apple/swift-nio", exact: "2.101.2"),
        .package(url: "https://github.com/apple/swift-argument-parser", exact: "1.8.2"),
        .package(url: "https://github.com/apple/swift-log", exact: "1.16.2"),
        .package(url: "https://github.com/jpsim/Yams", exact: "6.2.2"),
    ],
    targets: [
        // C modules: Debian's packages, and the few calls Swift cannot see.
        .systemLibrary(
            name: "CLibuv", path: "Sources/C/CLibuv", pkgConfig: "libuv",
            providers: [.apt(["libuv1-dev"])]),
        .systemLibrary(
            name: "CSodium", path: "Sources/C/CSodium", pkgConfig: "libsodium",
            providers: [.apt(["libsodium-dev"])]),
        .systemLibrary(
            name: "CSQLite", path: "Sources/C/CSQLite", pkgConfig: "sqlite3",
            providers: [.apt(["libsqlite3-dev"])]),
        .systemLibrary(
            name: "CArchive", path: "Sources/C/CArchive", pkgConfig: "libarchive",
            providers: [.apt(["libarchive-dev"])]),
        .target(name: "CLinux", path: "Sources/C/CLinux"),

        // L0
        room("Base"),
        // L1
        room("Wire", ["Base"]),
        room("ClusterModel", ["Base", "Wire"]),
        room("Membership", ["Base", "Wire", "ClusterModel"]),
        room("Consensus", ["Base", "Wire"]),
        room("ClusterState", ["Base", "Wire", "ClusterModel"]),
        room("Scheduling", ["Base", "ClusterModel", "ClusterState"]),
        room("HostPlan", ["Base", "ClusterModel"]),
        room("VolumePlan", ["Base", "ClusterModel"]),
        // L2
        room(
            "PeerCore",
            [
                "Base", "Wire", "ClusterModel", "Membership", "Consensus", "ClusterState",
                "Scheduling",
            ]),
        // L3
        outer("EventLoop", ["Base", "CLibuv", "CLinux"]),
        outer("Transport", ["Base", "Wire", "EventLoop", "CLibuv", "CSodium"]),
        outer("Storage", ["Base", "Wire", "Consensus", "CSQLite"]),
        outer("HostControl", ["Base", "ClusterModel", "HostPlan", "EventLoop", "CLinux"]),
        outer(
            "ContainerRuntime", ["Base", "ClusterModel", "HostPlan", "EventLoop", "CLinux"]),
        outer(
            "VolumeStore",
            ["Base", "ClusterModel", "VolumePlan", "EventLoop", "CLinux", "CSodium"]),
        outer("ImageStore", ["Base", "ClusterModel", "CArchive", "CSodium", "CLinux"]),
        outer(
            "ControlAPI",
            [
                "Base", "ClusterModel", hummingbird, hummingbirdCore, nioCore, nioPosix, nioHTTP,
                logging, yams,
            ]),
        outer(
            "BackupStore",
            [
                "Base", "ClusterModel", "VolumePlan", "EventLoop", "VolumeStore", "ControlAPI",
                "CLinux", "CSodium", hummingbird, hummingbirdCore, nioCore, nioPosix, logging,
            ]),
        outer(
            "Agent",
            [
                "Base", "Wire", "ClusterModel", "Membership", "Consensus", "ClusterState",
                "Scheduling", "HostPlan", "PeerCore", "EventLoop", "Transport", "Storage",
                "HostControl", "ContainerRuntime", "VolumePlan", "VolumeStore", "BackupStore",
                "ImageStore",
                "ControlAPI", "CLinux", yams,
            ]),
        // L4
        outer(
            "Simulation",
            [
                "Base", "Wire", "ClusterModel", "Membership", "Consensus", "ClusterState",
                "Scheduling", "PeerCore",
            ]),
        .executableTarget(
            name: "shoal",
            dependencies: ["Agent", "Base", "ClusterModel", "ControlAPI", argumentParser],
            swiftSettings: shell),
        .executableTarget(
            name: "simulate", dependencies: ["Simulation", "Base", argumentParser],
            swiftSettings: shell),
        .executableTarget(
            name: "benchmarks",
            dependencies: [
                "Base", "ClusterModel", "Consensus", "ControlAPI", "EventLoop", "HostControl",
                "HostPlan", "Storage", "VolumePlan", "VolumeStore", argumentParser,
            ],
            swiftSettings: shell),

        // Tests
        tests("BaseTests", ["Base", "Wire"]),
        tests("ClusterModelTests", ["Base", "Wire", "ClusterModel"]),
        tests("MembershipTests", ["Base", "Wire", "ClusterModel", "Membership"]),
        tests("ConsensusTests", ["Base", "Wire", "Consensus"]),
        tests(
            "ClusterStateTests",
            ["Base", "Wire", "ClusterModel", "ClusterState", "Scheduling"]),
        tests("HostPlanTests", ["Base", "ClusterModel", "HostPlan"]),
        tests("TransportTests", ["Base", "Wire", "EventLoop", "Transport"]),
        tests("StorageTests", ["Base", "Wire", "Consensus", "Storage"]),
        tests(
            "HostControlTests",
            ["Base", "ClusterModel", "HostPlan", "EventLoop", "HostControl"]),
        tests(
            "ContainerRuntimeTests",
            [
                "Base", "ClusterModel", "HostPlan", "EventLoop", "HostControl", "ContainerRuntime",
            ]),
        tests(
            "VolumeStoreTests",
            ["Base", "ClusterModel", "VolumePlan", "EventLoop", "VolumeStore", "CLinux"]),
        tests(
            "BackupStoreTests",
            [
                "Base", "ClusterModel", "VolumePlan", "EventLoop", "VolumeStore", "BackupStore",
                "CLinux", nioCore, nioPosix,
            ]),
        tests("ImageStoreTests", ["Base", "ClusterModel", "ImageStore"]),
        tests("ControlAPITests", ["Base", "ClusterModel", "ControlAPI", nioCore]),
        tests(
            "AgentTests",
            [
                "Base", "Wire", "ClusterModel", "ClusterState", "EventLoop", "Transport",
                "HostControl", "VolumePlan", "BackupStore", "Agent", "shoal",
            ]),
        tests(
            "PeerCoreTests",
            [
                "Base", "Wire", "ClusterModel", "Membership", "Consensus", "ClusterState",
                "Scheduling", "PeerCore", "Simulation",
            ], exclude: ["regression-seeds.txt"]),
        tests("TidyTests", []),
    ],
    swiftLanguageModes: [.v6]
)
