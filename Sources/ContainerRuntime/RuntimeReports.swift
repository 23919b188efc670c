import Base
import ClusterModel

/// The processes of a container that was created.
package struct ContainerProcess: Sendable, Equatable {
    /// The container.
    package var id: String
    /// Its first process, in the host's numbering.
    package var pid: Int32
    /// Its monitor.
    package var conmonPid: Int32

    package init(id: String, pid: Int32, conmonPid: Int32) {
        self.id = id
        self.pid = pid
        self.conmonPid = conmonPid
    }
}

/// How a container ended, as its exit file says.
package struct ExitRecord: Sendable, Equatable {
    /// The exit status; 128 plus the signal's number when a signal ended it.
    package var code: Int
    /// When, in civil time.
    package var at: WallTime
    /// True when the kernel killed a process of it for exceeding the memory limit.
    package var outOfMemory: Bool

    package init(code: Int, at: WallTime, outOfMemory: Bool = false) {
        self.code = code
        self.at = at
        self.outOfMemory = outOfMemory
    }
}

/// News that a container ended.
package struct ExitNotice: Sendable, Equatable {
    /// The container.
    package var id: String
    /// The exit status; 128 plus the signal's number when a signal ended it.
    package var code: Int
    /// When, in civil time.
    package var at: WallTime
    /// True when the kernel killed a process of it for exceeding the memory limit.
    package var outOfMemory: Bool
    /// True when its monitor had died, so that the code (137) is not the container's own.
    package var monitorLost: Bool

    package init(
        id: String, code: Int, at: WallTime, outOfMemory: Bool = false, monitorLost: Bool = false
    ) {
        self.id = id
        self.code = code
        self.at = at
        self.outOfMemory = outOfMemory
        self.monitorLost = monitorLost
    }
}

/// A container found on disk, checked against the processes that really run.
package struct AdoptedContainer: Sendable, Equatable {
    /// The container.
    package var id: String
    /// The set it belongs to.
    package var slot: SlotID
    /// Its name within the set.
    package var container: String
    /// The log index of the placement it runs for.
    package var placementIndex: LogIndex
    /// Its first process while that lives.
    package var pid: Int32?
    /// Its monitor while that lives.
    package var conmonPid: Int32?
    /// True when it was started and its first process lives.
    ///
    /// False with `exit` nil means half made: delete it.
    package var running: Bool
    /// How it ended, when it did.
    package var exit: ExitRecord?

    package init(
        id: String, slot: SlotID, container: String, placementIndex: LogIndex, pid: Int32?,
        conmonPid: Int32?, running: Bool, exit: ExitRecord?
    ) {
        self.id = id
        self.slot = slot
        self.container = container
        self.placementIndex = placementIndex
        self.pid = pid
        self.conmonPid = conmonPid
        self.running = running
        self.exit = exit
    }
}
