import Base
import Wire

extension ServiceResize: WireCodable {
    private static let version: UInt8 = 1

    /// A bit for each number that is there, in this order, then the numbers.
    private var numbers: [Int?] {
        [
            cpuRequestMillicores, cpuLimitMillicores, memoryRequestBytes, memoryLimitBytes,
            pidsMax, egressBitsPerSecond, ingressBitsPerSecond,
        ]
    }

    package func encode(into writer: inout ByteWriter) {
        writer.write(byte: ServiceResize.version)
        writer.write(container != nil)
        if let container { writer.write(container) }
        for number in numbers {
            writer.write(number != nil)
            if let number { writer.write(number) }
        }
        writer.write(list: volumes ?? [])
    }

    package init(from reader: inout ByteReader) throws(WireError) {
        let version = try reader.readByte()
        guard version == ServiceResize.version else {
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
