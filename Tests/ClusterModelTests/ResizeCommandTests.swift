import ClusterModel
import Testing

/// What the volumes of a spec may be mounted at, and the way back from new limits.
@Suite("Mounts and ways back")
struct ResizeCommandTests {
    @Test(
        "a mount with a control character is refused by name",
        arguments: ["/a\tb", "/a\nb", "/a\u{7F}", "/\u{1}", "/a\0b"])
    func mountRules(_ mount: String) {
        let spec = SpecTests.good.with(
            volumes: [VolumeSpec(name: "data", sizeBytes: 64 << 20, mount: mount)])
        #expect(spec.problems().map(\.path) == ["volumes[0].mount"])
        #expect(spec.problems()[0].sentence.contains("control character"))
    }

    @Test("the commands that take limits back bring the former spec about")
    func commandsBack() throws {
        let before = SpecTests.good.with(
            volumes: [VolumeSpec(name: "data", sizeBytes: 64 << 20, mount: "/data")])
        let name = try #require(before.containers.first).name
        var resize = ServiceResize(
            container: name, cpuLimitMillicores: 50, memoryLimitBytes: 8 << 20, pidsMax: 7,
            egressBitsPerSecond: 5_000_000,
            volumes: [VolumeSize(name: "data", sizeBytes: 80 << 20)])
        resize.ioWriteBytesPerSecond = 9_000_000
        let after = try before.resized(by: resize)
        let commands = before.resizeCommands(from: after)
        #expect(before.resizeCommands(from: before).isEmpty)
        let all = commands.joined(separator: "\n")
        let container = before.containers[0]
        for part in [
            "shoal resize \(before.name) ",
            "--cpu \(Quantity.text(millicores: container.cpu.limitMillicores))",
            "--memory \(Quantity.text(bytes: container.memory.limitBytes))",
            "--pids \(container.pidsMax)", "--volume data=64Mi",
        ] {
            #expect(all.contains(part), "\(all)")
        }
        // What the request was taken down with the limit from is named, too.
        if container.cpu.requestMillicores > 50 {
            #expect(
                all.contains(
                    "--cpu-request \(Quantity.text(millicores: container.cpu.requestMillicores))"))
        }
    }
}
