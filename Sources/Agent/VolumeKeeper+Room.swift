import ClusterModel
import VolumePlan
import VolumeStore

/// What the cluster was told last of the room for volumes.
struct ToldRoom {
    /// The offer; nil before the first.
    var offer: VolumeOffer?
    /// What was wrong with the thin pool, as far as the log says it.
    var poolProblem = ""
}

extension VolumeKeeper {
    /// True for what is told to the cluster, which then counts its size itself.
    static func isReported(_ record: VolumeRecord) -> Bool {
        switch record.state {
        case .ready, .growing, .replacing, .trashed: true
        case .making, .receiving, .removing: false
        }
    }

    /// Measures what this host can promise to volumes, and tells it when it changed.
    func tellRoom() async {
        do {
            let room = try await store.room(isCounted: VolumeKeeper.isReported)
            if toldRoom.poolProblem != room.poolProblem {
                toldRoom.poolProblem = room.poolProblem
                if room.poolProblem.isEmpty {
                    log.info("the thin pool works again: this host takes lvm volumes")
                } else {
                    log.warning(
                        "this host takes no lvm volumes until its thin pool works: "
                            + room.poolProblem)
                }
            }
            let offer = VolumeOffer(room, after: toldRoom.offer)
            guard offer != toldRoom.offer else { return }
            toldRoom.offer = offer
            tell(offer)
        } catch {
            log.error("could not measure the room for volumes: \(error)")
        }
    }
}

extension VolumeOffer {
    /// The offer that stands for what was measured, given the one that was told before.
    ///
    /// Whatever else writes to the disk changes what is free all the time, and each change that is
    /// told goes into the log: so it is told in steps of about a 64th of the disk, or of a 16th of the
    /// room where that is less, rounded down; and more only once it is more by two steps. Less is
    /// told at once. What the settings limit is told as it is.
    init(_ room: StoreRoom, after told: VolumeOffer?) {
        var step = 1 << 20
        while 2 * step <= min(room.diskTotalBytes / 64, room.diskBytes / 16) { step *= 2 }
        var disk = room.isLimited ? room.diskBytes : room.diskBytes / step * step
        if !room.isLimited, let told, told.diskBytes <= room.diskBytes,
            room.diskBytes < told.diskBytes + 2 * step
        {
            disk = told.diskBytes
        }
        self.init(diskBytes: disk, poolBytes: room.poolBytes, hasLoop: room.hasLoop)
    }
}
