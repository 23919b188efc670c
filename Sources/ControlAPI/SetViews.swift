/// One container of a set, as its host last reported it.
package struct ContainerView: Codable, Hashable, Sendable {
    /// Its name in the set.
    package var name: String
    /// The image's reference.
    package var image: String
    /// The process id on its host; absent while it does not run.
    package var pid: Int?
    /// True while its process runs.
    package var running: Bool
    /// How often its host has started it again.
    package var restarts: Int
    /// How it last ended: the exit status, or 128 plus the signal; absent if it never ended.
    package var exitCode: Int?
    /// True when the kernel ended it for exceeding its memory limit.
    package var outOfMemory: Bool?
    /// The most memory it had used when the kernel ended it for that; absent otherwise.
    package var memoryPeakBytes: Int?
    /// Its memory limit then.
    package var memoryLimitBytes: Int?

    package init(
        name: String,
        image: String,
        pid: Int? = nil,
        running: Bool,
        restarts: Int,
        exitCode: Int? = nil,
        outOfMemory: Bool? = nil,
        memoryPeakBytes: Int? = nil,
        memoryLimitBytes: Int? = nil
    ) {
        self.name = name
        self.image = image
        self.pid = pid
        self.running = running
        self.restarts = restarts
        self.exitCode = exitCode
        self.outOfMemory = outOfMemory
        self.memoryPeakBytes = memoryPeakBytes
        self.memoryLimitBytes = memoryLimitBytes
    }
}

/// One set, as `GET /v1/sets` lists it.
package struct SetView: Codable, Hashable, Sendable {
    /// The slot, such as `web.3`.
    package var slot: String
    /// The service.
    package var service: String
    /// The slot's number in the service.
    package var ordinal: Int
    /// The name of the host it is placed on; absent while it has none.
    package var host: String?
    /// That host's key in hexadecimal.
    package var hostID: String?
    /// `pending`, `starting`, `running`, `backingOff`, `stopping` or `failed`.
    package var phase: String
    /// Why it is in that phase: a sentence; absent when there is nothing to say.
    package var reason: String?
    /// Its network address, when it has one.
    package var address: String?
    /// The revision of the template it runs or shall run.
    package var revision: UInt64
    /// The revision whose limits are in force there; absent while none are.
    package var limitsRevision: UInt64?
    /// The log index that placed it; absent while it is pending.
    package var placementIndex: UInt64?
    /// Its containers, in the order of the service's file.
    package var containers: [ContainerView]

    package init(
        slot: String,
        service: String,
        ordinal: Int,
        host: String? = nil,
        hostID: String? = nil,
        phase: String,
        reason: String? = nil,
        address: String? = nil,
        revision: UInt64,
        limitsRevision: UInt64? = nil,
        placementIndex: UInt64? = nil,
        containers: [ContainerView] = []
    ) {
        self.slot = slot
        self.service = service
        self.ordinal = ordinal
        self.host = host
        self.hostID = hostID
        self.phase = phase
        self.reason = reason
        self.address = address
        self.revision = revision
        self.limitsRevision = limitsRevision
        self.placementIndex = placementIndex
        self.containers = containers
    }
}

/// One thing that happened, as `GET /v1/events` lists it.
package struct EventView: Codable, Hashable, Sendable {
    /// The log index that caused it.
    package var index: UInt64
    /// The lease term of that index.
    package var epoch: UInt64
    /// When the leaseholder decided it: RFC 3339, UTC, milliseconds.
    package var time: String
    /// What kind of event, such as `setPlaced`.
    package var kind: String
    /// What it is about: a service, a slot or a host.
    package var subject: String
    /// A sentence for people.
    package var message: String
    /// The host it concerns, by name.
    package var host: String?

    package init(
        index: UInt64,
        epoch: UInt64,
        time: String,
        kind: String,
        subject: String,
        message: String,
        host: String? = nil
    ) {
        self.index = index
        self.epoch = epoch
        self.time = time
        self.kind = kind
        self.subject = subject
        self.message = message
        self.host = host
    }
}

/// One image, as `GET /v1/images` lists it.
package struct ImageView: Codable, Hashable, Sendable {
    /// Its name, such as `demo/web:1`.
    package var reference: String
    /// The digest of its manifest.
    package var digest: String
    /// The size of its blobs.
    package var sizeBytes: Int
    /// True when the answering host has all of it.
    package var present: Bool

    package init(
        reference: String,
        digest: String,
        sizeBytes: Int,
        present: Bool
    ) {
        self.reference = reference
        self.digest = digest
        self.sizeBytes = sizeBytes
        self.present = present
    }
}

/// What became of one service in `POST /v1/services`, `scale` or `DELETE`.
package struct ApplyResult: Codable, Hashable, Sendable {
    /// The service.
    package var service: String
    /// The revision of its template afterwards.
    package var revision: UInt64
    /// The log index of the change; the applied index when nothing changed.
    package var index: UInt64
    /// What happened.
    package var outcome: ApplyOutcome
    /// Why sets keep the limits they have, one sentence each; only `shoal resize` tells it, absent
    /// when none does.
    package var refusals: [String]?
    /// True when the change was taken back because no set took it: the revision is the one after.
    package var takenBack: Bool?
    /// The commands that take refused limits back which are wanted still.
    package var takeBack: [String]?

    package init(
        service: String,
        revision: UInt64,
        index: UInt64,
        outcome: ApplyOutcome
    ) {
        self.service = service
        self.revision = revision
        self.index = index
        self.outcome = outcome
    }
}

/// What applying a service did.
package enum ApplyOutcome: String, Codable, Hashable, Sendable {
    /// The service is new.
    case created
    /// The service was there and changed.
    case updated
    /// The service was there exactly so.
    case unchanged
    /// The service was there and is gone.
    case deleted
}
