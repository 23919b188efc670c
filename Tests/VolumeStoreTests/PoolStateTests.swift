import Testing

@testable import VolumeStore

/// What `lvs` says of a thin pool, and what that means for volumes.
@Suite("pool state")
struct PoolStateTests {
    private func state(
        metadata: Int, used: String, data: String = "10.00", health: String = "",
        check: String = ""
    ) throws -> PoolState {
        try #require(
            PoolState(line: "  1073741824|\(metadata)|\(data)|\(used)|\(health)|\(check) \n"))
    }

    @Test(
        "metadata is nearly full where LVM would refuse or the kernel turn read-only",
        arguments: [
            (8, "74.90", false), (8, "75.00", true), (16, "74.90", false), (16, "75.10", true),
            (100, "89.90", false), (100, "90.10", true), (16_384, "94.90", false),
            (16_384, "95.00", true),
        ] as [(Int, String, Bool)])
    func metadata(mebibytes: Int, used: String, isNearlyFull: Bool) throws {
        let state = try state(metadata: mebibytes << 20, used: used)
        #expect(state.isMetadataNearlyFull == isNearlyFull && !state.isDataNearlyFull)
        #expect(state.failure == nil && state.size == 1 << 30 && state.dataPercent == 10)
    }

    @Test("data is nearly full from 95 percent on")
    func data() throws {
        #expect(try !state(metadata: 16 << 20, used: "5.00", data: "94.99").isDataNearlyFull)
        #expect(try state(metadata: 16 << 20, used: "5.00", data: "95.00").isDataNearlyFull)
    }

    @Test("a read-only pool has failed unless it is only out of metadata")
    func failed() throws {
        let readOnly = "metadata_read_only"
        #expect(try state(metadata: 16 << 20, used: "90.02", health: readOnly).failure == nil)
        #expect(try state(metadata: 16 << 20, used: "12.00", health: readOnly).failure == readOnly)
        let damaged = try state(
            metadata: 16 << 20, used: "90.02", health: readOnly, check: "check needed")
        #expect(damaged.failure == readOnly)
        let gone = try state(metadata: 16 << 20, used: "", data: "", health: "failed")
        #expect(gone.failure == "failed")
        #expect(
            try state(metadata: 16 << 20, used: "5.00", data: "99.00", health: "out_of_data")
                .failure == nil)
    }

    @Test(
        "what does not speak of a pool is no pool",
        arguments: [
            "", "|||||", "1|2|3", "1048576|||||", "x|1|1|1||", "1048576|4096|nan|5.00||",
            "1048576|4096|5.00|-1||", "1048576|4096|5.00|101||", "1|2|3|4|5|6|7",
        ])
    func others(line: String) { #expect(PoolState(line: line) == nil) }
}
