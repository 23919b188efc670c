import Base
import ClusterModel
import Foundation
import HostPlan
import Testing

/// What the OCI runtime is told, as text; that crun accepts it is tested with containers.
@Suite("Runtime bundle")
struct RuntimeBundleTests {
    private func bundle() -> RuntimeBundle {
        RuntimeBundle(
            slot: SlotID(service: "web", ordinal: 3), container: "app",
            placementIndex: LogIndex(7), rootPath: "/r", arguments: ["sh", "-c", "echo \"hi\"\n"],
            environment: ["A=b"], workingDirectory: "/srv",
            user: .init(uid: 1_000, gid: 100, additionalGids: [5]), home: "/home/web",
            networkNamespacePath: "/run/netns/x", cgroupsPath: "/shoal/web.3/app",
            limits: RuntimeLimits(
                cpuQuotaMicroseconds: 50_000, cpuShares: 256, memoryBytes: 1 << 26, pidsMax: 50),
            fileMounts: [.init(source: "/b/hosts", destination: "/etc/hosts")],
            openFilesMax: 1_024, architecture: .x86)
    }

    /// The lines of the text that lie under a member, by indentation.
    private func lines(_ bundle: RuntimeBundle, under member: String) -> [String] {
        let lines = bundle.configuration.split(separator: "\n").map { String($0) }
        guard let start = lines.firstIndex(where: { $0.contains("\"\(member)\": ") }) else {
            return []
        }
        let indent = lines[start].prefix { $0 == " " }.count
        return [lines[start]]
            + lines[(start + 1)...].prefix { $0.prefix { $0 == " " }.count > indent }
    }

    @Test("a volume inside another is mounted after it, in whatever order they are listed")
    func nestedVolumes() throws {
        var bundle = bundle()
        bundle.volumeMounts = ["/a/b/c", "/data/sub", "/a", "/data"].map {
            .init(source: "/volumes\($0)", destination: $0)
        }
        let text = bundle.configuration
        let places = try ["/a", "/data", "/data/sub", "/a/b/c"].map { path in
            try #require(text.range(of: "\"\(path)\"")).lowerBound
        }
        #expect(places == places.sorted())
    }

    @Test("the process section is as written down here")
    func process() {
        let capabilities = RuntimeBundleDefaults.capabilities.map { "\"\($0)\"" }
            .joined(separator: ", ")
        let expected = """
              "process": {
                "terminal": false,
                "user": {
                  "uid": 1000,
                  "gid": 100,
                  "additionalGids": [5]
                },
                "args": ["sh", "-c", "echo \\"hi\\"\\n"],
                "env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", \
            "HOSTNAME=web.3", "HOME=/home/web", "A=b"],
                "cwd": "/srv",
                "capabilities": {
                  "bounding": [\(capabilities)],
                  "effective": [\(capabilities)],
                  "permitted": [\(capabilities)]
                },
                "rlimits": [
                  {
                    "type": "RLIMIT_NOFILE",
                    "hard": 1024,
                    "soft": 1024
                  }
                ],
                "noNewPrivileges": true,
                "oomScoreAdj": 100
            """
        #expect(lines(bundle(), under: "process").joined(separator: "\n") == expected)
    }

    @Test("namespaces are new but for the set's network")
    func namespaces() {
        let types = ["pid", "ipc", "uts", "mount", "cgroup", "network"]
        var bundle = bundle()
        let text = lines(bundle, under: "namespaces").joined()
        for type in types { #expect(text.contains("\"type\": \"\(type)\"")) }
        #expect(text.contains("\"path\": \"/run/netns/x\""))
        #expect(!text.contains("\"type\": \"user\""))
        bundle.networkNamespacePath = ""
        #expect(!lines(bundle, under: "namespaces").joined().contains("path"))
    }

    @Test("devices are denied first, then the harmless ones allowed")
    func devices() {
        let devices = lines(bundle(), under: "devices").joined()
        let first = devices.split(separator: "}").first ?? ""
        #expect(first.contains("\"allow\": false") && first.contains("rwm"))
        #expect(devices.split(separator: "}").count(where: { $0.contains("true") }) == 8)
        #expect(!devices.contains("\"type\": \"b\""))
    }

    @Test("a device of the host is made and allowed, a capability is had with its calls")
    func rights() {
        var bundle = bundle()
        #expect(!bundle.configuration.contains("fileMode"))
        bundle.deviceFiles = [
            .init(path: "/dev/fuse", isBlock: false, major: 10, minor: 229, mode: 0o600, gid: 7),
            .init(path: "/dev/sdb", isBlock: true, major: 8, minor: 16),
        ]
        let text = bundle.configuration.split(whereSeparator: \.isWhitespace).joined()
        #expect(
            text.contains(
                #"{"path":"/dev/fuse","type":"c","major":10,"minor":229,"fileMode":384,"uid":0,"gid":7}"#
            ))
        #expect(
            text.contains(#"{"allow":true,"type":"b","major":8,"minor":16,"access":"rwm"}"#))
        // After what denies all.
        let denied = text.range(of: #""allow":false"#)?.lowerBound
        let allowed = text.range(of: #""minor":229,"access""#)?.lowerBound
        #expect(denied.map { denied in allowed.map { denied < $0 } == true } == true)

        #expect(!text.contains("CAP_SYS_TIME"))
        bundle.furtherCapabilities = ["SYS_TIME", "CHOWN"]
        let process = bundle.processConfiguration
        // Bounding, effective and permitted; what is usual is there once.
        #expect(process.components(separatedBy: "CAP_SYS_TIME").count == 4)
        #expect(process.components(separatedBy: "CAP_CHOWN").count == 4)
        for (capabilities, count) in [([], 0), (["SYS_TIME"], 1)] {
            let filter = SeccompProfile.json(for: .x86, capabilities: capabilities).rendered
            let allowed = filter.components(separatedBy: "SCMP_ACT_ALLOW")[0]
            #expect(allowed.components(separatedBy: "\"clock_settime\"").count == count + 1)
            // Either allowed or withheld, never both.
            #expect(filter.components(separatedBy: "\"clock_settime\"").count == 2)
        }
    }

    @Test("a limit that is not given is not written")
    func limits() {
        var bundle = bundle()
        let text = lines(bundle, under: "resources").joined()
        for part in [
            "\"shares\": 256", "\"quota\": 50000", "\"period\": 100000", "\"limit\": 67108864",
            "\"limit\": 50",
        ] {
            #expect(text.contains(part))
        }
        bundle.limits = RuntimeLimits()
        let bare = lines(bundle, under: "resources").joined()
        for part in ["cpu", "memory", "pids"] { #expect(!bare.contains("\"\(part)\"")) }
    }

    @Test("the same bundle gives the same text; what is given wins over defaults")
    func deterministic() {
        var bundle = bundle()
        #expect(bundle.configuration == self.bundle().configuration)
        bundle.environment = ["PATH=/x", "HOME=", "HOSTNAME=other"]
        #expect(bundle.completedEnvironment == ["PATH=/x", "HOME=", "HOSTNAME=other"])
        bundle.workingDirectory = ""
        #expect(bundle.configuration.contains("\"cwd\": \"/\""))
    }

    @Test("text is escaped as RFC 8259 demands")
    func escapes() {
        let text = JSONText.text("a\"\\\u{1}\n\t\u{7F}\u{2028}é🦀").rendered
        #expect(text == "\"a\\\"\\\\\\u0001\\n\\t\\u007f\u{2028}é🦀\"\n")
        #expect(JSONText.array([]).rendered == "[]\n")
        #expect(JSONText.object([]).rendered == "{}\n")
    }

    @Test("bounds of limits are told", arguments: [-1, 0, 1, 4_194_305])
    func limitProblems(value: Int) {
        let limits = RuntimeLimits(
            cpuQuotaMicroseconds: value, cpuPeriodMicroseconds: value, cpuShares: value)
        #expect(limits.problems.count >= 2)
        #expect(RuntimeLimits().problems.isEmpty)
    }
}

/// The system call filter.
@Suite("System call filter")
struct RuntimeBundleSeccompTests {
    private func names(_ architecture: SeccompArchitecture, rule: Int) -> [String] {
        guard case .object(let members) = SeccompProfile.json(for: architecture),
            case .array(let rules)? = members.last?.value,
            case .object(let rule) = rules[rule], case .array(let names)? = rule.first?.value
        else { return [] }
        return names.compactMap { if case .text(let name) = $0 { name } else { nil } }
    }

    @Test(
        "no call is listed twice, none both allowed and withheld",
        arguments: SeccompArchitecture.allCases)
    func disjoint(architecture: SeccompArchitecture) {
        let allowed = names(architecture, rule: 0)
        let withheld = names(architecture, rule: 1)
        #expect(allowed.count > 300 && withheld.count > 50)
        #expect(Set(allowed).count == allowed.count)
        #expect(Set(withheld).count == withheld.count)
        #expect(Set(allowed).isDisjoint(with: withheld))
        #expect(allowed == allowed.sorted())
    }

    @Test(
        "what reaches the host's kernel is not allowed",
        arguments: [
            "mount", "umount2", "setns", "unshare", "bpf", "keyctl", "kexec_load", "init_module",
            "open_by_handle_at", "perf_event_open", "userfaultfd", "io_uring_setup", "clone",
            "clone3", "socket", "personality", "reboot",
        ])
    func withheld(call: String) {
        for architecture in SeccompArchitecture.allCases {
            #expect(!names(architecture, rule: 0).contains(call))
        }
    }

    @Test("clone3 does not exist, clone makes no namespaces, the query is a plain number")
    func conditions() {
        let text = SeccompProfile.json(for: .x86).rendered
        #expect(text.contains("\"defaultErrnoRet\": 38"))
        #expect(text.contains("\"value\": 2114060288"))
        #expect(text.contains("\"value\": 4294967295"))
        #expect(text.contains("[\"SCMP_ARCH_X86_64\", \"SCMP_ARCH_X86\"]"))
        #expect(SeccompProfile.json(for: .arm).rendered.contains("SCMP_ARCH_AARCH64"))
    }
}
