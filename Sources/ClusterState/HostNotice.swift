import Base
import ClusterModel
import Wire

/// Something that happened on a host once and that the cluster should remember: it becomes an event
/// and changes nothing else.
package enum HostNotice: Hashable, Sendable {
    /// The kernel killed processes of a container that goes on running, since its host last said so.
    case processesKilled(
        SlotID, placementIndex: LogIndex, container: String, count: Int, memory: MemoryAtExit?)
    /// Content of volumes lies on the host that no record tells of: where it is.
    case unrecorded(String)
}

extension HostNotice: WireCodable {
    package func encode(into writer: inout ByteWriter) {
        switch self {
        case .processesKilled(let slot, let index, let container, let count, let memory):
            writer.write(byte: 1)
            writer.write(slot)
            writer.write(index)
            writer.write(container)
            writer.write(count)
            writer.write(memory != nil)
            if let memory {
                writer.write(memory.peakBytes)
                writer.write(memory.limitBytes)
            }
        case .unrecorded(let place):
            writer.write(byte: 2)
            writer.write(bounded: place)
        }
    }

    package init(from reader: inout ByteReader) throws(WireError) {
        switch try reader.readByte() {
        case 1:
            self = .processesKilled(
                try reader.read(), placementIndex: try reader.read(),
                container: try reader.readString(maximum: 64), count: try reader.readInt(),
                memory: try reader.readBool()
                    ? MemoryAtExit(
                        peakBytes: try reader.readInt(), limitBytes: try reader.readInt()) : nil)
        case 2: self = .unrecorded(try reader.readText())
        case let other: throw .unknownCase(what: "notice of a host", value: UInt64(other))
        }
    }
}

extension ReplicatedState {
    /// Takes in what happened on a host: an event, unless it is stale or is remembered already.
    mutating func take(
        _ notice: HostNotice, of id: HostID, _ bootEpoch: BootEpoch, _ change: inout Change
    ) throws(CommandRefusal) {
        guard let host = host(id) else {
            throw CommandRefusal(.hostUnknown, "host \(id.short) is not registered")
        }
        guard bootEpoch >= host.bootEpoch else { return }
        switch notice {
        case .processesKilled(let slotID, let index, let container, let count, let memory):
            guard count > 0, let placement = slot(slotID)?.placement, placement.host == id,
                placement.index == index
            else { return }
            let reason = ContainerExit(code: 137, outOfMemory: true, memory: memory)
                .outOfMemoryReason
            change.note(
                .processOutOfMemory, slotID.description,
                "\(count) process\(count == 1 ? "" : "es") in container \(container) "
                    + "\(count == 1 ? "was" : "were") killed on \(host.name), and the container "
                    + "goes on: \(reason)")
        case .unrecorded(let place):
            let message = "found \(place), which has no record, and left it alone".bounded
            // It is found anew at every start of the agent.
            let isKnown = events.contains {
                $0.kind == .volumeUnrecorded && $0.subject == host.name && $0.message == message
            }
            if !isKnown { change.note(.volumeUnrecorded, host.name, message) }
        }
    }
}
