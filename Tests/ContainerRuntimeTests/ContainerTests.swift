import Base
import ClusterModel
import ContainerRuntime
import EventLoop
import Glibc
import HostPlan
import Testing

/// Real containers: crun and conmon on a root of busybox; skipped without root or the programs.
@Suite("Containers", .serialized, .enabled(if: ContainerFixture.isUsable))
struct ContainerTests {
    /// The next exit, or nil when the stream ends.
    private func nextExit(of runtime: ContainerRuntime) async -> ExitNotice? {
        for await notice in runtime.exits { return notice }
        return nil
    }

    @Test(
        "output, errors and the exit code arrive; the log outlives the container",
        .timeLimit(.minutes(1)))
    func lifecycle() async throws {
        try await ContainerFixture.with { fixture in
            let runtime = try fixture.runtime()
            for (script, code) in [
                ("echo out; echo err >&2", 0), ("printf part; exit 3", 3), ("echo part2", 0),
            ] {
                let launch = fixture.launch(script)
                let begin = ContinuousClock.now
                let process = try await runtime.create(launch)
                let created = ContinuousClock.now
                try await runtime.start(launch.id)
                let started = ContinuousClock.now
                print("container created in \(created - begin), started in \(started - created)")
                #expect(process.pid > 1 && process.conmonPid > 1)
                let exit = try #require(await nextExit(of: runtime))
                #expect(exit.id == launch.id && exit.code == code && !exit.monitorLost)
                let found = try await runtime.containers()
                #expect(found.map(\.exit?.code) == [code])
                #expect(found.first?.running == false && found.first?.pid == nil)
                try await runtime.delete(launch.id)
                try await runtime.delete(launch.id)
                #expect(try await runtime.containers().isEmpty)
            }
            let log = LogReader(path: runtime.logPath(fixture.launch("").id))
            #expect(try Set(log.tail(lines: 10).map(\.text)) == ["out", "err", "part", "part2"])
            #expect(try await fixture.cgroups().isEmpty)
            #expect(fixture.processes().isEmpty)
        }
    }

    @Test(
        "a container is fenced in: rights, filter, files, devices, limits, names",
        .timeLimit(.minutes(1)))
    func sandbox() async throws {
        let script = """
            grep -E 'CapEff|CapBnd|CapAmb|NoNewPrivs|Seccomp:' /proc/self/status
            mount -t tmpfs none /tmp || echo no mount
            for path in /proc/timer_list /proc/keys /proc/kcore; do
                echo "$path has $(cat $path 2>/dev/null | wc -c)"; done
            echo 1 2>/dev/null > /proc/sys/kernel/panic || echo no sysctl
            echo x 2>/dev/null > /etc/hosts || echo no hosts
            hostname; cat /etc/hostname /etc/resolv.conf; grep web.3 /etc/hosts
            echo $PATH $HOME $HOSTNAME $$; id; cat /proc/self/oom_score_adj
            echo net $(ls /sys/class/net)
            """
        try await ContainerFixture.with { fixture in
            let runtime = try fixture.runtime()
            try await fixture.run(fixture.launch(script), in: runtime)
            _ = await nextExit(of: runtime)
            let log = LogReader(path: runtime.logPath(fixture.launch("").id))
            let text = try log.tail(lines: 100).map(\.text)
            for line in [
                "CapEff:\t00000000800405fb", "CapBnd:\t00000000800405fb",
                "CapAmb:\t0000000000000000", "NoNewPrivs:\t1", "Seccomp:\t2", "no mount",
                "/proc/timer_list has 0", "/proc/keys has 0", "/proc/kcore has 0", "no sysctl",
                "no hosts", "web.3", "nameserver 10.9.8.1", "10.9.8.7 web.3", "net lo", "100",
                "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin /root web.3 1",
            ] {
                #expect(text.contains(line), "in \(text)")
            }
            #expect(text.filter { $0 == "web.3" }.count == 2)
        }
    }

    @Test("a named user has its numbers, its groups and no rights", .timeLimit(.minutes(1)))
    func namedUser() async throws {
        try await ContainerFixture.with { fixture in
            let runtime = try fixture.runtime()
            let script = "id; echo $HOME; grep CapEff /proc/self/status"
            try await fixture.run(fixture.launch(script, user: "web"), in: runtime)
            #expect(await nextExit(of: runtime)?.code == 0)
            let log = LogReader(path: runtime.logPath(fixture.launch("").id))
            let text = try log.tail(lines: 9).map(\.text)
            #expect(
                text == [
                    "uid=1000(web) gid=100(users) groups=8(mail),100(users)", "/home/web",
                    "CapEff:\t0000000000000000",
                ])
        }
    }

    @Test("stop asks first and kills when the grace is over", .timeLimit(.minutes(1)))
    func stop() async throws {
        try await ContainerFixture.with { fixture in
            let runtime = try fixture.runtime()
            let loop = "while true; do sleep 0.05; done"
            let cases = [
                ("trap 'exit 42' TERM; echo up; \(loop)", nil, Duration.seconds(20), 42),
                ("trap 'exit 43' QUIT; echo up; \(loop)", "SIGQUIT", .seconds(20), 43),
                ("trap '' TERM; echo up; \(loop)", nil, .milliseconds(200), 137),
                ("echo up; \(loop)", "KILL", .seconds(20), 137),
            ]
            for (script, signal, grace, code) in cases {
                let launch = fixture.launch(script)
                try await fixture.run(launch, in: runtime)
                let log = LogReader(path: runtime.logPath(launch.id))
                for try await line in log.follow(tail: 10) where line.text == "up" { break }
                unlink(runtime.logPath(launch.id))
                try await runtime.stop(launch.id, signal: signal, grace: grace)
                #expect(try await runtime.containers().first?.exit?.code == code)
                #expect(await nextExit(of: runtime)?.code == code)
                try await runtime.stop(launch.id, grace: .seconds(1))
                try await runtime.delete(launch.id)
            }
            #expect(try await fixture.cgroups().isEmpty)
        }
    }

    @Test(
        "exec has the container's limits and rights, its own output, input and exit code",
        .timeLimit(.minutes(1)))
    func exec() async throws {
        try await ContainerFixture.with { fixture in
            let runtime = try fixture.runtime()
            let launch = fixture.launch("sleep 60")
            await #expect(throws: RuntimeError.self) {
                try await runtime.exec(launch.id, command: ["id"])
            }
            try await fixture.run(launch, in: runtime)
            let script = """
                grep -E 'CapEff|NoNewPrivs|Seccomp:' /proc/self/status; echo $A; hostname
                cat; echo err >&2; exit 5
                """
            let command = try await runtime.exec(
                launch.id, command: ["sh", "-c", script], environment: ["A=b c"])
            try await command.write(Array("typed\n".utf8))
            await command.closeInput()
            var text = ["", ""]
            for try await chunk in command.output {
                text[chunk.stream == .standardOutput ? 0 : 1] +=
                    String(decoding: chunk.bytes, as: UTF8.self)
            }
            #expect(await command.wait() == 5)
            #expect(
                text[0] == """
                    CapEff:\t00000000800405fb
                    NoNewPrivs:\t1
                    Seccomp:\t2
                    b c
                    web.3
                    typed

                    """)
            #expect(text[1] == "err\n")
            let other = try await runtime.exec(
                launch.id, command: ["sh", "-c", "id -u; kill -TERM $$"], user: "web")
            var output = ""
            for try await chunk in other.output {
                output += String(decoding: chunk.bytes, as: UTF8.self)
            }
            #expect(output == "1000\n")
            #expect(await other.wait() == 143)
            try await runtime.stop(launch.id, grace: .zero)
        }
    }

    @Test(
        "a command that cannot be run ends with the code of a shell, and says why",
        .timeLimit(.minutes(1)))
    func execCodes() async throws {
        try await ContainerFixture.with { fixture in
            let runtime = try fixture.runtime()
            let launch = fixture.launch(
                """
                echo text > /tmp/plain; echo garbage > /tmp/garbage
                echo '#!/bin/nothing' > /tmp/script; chmod +x /tmp/garbage /tmp/script; echo up
                exec sleep 60
                """)
            try await fixture.run(launch, in: runtime)
            let log = LogReader(path: runtime.logPath(launch.id))
            for try await line in log.follow(tail: 10) where line.text == "up" { break }
            let cases: [(command: [String], code: Int32, words: String)] = [
                (["nothing"], 127, "`nothing` not found"), (["/bin/nothing"], 127, "/bin/nothing"),
                (["/tmp/script"], 127, "No such file"), (["/tmp/plain"], 126, "denied"),
                (["/tmp/garbage"], 126, "format error"), (["/tmp"], 126, "not permitted"),
                (["sh", "-c", "exit 255"], 255, ""),
                (["sh", "-c", "echo 'executable file not found' >&2; exit 1"], 1, "not found"),
                // Nothing of ours is left open for it.
                (
                    [
                        "sh", "-c",
                        "for n in 3 4 5 6; do [ -e /proc/$$/fd/$n ] && exit 9; done; exit 0",
                    ], 0, ""
                ),
            ]
            for (command, code, words) in cases {
                let running = try await runtime.exec(launch.id, command: command)
                var text = ""
                for try await chunk in running.output where chunk.stream == .standardError {
                    text += String(decoding: chunk.bytes, as: UTF8.self)
                }
                #expect(await running.wait() == code, "\(command)")
                #expect(words.isEmpty ? text.isEmpty : text.contains(words), "\(command): \(text)")
            }
            for command in [[], [""], ["sh", "a\u{0}b"]] {
                await #expect {
                    try await runtime.exec(launch.id, command: command)
                } throws: { error in
                    (error as? RuntimeError)?.kind == .badLaunch
                }
            }
            try await runtime.stop(launch.id, grace: .zero)
        }
    }

    @Test(
        "a command that is ended takes along what it started, deaf or not, and nothing else",
        .timeLimit(.minutes(1)))
    func execEnd() async throws {
        try await ContainerFixture.with { fixture in
            let runtime = try fixture.runtime()
            let launch = fixture.launch("(sleep 60 & wait) & exec sleep 60")
            try await fixture.run(launch, in: runtime)
            let list = try #require(
                try await fixture.cgroups().map { "\($0)/cgroup.procs" }.first {
                    $0.contains("web.3/app/") && ContainerFixture.text($0)?.isEmpty == false
                })
            func processes() -> Set<Substring> {
                Set((ContainerFixture.text(list) ?? "").split(separator: "\n"))
            }
            while processes().count < 3 { try await Task.sleep(for: .milliseconds(10)) }
            let own = processes()
            for script in [
                "echo up; sleep 60", "trap '' TERM; (while :; do sleep 1; done) & echo up; wait",
                "sleep 60 & echo up; exec sleep 60",
            ] {
                let command = try await runtime.exec(launch.id, command: ["sh", "-c", script])
                for try await chunk in command.output where !chunk.bytes.isEmpty { break }
                #expect(processes().count > own.count)
                command.end()
                #expect(await command.wait() > 128, "\(script)")
                while processes() != own { try await Task.sleep(for: .milliseconds(10)) }
            }
            try await runtime.stop(launch.id, grace: .zero)
        }
    }

    @Test("what cannot be made says why and leaves nothing", .timeLimit(.minutes(1)))
    func refusals() async throws {
        try await ContainerFixture.with { fixture in
            let runtime = try fixture.runtime()
            var missing = fixture.launch("")
            missing.arguments = ["/bin/nothing"]
            var nowhere = fixture.launch("")
            nowhere.rootPath = "/nonexistent/root"
            var netless = fixture.launch("")
            netless.networkNamespacePath = "/run/netns/shoalt-none"
            let cases: [(ContainerLaunch, RuntimeError.Kind, String)] = [
                (fixture.launch("", user: "ghost"), .badLaunch, "find the user `ghost`"),
                (missing, .refused, "/bin/nothing"), (nowhere, .host, "/nonexistent/root"),
                (netless, .refused, "shoalt-none"),
            ]
            for (launch, kind, words) in cases {
                await #expect {
                    try await runtime.create(launch)
                } throws: { error in
                    (error as? RuntimeError)?.kind == kind && "\(error)".contains(words)
                }
                #expect(try await runtime.containers().isEmpty)
            }
            await #expect(throws: RuntimeError.self) { try await runtime.start("none") }
            try await runtime.stop("none", grace: .seconds(1))
            try await runtime.delete("none")
            #expect(try await fixture.cgroups().isEmpty)
            #expect(fixture.processes().isEmpty)
        }
        await #expect {
            try await ContainerFixture.with { fixture in
                var settings = fixture.settings
                settings.conmonPath = "no-such-conmon"
                _ = try ContainerRuntime(settings: settings, commands: fixture.commands)
            }
        } throws: { error in
            "\(error)".contains("apt-get install crun conmon")
        }
    }

    @Test("a volume outlives its container, and is nobody else's to run programs with rights from")
    func volumes() async throws {
        try await ContainerFixture.with { fixture in
            let runtime = try fixture.runtime()
            let data = "\(fixture.folder)/data"
            mkdir(data, 0o755)
            for (script, code) in [
                ("echo kept > /var/data/file; grep ' /var/data ' /proc/mounts", 0),
                ("cat /var/data/file", 0), ("echo more > /proc/meminfo", 1),
            ] {
                var launch = fixture.launch(script)
                launch.volumes = [.init(source: data, destination: "/var/data")]
                try await fixture.run(launch, in: runtime)
                #expect(await nextExit(of: runtime)?.code == code)
                try await runtime.delete(launch.id)
            }
            let text = try LogReader(path: runtime.logPath(fixture.launch("").id)).tail(lines: 9)
                .map(\.text)
            #expect(text.first?.contains("nosuid,nodev") == true, "\(text)")
            #expect(text.contains("kept"))
        }
    }

    @Test("exceeding the memory limit is told apart", .timeLimit(.minutes(1)))
    func outOfMemory() async throws {
        try await ContainerFixture.with { fixture in
            let runtime = try fixture.runtime()
            let launch = fixture.launch(
                "exec tail /dev/zero", limits: RuntimeLimits(memoryBytes: 16 << 20, pidsMax: 9))
            try await fixture.run(launch, in: runtime)
            let exit = try #require(await nextExit(of: runtime))
            #expect(exit.code == 137 && exit.outOfMemory && !exit.monitorLost)
        }
    }
}
