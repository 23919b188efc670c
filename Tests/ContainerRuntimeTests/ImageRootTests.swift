import ContainerRuntime
import Testing

/// Images whose `/etc` is not what the host needs: the sentence says which container's it is.
@Suite("Roots of odd images", .serialized, .enabled(if: ContainerFixture.isUsable))
struct ImageRootTests {
    private func fixture(
        making script: String,
        _ body: @Sendable (ContainerFixture, ContainerRuntime) async throws -> Void
    ) async throws {
        try await ContainerFixture.with { fixture in
            _ = try await fixture.commands.check([
                "sh", "-ec", "cd \(fixture.folder)/root; \(script)",
            ])
            try await body(fixture, fixture.runtime())
            #expect(try await fixture.cgroups().isEmpty)
            #expect(fixture.processes().isEmpty)
        }
    }

    @Test(
        "an image without room for the host's files is refused in words, by the container's name",
        .timeLimit(.minutes(1)),
        arguments: [
            ("rm -r etc; ln -s /etc etc", "/etc of its image is a symbolic link to no folder"),
            ("rm -r etc; ln -s ../../etc etc", "/etc of its image is a symbolic link to no folder"),
            ("rm -r etc; ln -s /nowhere etc", "/etc of its image is a symbolic link to no folder"),
            ("rm -r etc; ln -s /proc/1/root/etc etc", "is a symbolic link to no folder"),
            ("rm -r etc; ln -s /bin/busybox etc", "/etc of its image is not a folder"),
            ("rm -r etc; touch etc", "/etc of its image is not a folder"),
            ("mkdir etc/hosts", "/etc/hosts of its image is a folder"),
            ("ln -s /bin etc/hosts", "/etc/hosts of its image is a folder"),
            (
                "ln -s resolv.conf etc/resolv.conf",
                "/etc/resolv.conf of its image is a symbolic link to no file"
            ),
        ])
    func refused(script: String, words: String) async throws {
        try await fixture(making: script) { fixture, runtime in
            let launch = fixture.launch("cat /etc/hosts")
            let error = await #expect(throws: RuntimeError.self) {
                try await runtime.create(launch)
            }
            #expect(error?.kind == .badLaunch)
            #expect(error?.description.contains(words) == true, "\(error?.description ?? "")")
            #expect(error?.attempt.hasSuffix("container \(launch.id)") == true)
            let left = try await runtime.containers()
            #expect(left.isEmpty)
        }
    }

    @Test(
        "an image whose links stay inside it, or that has no /etc, runs", .timeLimit(.minutes(1)),
        arguments: [
            "mkdir usr; mv etc usr/etc; ln -s usr/etc etc",
            "mkdir usr; mv etc usr/etc; ln -s /usr/etc etc",
            "ln -s ../run/systemd/resolve/stub-resolv.conf etc/resolv.conf", "rm -r etc",
        ])
    func runs(script: String) async throws {
        try await fixture(making: script) { fixture, runtime in
            let launch = fixture.launch("cat /etc/hosts /etc/resolv.conf")
            try await fixture.run(launch, in: runtime)
            for await notice in runtime.exits {
                #expect(notice.id == launch.id && notice.code == 0)
                break
            }
            let lines = try LogReader(path: runtime.logPath(launch.id)).tail(lines: 20)
            #expect(lines.contains { $0.text.contains("10.9.8.7") })
            #expect(lines.contains { $0.text.contains("10.9.8.1") })
            try await runtime.delete(launch.id)
        }
    }

    @Test("an unknown user is refused by the container's name", .timeLimit(.minutes(1)))
    func unknownUser() async throws {
        try await fixture(making: "true") { fixture, runtime in
            let launch = fixture.launch("true", user: "ghost")
            let error = await #expect(throws: RuntimeError.self) {
                try await runtime.create(launch)
            }
            #expect(error?.attempt == "find the user `ghost` of the container \(launch.id)")
        }
    }
}
