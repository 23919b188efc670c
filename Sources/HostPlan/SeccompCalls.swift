/// The names of system calls, grouped by what they are for (syscalls(2)).
///
/// A name that a machine does not have is skipped by the runtime, so 32-bit names stand beside the
/// others. Left out on purpose, beside `withheld`: io_uring (its requests pass by the filter).
enum SeccompCalls {
    /// What every container may call on that machine, sorted.
    static func allowed(on architecture: SeccompArchitecture) -> [String] {
        let own =
            switch architecture {
            case .x86: intel
            case .arm: arm
            }
        let groups = [
            descriptors, names, attributes, memory, processes, identities, signals, scheduling,
            clocks, waiting, sockets, messages, asynchronous, own,
        ]
        return groups.flatMap { words($0) }.sorted()
    }

    /// What a capability is for beyond what every container may call: what is withheld from others.
    static func granted(by capability: String) -> [String] {
        switch capability {
        case "SYS_ADMIN":
            words(
                """
                fanotify_init fanotify_mark fsconfig fsmount fsopen fspick lookup_dcookie mount
                mount_setattr move_mount open_tree quotactl quotactl_fd setdomainname sethostname
                setns syslog umount umount2 unshare
                """)
        case "BPF": ["bpf"]
        case "DAC_READ_SEARCH": ["open_by_handle_at"]
        case "PERFMON": ["perf_event_open"]
        case "SYSLOG": ["syslog"]
        case "SYS_BOOT": words("kexec_file_load kexec_load reboot")
        case "SYS_MODULE": words("delete_module finit_module init_module")
        case "SYS_NICE":
            words(
                "get_mempolicy mbind migrate_pages move_pages set_mempolicy set_mempolicy_home_node"
            )
        case "SYS_PACCT": ["acct"]
        case "SYS_PTRACE": words("kcmp pidfd_getfd process_madvise")
        case "SYS_RAWIO": words("ioperm iopl")
        case "SYS_TIME": words("clock_settime clock_settime64 settimeofday stime")
        case "SYS_TTY_CONFIG": ["vhangup"]
        default: []
        }
    }

    /// What exists but is withheld, whatever capabilities a program thinks it has, sorted.
    static var withheld: [String] { words(refused).sorted() }

    private static func words(_ text: String) -> [String] {
        text.split(whereSeparator: \.isWhitespace).map { String($0) }
    }

    private static let descriptors = """
        read write readv writev pread64 pwrite64 preadv pwritev preadv2 pwritev2 open openat
        openat2 creat close close_range lseek _llseek dup dup2 dup3 fcntl fcntl64 ioctl flock
        pipe pipe2 splice tee sendfile sendfile64 copy_file_range fallocate ftruncate ftruncate64
        truncate truncate64 fsync fdatasync sync syncfs sync_file_range readahead fadvise64
        fadvise64_64 memfd_create memfd_secret
        """

    private static let names = """
        access faccessat faccessat2 stat stat64 lstat lstat64 fstat fstat64 fstatat64 newfstatat
        statx statfs statfs64 fstatfs fstatfs64 link linkat symlink symlinkat readlink readlinkat
        unlink unlinkat rename renameat renameat2 mkdir mkdirat rmdir mknod mknodat chdir fchdir
        getcwd chroot getdents getdents64 readdir umask name_to_handle_at inotify_init
        inotify_init1 inotify_add_watch inotify_rm_watch
        """

    private static let attributes = """
        chmod fchmod fchmodat fchmodat2 chown chown32 fchown fchown32 fchownat lchown lchown32
        utime utimes futimesat utimensat utimensat_time64 getxattr lgetxattr fgetxattr setxattr
        lsetxattr fsetxattr listxattr llistxattr flistxattr removexattr lremovexattr fremovexattr
        """

    private static let memory = """
        brk mmap mmap2 munmap mremap mprotect madvise mincore msync mlock mlock2 mlockall munlock
        munlockall remap_file_pages pkey_alloc pkey_free pkey_mprotect membarrier
        map_shadow_stack mseal cachestat
        """

    private static let processes = """
        fork vfork execve execveat exit exit_group wait4 waitid waitpid getpid getppid gettid
        getpgid getpgrp setpgid getsid setsid set_tid_address get_robust_list set_robust_list
        prctl seccomp ptrace process_vm_readv process_vm_writev process_mrelease pidfd_open
        pidfd_send_signal rseq landlock_create_ruleset landlock_add_rule landlock_restrict_self
        set_thread_area get_thread_area restart_syscall uname sysinfo getrandom getcpu times
        getrusage getrlimit ugetrlimit setrlimit prlimit64
        """

    private static let identities = """
        getuid getuid32 geteuid geteuid32 getgid getgid32 getegid getegid32 getresuid getresuid32
        getresgid getresgid32 getgroups getgroups32 setuid setuid32 setgid setgid32 setreuid
        setreuid32 setregid setregid32 setresuid setresuid32 setresgid setresgid32 setfsuid
        setfsuid32 setfsgid setfsgid32 setgroups setgroups32 capget capset
        """

    private static let signals = """
        kill tkill tgkill sigaltstack sigprocmask sigreturn rt_sigaction rt_sigpending
        rt_sigprocmask rt_sigqueueinfo rt_tgsigqueueinfo rt_sigreturn rt_sigsuspend
        rt_sigtimedwait rt_sigtimedwait_time64 signalfd signalfd4 pause alarm getitimer setitimer
        """

    private static let scheduling = """
        sched_yield sched_getaffinity sched_setaffinity sched_getattr sched_setattr
        sched_getparam sched_setparam sched_getscheduler sched_setscheduler
        sched_get_priority_max sched_get_priority_min sched_rr_get_interval
        sched_rr_get_interval_time64 getpriority setpriority ioprio_get ioprio_set
        """

    private static let clocks = """
        time gettimeofday clock_getres clock_getres_time64 clock_gettime clock_gettime64
        clock_nanosleep clock_nanosleep_time64 nanosleep adjtimex clock_adjtime clock_adjtime64
        timer_create timer_delete timer_getoverrun timer_gettime timer_gettime64 timer_settime
        timer_settime64 timerfd_create timerfd_gettime timerfd_gettime64 timerfd_settime
        timerfd_settime64
        """

    private static let waiting = """
        select _newselect pselect6 pselect6_time64 poll ppoll ppoll_time64 epoll_create
        epoll_create1 epoll_ctl epoll_ctl_old epoll_wait epoll_wait_old epoll_pwait epoll_pwait2
        eventfd eventfd2 futex futex_time64 futex_waitv futex_wait futex_wake futex_requeue
        """

    /// `socket` itself is allowed by family; 32-bit programs reach it through `socketcall`.
    private static let sockets = """
        socketpair socketcall bind listen accept accept4 connect shutdown getsockname getpeername
        getsockopt setsockopt send sendto sendmsg sendmmsg recv recvfrom recvmsg recvmmsg
        recvmmsg_time64
        """

    private static let messages = """
        ipc shmget shmat shmctl shmdt semget semop semctl semtimedop semtimedop_time64 msgget
        msgsnd msgrcv msgctl mq_open mq_unlink mq_notify mq_getsetattr mq_timedreceive
        mq_timedreceive_time64 mq_timedsend mq_timedsend_time64
        """

    private static let asynchronous = """
        io_setup io_destroy io_submit io_cancel io_getevents io_pgetevents io_pgetevents_time64
        """

    private static let intel = "arch_prctl modify_ldt"

    private static let arm = """
        arm_fadvise64_64 arm_sync_file_range sync_file_range2 breakpoint cacheflush set_tls
        """

    /// Mounts, modules, keys, tracing of the kernel, clocks and power: the host's, not a guest's.
    private static let refused = """
        acct add_key bpf clock_settime clock_settime64 delete_module fanotify_init fanotify_mark
        finit_module fsconfig fsmount fsopen fspick get_mempolicy init_module ioperm iopl kcmp
        kexec_file_load kexec_load keyctl lookup_dcookie mbind migrate_pages mount mount_setattr
        move_mount move_pages nfsservctl open_by_handle_at open_tree perf_event_open pidfd_getfd
        pivot_root process_madvise quotactl quotactl_fd reboot request_key set_mempolicy
        set_mempolicy_home_node setdomainname sethostname setns settimeofday stime swapoff swapon
        sysfs syslog umount umount2 unshare userfaultfd ustat uselib vhangup vm86 vm86old vmsplice
        """
}
