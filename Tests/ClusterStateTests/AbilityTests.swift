import Base
import ClusterModel
import ClusterState
import Scheduling
import Testing
import Wire

@Suite("What hosts can do and allow")
struct AbilityTests {
    private static let abilities = HostAbilities(
        runtimes: ["runc", "crun", "crun"], devices: ["/dev/net/tun", "/dev/fuse"],
        capabilities: ["NET_RAW"])

    private static func cluster() -> Cluster {
        var cluster = Cluster()
        cluster.addHosts(3) { registration in
            if registration.name == "h2" { registration.abilities = abilities }
        }
        return cluster
    }

    private static func spec(_ change: (inout ServiceSpec) -> Void) -> ServiceSpec {
        var spec = Cluster.web(sets: 2)
        change(&spec)
        return spec
    }

    @Test("a host's word is read back as written, sorted, and bounded")
    func roundTrip() throws {
        let abilities = AbilityTests.abilities
        #expect(abilities.runtimes == ["crun", "runc"] && abilities.problem == nil)
        #expect(try HostAbilities(decoding: abilities.encoded) == abilities)
        #expect(HostAbilities().isEmpty && !abilities.isEmpty)
        for wrong in [
            HostAbilities(runtimes: ["../x"]), HostAbilities(devices: ["/etc/passwd"]),
            HostAbilities(devices: ["/dev/../etc"]), HostAbilities(devices: ["/dev/"]),
            HostAbilities(capabilities: ["FLY"]),
            HostAbilities(runtimes: (0...HostAbilities.listMax).map { "r\($0)" }),
        ] {
            #expect(wrong.problem != nil)
            #expect(throws: WireError.self) { try HostAbilities(decoding: wrong.encoded) }
        }
        let good = abilities.encoded
        for count in good.indices {
            #expect(throws: WireError.self) { try HostAbilities(decoding: Array(good[..<count])) }
        }
        var random = RandomSource(seed: 7)
        for _ in 0..<2_000 {
            var bytes = good
            bytes[Int(random.next() % UInt64(bytes.count))] = UInt8(
                truncatingIfNeeded: random.next())
            _ = try? HostAbilities(decoding: bytes)
        }
    }

    @Test("what is not there or not allowed keeps sets away, with the reason")
    func obstacles() throws {
        var cluster = AbilityTests.cluster()
        let h2 = HostID(testing: 2)
        cluster.apply(
            .applyService(
                AbilityTests.spec {
                    $0.runtime = "runc"
                    $0.containers[0].devices = ["/dev/fuse"]
                    $0.containers[0].capabilities = ["NET_RAW"]
                }))
        let decisions = Scheduler().plan(cluster.state, usable: cluster.usable)
        #expect(decisions.count == 2)
        for decision in decisions {
            guard case .place(_, h2, _) = decision else {
                Issue.record("\(decision)")
                continue
            }
        }
        let cases: [((inout ServiceSpec) -> Void, String)] = [
            ({ $0.runtime = "kata" }, "3 of 3 hosts have no runtime kata"),
            (
                { $0.containers[0].devices = ["/dev/kvm"] },
                "3 of 3 hosts do not allow the device /dev/kvm"
            ),
            (
                { $0.containers[0].capabilities = ["SYS_ADMIN"] },
                "3 of 3 hosts do not allow the capability SYS_ADMIN"
            ),
        ]
        for (change, reason) in cases {
            var cluster = AbilityTests.cluster()
            cluster.apply(.applyService(AbilityTests.spec(change)))
            let decisions = Scheduler().plan(cluster.state, usable: cluster.usable)
            #expect(decisions.count == 2)
            for case .pending(_, let given) in decisions { #expect(given.contains(reason)) }
            // Whoever decides otherwise is not followed.
            let slot = SlotID(service: "web", ordinal: 0)
            cluster.apply(
                .decide(
                    basedOn: cluster.state.appliedIndex,
                    decisions: [.place(slot, host: h2, revision: 1)]))
            #expect(cluster.state.slot(slot)?.placement == nil)
        }
    }

    @Test("the log and the snapshot keep them; hosts without any are written as before")
    func kept() throws {
        let cluster = AbilityTests.cluster()
        let copy = try ReplicatedState(decoding: cluster.state.encoded)
        #expect(copy.host(HostID(testing: 2))?.registration.abilities == AbilityTests.abilities)
        #expect(copy.fingerprint == cluster.state.fingerprint)
        var registration = Cluster.registration(1)
        let plain = Command.registerHost(registration)
        #expect(plain.encoded.first == 1)
        #expect(try Command(decoding: plain.encoded) == plain)
        registration.abilities = AbilityTests.abilities
        let able = Command.registerHost(registration)
        #expect(able.encoded.first == 50)
        #expect(try Command(decoding: able.encoded) == able)
    }

    @Test("specs carry them, with every broken rule told; older ones have none")
    func specs() throws {
        let spec = AbilityTests.spec {
            $0.runtime = "runc"
            $0.containers[0].devices = ["/dev/fuse"]
            $0.containers[0].capabilities = ["NET_RAW"]
        }
        #expect(spec.problems().isEmpty)
        #expect(try ServiceSpec(decoding: spec.encoded) == spec)
        // Nothing of this changes while a set runs.
        #expect(spec.withoutLimits != Cluster.web(sets: 2).withoutLimits)
        let bad = AbilityTests.spec {
            $0.runtime = "a/b"
            $0.containers[0].devices = ["/dev/fuse", "/dev/fuse", "fuse"]
            $0.containers[0].capabilities = ["CAP_NET_RAW"]
        }
        #expect(
            bad.problems().map(\.path).sorted() == [
                "containers[0].capabilities[0]", "containers[0].devices[1]",
                "containers[0].devices[2]", "runtime",
            ])
        #expect(LinuxCapability.plain("cap_net_raw") == "NET_RAW")
    }

    @Test("every limit can be resized, and lifted where there can be none")
    func resizes() throws {
        let all = ServiceResize(cpuLimitMillicores: 2_000, pidsMax: 9)
        var more = all
        more.cpuBurstMillicores = 500
        more.cores = .dedicated
        more.memorySoftBytes = 32 << 20
        more.memorySwapBytes = 16 << 20
        more.ioWeight = 300
        more.ioReadBytesPerSecond = 1 << 20
        more.ioWriteBytesPerSecond = 2 << 20
        more.ioReadOperationsPerSecond = 100
        more.ioWriteOperationsPerSecond = 200
        for resize in [all, more] {
            #expect(try ServiceResize(decoding: resize.encoded) == resize)
        }
        // What older agents know is written as they know it.
        #expect(all.encoded.first == 1 && more.encoded.first == 2)
        let resized = try Cluster.web().resized(by: more)
        #expect(resized.problems().isEmpty, "\(resized.problems())")
        let container = resized.containers[0]
        #expect(container.cpu.burstMillicores == 500 && container.cpu.cores == .dedicated)
        #expect(container.cpu.requestMillicores == 2_000)
        #expect(container.memory.softBytes == 32 << 20 && container.memory.swapBytes == 16 << 20)
        #expect(container.io.weight == 300 && container.io.readBytesPerSecond == 1 << 20)
        #expect(container.io.writeOperationsPerSecond == 200)

        var lifting = ServiceResize()
        lifting.memorySoftBytes = 0
        lifting.ioWeight = 0
        lifting.ioReadBytesPerSecond = 0
        lifting.cores = .shared
        let lifted = try resized.resized(by: lifting).containers[0]
        #expect(lifted.memory.softBytes == nil && lifted.io.weight == nil)
        #expect(lifted.io.readBytesPerSecond == nil && lifted.cpu.cores == .shared)
        #expect(lifted.io.writeBytesPerSecond == 2 << 20)
        // A hard limit below takes burst and soft limit along.
        let lower = try resized.resized(
            by: ServiceResize(cpuLimitMillicores: 100, memoryLimitBytes: 16 << 20))
        #expect(lower.containers[0].cpu.burstMillicores == 100)
        #expect(lower.containers[0].memory.softBytes == 16 << 20)
        var random = RandomSource(seed: 5)
        for _ in 0..<2_000 {
            var bytes = more.encoded
            bytes[Int(random.next() % UInt64(bytes.count))] = UInt8(
                truncatingIfNeeded: random.next())
            _ = try? ServiceResize(decoding: bytes)
        }
    }
}
