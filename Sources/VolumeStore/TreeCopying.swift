import Glibc

/// How one side of copying a tree ended: rsync's exit code and last words.
package struct TreeCopyEnding: Hashable, Sendable {
    /// The exit code; 128 + the signal's number when a signal ended it.
    package var code: Int
    /// What it said last, on one line; at most `wordBytesMax` bytes.
    package var words: String

    /// The most that is kept of what rsync says, in bytes.
    package static let wordBytesMax = 1_000

    package init(code: Int, words: String) {
        self.code = code
        self.words = words
    }

    /// How a pass ended as a whole: what the receiver met is the cause when the sender only saw it go.
    package init(sender: TreeCopyEnding, receiver: TreeCopyEnding) {
        self = sender
        guard sender.mayPass, receiver.code != 0, !receiver.mayPass else { return }
        self = receiver
    }

    /// The beginning of a text, as much as may be kept of it.
    package static func bounded(_ text: String) -> String {
        var words = ""
        for scalar in text.unicodeScalars {
            guard words.utf8.count + 4 <= wordBytesMax else { break }
            words.unicodeScalars.append(scalar)
        }
        return words
    }

    /// True when it went through; perhaps without files that changed or went away meanwhile (23 and
    /// 24, as rsync(1) says).
    package var isThrough: Bool { [0, 23, 24].contains(code) }

    /// True when the other side, the connection or a signal ended it, so that another try may help.
    package var mayPass: Bool {
        // 10: socket, 12: protocol data stream, 20: SIGINT or SIGUSR1, 30 and 35: time.
        guard [10, 12, 20, 30, 35].contains(code) || code >= 128 else { return false }
        return !words.contains("No space left") && !words.contains("quota exceeded")
    }
}

/// The command lines of rsync, each in a root of its own made by bubblewrap.
///
/// What is in a volume belongs to a container that may be hostile and, at the source, changes it
/// meanwhile: a folder that becomes a symbolic link while rsync walks must not lead it elsewhere. So
/// rsync sees nothing but `/usr` and the volume, has no network, and ends with the agent.
///
/// The receiver is rsync's daemon, made for clients it does not trust, on its standard input and
/// output; the sender is its client. So the options need to be agreed on nowhere: rsync does that.
enum TreeCopying {
    /// What both sides need.
    static let programs = ["rsync", "bwrap"]

    /// Writes files of others, with owners, devices and attributes of any kind.
    private static let capabilities = [
        "CHOWN", "DAC_OVERRIDE", "DAC_READ_SEARCH", "FOWNER", "FSETID", "MKNOD", "SETFCAP",
        "SETGID", "SETUID", "SYS_ADMIN", "SYS_CHROOT",
    ]

    private static let daemonSettings = """
        use chroot = yes
        uid = 0
        gid = 0
        numeric ids = yes
        munge symlinks = no
        reverse lookup = no
        log file = /run/log
        [volume]
        path = /volume
        list = no
        read only = no
        write only = yes

        """

    /// Sends a folder; what it says to the receiver is on its standard output.
    ///
    /// `isThorough`: compares files by their content, not by size and time, and replaces those that
    /// differ, so that names come apart which were one file; else writes into them.
    static func sender(of folder: String, isThorough: Bool) -> [String] {
        // Times to the nanosecond: a file may change twice within a second.
        let options =
            [
                "-aHAXS", "--numeric-ids", "--delete-before", "--modify-window=-1",
                isThorough ? "--checksum" : "--inplace",
            ]
        // What stands for a remote shell ends, as that does, when the receiver has said all.
        let bridge = "sh -c 'exec 4<&0; cat <&4 >&6 & exec cat <&5'"
        let script =
            "exec 5<&0 6>&1 </dev/null >&2; bridge=$1; shift; exec rsync -e \"$bridge\" \"$@\""
        return sandbox(folder, isReadOnly: true) + ["sh", "-c", script, "sh", bridge] + options + [
            "/volume/", "copy::volume/",
        ]
    }

    /// What the receiver met it may not be able to tell the sender any more, when it ends for that.
    private static let receiverScript = """
        printf %s "$1" > /run/settings
        rsync --server --daemon --config=/run/settings .
        code=$?
        grep -aE 'rsync( error)?: ' /run/log | tail -n 4 >&2
        exit $code
        """

    /// Receives into a folder what a sender says on its standard input, and nothing elsewhere.
    static func receiver(into folder: String) -> [String] {
        sandbox(folder, isReadOnly: false)
            + ["sh", "-c", receiverScript, "sh", daemonSettings]
    }

    private static func sandbox(_ folder: String, isReadOnly: Bool) -> [String] {
        ["bwrap", "--die-with-parent", "--new-session"]
            + ["pid", "net", "ipc", "uts"].map { "--unshare-\($0)" }
            + ["--cap-drop", "ALL"] + capabilities.flatMap { ["--cap-add", "CAP_\($0)"] }
            + ["--ro-bind", "/usr", "/usr"] + systemFolders()
            + ["--dev-bind", "/dev/null", "/dev/null", "--size", "1048576", "--tmpfs", "/run"]
            + [isReadOnly ? "--ro-bind" : "--bind", folder, "/volume", "--chdir", "/", "--"]
    }

    /// The host's folders of programs and libraries beside `/usr`, mostly links into it.
    private static func systemFolders() -> [String] {
        ["bin", "sbin", "lib", "lib32", "lib64"].flatMap { name -> [String] in
            var target = [CChar](repeating: 0, count: 256)
            let count = readlink("/\(name)", &target, target.count)
            guard count > 0 else { return ["--ro-bind-try", "/\(name)", "/\(name)"] }
            let text = String(
                decoding: target.prefix(count).map { UInt8(bitPattern: $0) }, as: UTF8.self)
            return ["--symlink", text, "/\(name)"]
        }
    }
}
