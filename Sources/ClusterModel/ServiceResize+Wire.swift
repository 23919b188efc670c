import Base
import Wire

extension ServiceResize: WireCodable {
    /// 2 has the limits that came later; 1 is written as long as none of them changes.
    private static let version: UInt8 = 2

    /// A bit for each number that is there, in this order, then the numbers.
    private var numbers: [Int?] {
        [
            cpuRequestMillicores, cpuLimitMillicores, memoryRequestBytes, memoryLimitBytes,
            pidsMax, egressBitsPerSecond, ingressBitsPerSecond,
        ]
    }

    /// Those that the first version does not know.
    private var laterNumbers: [Int?] {
        [
            cpuBurstMillicores, memorySoftBytes, memorySwapBytes, ioWeight, ioReadBytesPerSecond,
            ioWriteBytesPerSecond, ioReadOperationsPerSecond, ioWriteOperationsPerSecond,
        ]
    }

    package func encode(into writer: inout ByteWriter) {
        let isFirst = cores == nil && laterNumbers.allSatisfy { $0 == nil }
        writer.write(byte: isFirst ? 1 : ServiceResize.version)
        writer.write(container != nil)
        if let container { writer.write(container) }
        for number in numbers {
            writer.write(number != nil)
            if let number { writer.write(number) }
        }
        writer.write(list: volumes ?? [])
        guard !isFirst else { return }
        for number in laterNumbers {
            writer.write(number != nil)
            if let number { writer.write(number) }
        }
        writer.write(byte: cores == nil ? 0 : cores == .shared ? 1 : 2)
    }

    package init(from reader: inout ByteReader) throws(WireError) {
        let version = try reader.readByte()
        guard 1...ServiceResize.version ~= version else {
            throw .unknownCase(what: "resize version", value: UInt64(version))
        }
        func number() throws(WireError) -> Int? {
            try reader.readBool() ? try reader.readInt() : nil
        }
        self.init(
            container: try reader.readBool() ? try reader.readString(maximum: 256) : nil,
            cpuRequestMillicores: try number(), cpuLimitMillicores: try number(),
            memoryRequestBytes: try number(), memoryLimitBytes: try number(),
            pidsMax: try number(), egressBitsPerSecond: try number(),
            ingressBitsPerSecond: try number())
        let sizes = try reader.readList(of: VolumeSize.self, maximum: 256)
        volumes = sizes.isEmpty ? nil : sizes
        guard version >= 2 else { return }
        cpuBurstMillicores = try number()
        memorySoftBytes = try number()
        memorySwapBytes = try number()
        ioWeight = try number()
        ioReadBytesPerSecond = try number()
        ioWriteBytesPerSecond = try number()
        ioReadOperationsPerSecond = try number()
        ioWriteOperationsPerSecond = try number()
        switch try reader.readByte() {
        case 0: break
        case 1: cores = .shared
        case 2: cores = .dedicated
        case let other: throw .unknownCase(what: "class of cores", value: UInt64(other))
        }
    }
}

extension VolumeSize: WireCodable {
    package func encode(into writer: inout ByteWriter) {
        writer.write(name)
        writer.write(sizeBytes)
    }

    package init(from reader: inout ByteReader) throws(WireError) {
        self.init(name: try reader.readString(maximum: 256), sizeBytes: try reader.readInt())
    }
}
