import Base

/// Something that changed, why, and who brought it about.
package struct Event: Hashable, Sendable {
    /// The log entry that changed it.
    package var index: LogIndex
    /// The lease term of that entry.
    package var epoch: Epoch
    /// When the change was proposed, by the proposer's clock.
    package var time: WallTime
    /// What happened.
    package var kind: EventKind
    /// What it happened to: a service's name, a slot (`web.3`), a host's name, an image.
    package var subject: String
    /// The change in one sentence.
    package var message: String
    /// The host whose agent proposed it.
    package var who: HostID

    package init(
        index: LogIndex, epoch: Epoch, time: WallTime, kind: EventKind, subject: String,
        message: String, who: HostID
    ) {
        self.index = index
        self.epoch = epoch
        self.time = time
        self.kind = kind
        self.subject = subject
        self.message = message
        self.who = who
    }
}

/// The kinds of events; the names are part of `shoal events --json`.
///
/// The order of the cases is their binary form: append only.
package enum EventKind: String, Hashable, Sendable, CaseIterable {
    /// A host joined.
    case hostRegistered
    /// A host started again or changed what it offers.
    case hostChanged
    /// A host was found dead.
    case hostLost
    /// A lost host answers again.
    case hostReturned
    /// A lost host was given up.
    case hostForgotten
    /// A service was created.
    case serviceCreated
    /// A service has a new revision or other settings.
    case serviceChanged
    /// A service's number of sets changed.
    case serviceScaled
    /// A service was deleted.
    case serviceDeleted
    /// An image reference is new or leads elsewhere.
    case imageRegistered
    /// A slot was given to a host.
    case setPlaced
    /// A slot was taken from its host.
    case setUnplaced
    /// No host fits a slot.
    case setPending
    /// All containers of a set run.
    case setRunning
    /// A container of a set ended and will be started again.
    case setBackingOff
    /// A container was killed for exceeding its memory limit.
    case setOutOfMemory
    /// The host cannot run the set.
    case setFailed
    /// A decision was stale when it was applied.
    case decisionSkipped
    /// A running set has new limits.
    case setResized
    /// A volume was made, grown, put into the trash, taken out of it or removed.
    case volumeChanged
    /// A volume was backed up.
    case volumeBackedUp
    /// A backup could not be made.
    case backupFailed
    /// A backup was restored on trial.
    case backupDrilled
    /// A host is to restore a slot's volumes.
    case volumeRestoring
    /// A host has restored a slot's volumes.
    case volumeRestored
    /// A slot with volumes is on its way to another host, arrived there, or stays after all.
    case slotMoved
    /// A volume is 80, 95 or 100 % full.
    case volumeFilling
    /// A volume without a wall of its own is full, and nobody may write to it.
    case volumeReadOnly
    /// A volume that was read-only for being full may be written to again.
    case volumeWritable
    /// A volume's disk or file system failed, or its content is gone.
    case volumeFailed
    /// A volume that had failed is well again.
    case volumeRecovered
    /// A host found content of volumes that no record tells of.
    case volumeUnrecorded
    /// Processes of a container that goes on were killed for exceeding its memory limit.
    case processOutOfMemory
}
