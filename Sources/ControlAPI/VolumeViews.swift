/// One volume, as `GET /v1/volumes` lists it.
package struct VolumeView: Codable, Hashable, Sendable {
    /// What people call it: `web.3/data`.
    package var volume: String
    /// Its own identity: sixteen hexadecimal digits.
    package var id: String
    /// The service.
    package var service: String
    /// The name of the host that holds it.
    package var host: String
    /// `lvm`, `loop` or `directory`.
    package var `class`: String
    /// How much it holds.
    package var sizeBytes: Int
    /// What it takes of the disk below it, as its host last told.
    package var usedBytes: Int
    /// `ready`, `failed` (its disk or file system), `gone` (its content), `read-only` (it is full),
    /// `lost` (its host does not answer) or `trash`.
    package var state: String
    /// When it went into the trash: seconds since 1970; absent while it is in use.
    package var trashedAt: Int?
    /// What is wrong with it and what to do: a sentence; absent when nothing is.
    package var problem: String?

    package init(
        volume: String,
        id: String,
        service: String,
        host: String,
        class: String,
        sizeBytes: Int,
        usedBytes: Int,
        state: String,
        trashedAt: Int? = nil,
        problem: String? = nil
    ) {
        self.volume = volume
        self.id = id
        self.service = service
        self.host = host
        self.class = `class`
        self.sizeBytes = sizeBytes
        self.usedBytes = usedBytes
        self.state = state
        self.trashedAt = trashedAt
        self.problem = problem
    }
}

/// One deleted service, as `GET /v1/trash` lists it.
package struct TrashView: Codable, Hashable, Sendable {
    /// Its name.
    package var service: String
    /// When it was deleted: RFC 3339, UTC, milliseconds.
    package var deletedAt: String
    /// How many sets it had.
    package var sets: Int
    /// The volumes of it that are still kept.
    package var volumes: [VolumeView]
    /// What those hold together.
    package var volumeBytes: Int

    package init(
        service: String,
        deletedAt: String,
        sets: Int,
        volumes: [VolumeView]
    ) {
        self.service = service
        self.deletedAt = deletedAt
        self.sets = sets
        self.volumes = volumes
        volumeBytes = volumes.reduce(0) { $0 + $1.sizeBytes }
    }
}

/// The room for volumes of a host on its disk, or in its thin pool.
package struct VolumeRoomView: Codable, Hashable, Sendable {
    /// The classes of volumes that share it: `loop` and `directory`, or `lvm`.
    package var classes: [String]
    /// What can be promised to volumes in all.
    package var capacityBytes: Int
    /// What is promised: to volumes that are there, in the trash too, and to those that sets placed
    /// there are still to get.
    package var promisedBytes: Int
    /// What is left; 0 on a host that has promised more than it can now.
    package var freeBytes: Int

    package init(classes: [String], capacityBytes: Int, promisedBytes: Int) {
        self.classes = classes
        self.capacityBytes = capacityBytes
        self.promisedBytes = promisedBytes
        freeBytes = max(0, capacityBytes - promisedBytes)
    }
}
