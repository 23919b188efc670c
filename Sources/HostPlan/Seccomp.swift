/// A machine that the system call filter knows.
package enum SeccompArchitecture: String, Hashable, Sendable, CaseIterable {
    /// 64-bit Intel and AMD.
    case x86
    /// 64-bit ARM.
    case arm

    /// libseccomp's names: the machine itself and its 32-bit form, which images still contain.
    ///
    /// The x32 form is left out: no distribution ships it, and it doubles the ways into the kernel.
    fileprivate var names: [String] {
        switch self {
        case .x86: ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86"]
        case .arm: ["SCMP_ARCH_AARCH64", "SCMP_ARCH_ARM"]
        }
    }
}

/// The system call filter of every container, in the runtime specification's form.
///
/// An allow-list. What it does not name fails with ENOSYS, so that a C library falls back to what
/// older kernels offer when it tries a call newer than this list; what exists but is withheld on
/// purpose fails with EPERM, which programs report as what it is.
package enum SeccompProfile {
    /// EPERM: the caller may not.
    private static let notPermitted = 1
    /// ENOSYS: the kernel has no such call.
    private static let notImplemented = 38
    /// EAFNOSUPPORT: no such family of addresses.
    private static let noSuchFamily = 97

    /// CLONE_NEWNS, NEWCGROUP, NEWUTS, NEWIPC, NEWUSER, NEWPID and NEWNET together.
    ///
    /// Namespaces, user namespaces above all, open kernel code that only root reaches otherwise.
    private static let namespaceFlags = 0x7E02_0000

    /// AF_ALG, the first family withheld; after it come NFC, VSOCK, KCM, QIPCRTR, SMC and XDP.
    ///
    /// AF_VSOCK would reach the machine's hypervisor; the others serve drivers, not services.
    private static let firstFamilyWithheld = 38

    /// The personalities that only change what uname(2) says, and the value that only asks.
    ///
    /// PER_LINUX, PER_LINUX32, UNAME26, the latter two together, and 0xFFFFFFFF (personality(2)).
    private static let personalities = [0, 8, 0x2_0000, 0x2_0008, 0xFFFF_FFFF]

    /// The `linux.seccomp` object; capabilities on top of the usual ones bring their calls along.
    package static func json(
        for architecture: SeccompArchitecture, capabilities: [String] = []
    ) -> JSONText {
        .object([
            .init("defaultAction", .text("SCMP_ACT_ERRNO")),
            .init("defaultErrnoRet", .number(notImplemented)),
            .init("architectures", .texts(architecture.names)),
            .init("syscalls", .array(rules(for: architecture, capabilities))),
        ])
    }

    private static func rules(
        for architecture: SeccompArchitecture, _ capabilities: [String]
    ) -> [JSONText] {
        let granted = capabilities.flatMap { SeccompCalls.granted(by: $0) }
        return [
            rule((SeccompCalls.allowed(on: architecture) + granted).sorted(), "SCMP_ACT_ALLOW"),
            rule(
                SeccompCalls.withheld.filter { !granted.contains($0) }, "SCMP_ACT_ERRNO",
                number: notPermitted),
            // Its flags lie in memory, where a filter cannot look: C libraries fall back to clone.
            rule(["clone3"], "SCMP_ACT_ERRNO", number: notImplemented),
            rule(
                ["clone"], "SCMP_ACT_ALLOW",
                when: comparison(0, "SCMP_CMP_MASKED_EQ", namespaceFlags, 0)),
            rule(
                ["socket"], "SCMP_ACT_ALLOW",
                when: comparison(0, "SCMP_CMP_LT", firstFamilyWithheld)),
            rule(
                ["socket"], "SCMP_ACT_ERRNO", number: noSuchFamily,
                when: comparison(0, "SCMP_CMP_GE", firstFamilyWithheld)),
        ]
            + personalities.map {
                rule(["personality"], "SCMP_ACT_ALLOW", when: comparison(0, "SCMP_CMP_EQ", $0))
            }
    }

    private static func rule(
        _ names: [String], _ action: String, number: Int? = nil, when condition: JSONText? = nil
    ) -> JSONText {
        var members: [JSONText.Member] = [
            .init("names", .texts(names)), .init("action", .text(action)),
        ]
        if let number { members.append(.init("errnoRet", .number(number))) }
        if let condition { members.append(.init("args", .array([condition]))) }
        return .object(members)
    }

    private static func comparison(
        _ index: Int, _ operation: String, _ value: Int, _ second: Int? = nil
    ) -> JSONText {
        var members: [JSONText.Member] = [
            .init("index", .number(index)), .init("value", .number(value)),
        ]
        if let second { members.append(.init("valueTwo", .number(second))) }
        members.append(.init("op", .text(operation)))
        return .object(members)
    }
}
