import BackupStore
import Base
import ClusterModel
import Consensus
import ContainerRuntime
import ControlAPI
import EventLoop
import Foundation
import HostControl
import HostPlan
import ImageStore
import Membership
import PeerCore
import Storage
import Synchronization
import Transport
import Wire

/// `shoal agent`: puts the rooms together and runs until it is told to end.
package enum AgentProcess {
    /// Runs the agent; returns after SIGTERM or SIGINT, with the containers still running.
    package static func run(_ configuration: AgentConfiguration) async throws {
        let log = AgentLog()
        let folder = try AgentFolder(path: configuration.dataFolder)
        try folder.lock()
        let secret = try clusterSecret(configuration, folder)
        let keys = try HostKeyPair.loadOrCreate(folder: configuration.dataFolder)
        let bootEpoch = try folder.nextBootEpoch()
        let peerLoop = try EventLoop(name: "peers")
        let address = try await HostAddress.resolve(configuration.address, on: peerLoop)
        let instance = try folder.instance(of: keys.hostID)
        log.info(
            "host \(configuration.name) (\(keys.hostID.short)) of cluster \(secret.clusterID), boot epoch \(bootEpoch.value), at \(address)"
        )

        let hostLoop = try EventLoop(name: "host")
        let commands = CommandRunner(loop: hostLoop)
        let host = try hostControl(configuration, instance, commands, ownPort: address.port)
        try await host.claim()
        let offer = try await hostOffer(configuration, host)
        for notice in await host.protectAgent(wall: offer.wall)
            + (try await host.setWall(offer.wall))
        { log.warning(notice) }
        let (abilities, runtimes, missing) = await configuration.abilities(commands)
        for notice in missing { log.warning(notice) }
        let store = try LogStore(path: folder.logPath)
        let restored = try store.load()
        let isJoining = try folder.secret() == nil
        if isJoining { try folder.beginJoining(secret, hasLog: !restored.isEmpty) }

        let plane = PeerPlane(
            loop: peerLoop,
            configuration: PeerPlaneConfiguration(bindAddress: bindAddress(for: address)),
            secret: secret, identity: keys, bootEpoch: bootEpoch)
        let peer = Peer(
            id: keys.hostID, bootEpoch: bootEpoch, address: address,
            facts: offer.facts(configuration, abilities),
            restored: restored, configuration: PeerConfiguration(),
            random: RandomSource(seed: UInt64.random(in: .min ... .max)), now: peerLoop.now())
        let driver = PeerDriver(loop: peerLoop, plane: plane, store: store, peer: peer, log: log)

        let images = try ImageStore(root: "\(configuration.dataFolder)/images")
        let supply = ImageSupply(store: images, driver: driver, log: log)
        let runtime = try ContainerRuntime(
            settings: RuntimeSettings(
                folder: "\(configuration.dataFolder)/runtime",
                runtimePath: configuration.runtimePath, runtimes: runtimes,
                conmonPath: configuration.monitorPath,
                hybridCgroupMount: await host.capabilities.cgroups.hybridMount),
            commands: commands)
        let keeper = try setKeeper(
            configuration, abilities, host: host, runtime: runtime, images: images,
            supply: supply, instance: instance, driver: driver, log: log)
        let backups = try await backupKeeper(configuration, keeper.volumes, driver, secret, log)
        let backend = AgentBackend(
            driver: driver, store: images, supply: supply, keeper: keeper,
            sampler: UsageSampler(host: host, keeper: keeper), backupKeeper: backups,
            clusterID: secret.clusterID, log: log)
        let remembered = RememberedPeers(store: store, me: keys.hostID)
        let seeds = try await seeds(configuration, remembered, peerLoop)
        let joined = isJoining ? Task { try await keepSecret(secret, folder, driver, log) } : nil
        let watch = HostWatch(
            host: host, driver: driver, configuration: configuration, log: log, first: offer,
            abilities: abilities)
        try await serve(
            configuration, watch: watch, driver: driver, keeper: keeper, backend: backend,
            remembered: remembered, seeds: seeds, log: log)
        joined?.cancel()
        await driver.stop()
        store.close()
    }

    /// What makes and ends sets here, with what it needs; what it sees goes to the brain in order.
    private static func setKeeper(
        _ configuration: AgentConfiguration, _ abilities: HostAbilities, host: HostControl,
        runtime: ContainerRuntime, images: ImageStore, supply: ImageSupply, instance: String,
        driver: PeerDriver,
        log: AgentLog
    ) throws -> SetKeeper {
        // Not a task: what is seen must be told in the order it was seen.
        @Sendable func feed(_ input: PeerInput) {
            driver.loop.perform { driver.assumeIsolated { $0.feed(input) } }
        }
        let notices = HostNotices(driver: driver)
        let volumes = try VolumeKeeper(
            folder: "\(configuration.dataFolder)/volumes", thinPool: configuration.thinPool,
            trashSeconds: configuration.trashSeconds,
            spaceBytes: configuration.volumeSpaceBytes, log: log,
            offer: { offer in feed(.offer(offer)) }, notify: { notices.take($0) },
            report: { volumes in feed(.volumes(volumes)) })
        return try SetKeeper(
            host: host, runtime: runtime, store: images, supply: supply, volumes: volumes,
            instance: instance, abilities: abilities, network: host.settings.clusterNetwork,
            folder: "\(configuration.dataFolder)/sets", log: log,
            notices: notices,
            report: { observation in feed(.observed(observation)) })
    }

    /// What backs volumes up and brings them back.
    private static func backupKeeper(
        _ configuration: AgentConfiguration, _ volumes: VolumeKeeper, _ driver: PeerDriver,
        _ secret: ClusterSecret, _ log: AgentLog
    ) async throws -> BackupKeeper {
        let folder = configuration.dataFolder
        let server =
            configuration.backupQuotaBytes > 0
            ? try await BackupServer.start(
                BackupServerSettings(
                    folder: "\(folder)/backups", socketPath: "\(folder)/backups.sock",
                    quotaBytes: configuration.backupQuotaBytes)) : nil
        return BackupKeeper(
            volumes: volumes,
            engine: try BackupEngine(settings: BackupEngineSettings(folder: "\(folder)/restic")),
            driver: driver,
            repositories: BackupRepositories(
                credentials: BackupCredentials(path: configuration.backupCredentials),
                password: secret.backupPassword, cluster: "\(secret.clusterID)",
                driver: driver, server: server), log: log)
    }

    /// Lets everything run until a signal says otherwise.
    private static func serve(
        _ configuration: AgentConfiguration, watch: HostWatch, driver: PeerDriver,
        keeper: SetKeeper, backend: AgentBackend, remembered: RememberedPeers,
        seeds: [SocketAddress], log: AgentLog
    ) async throws {
        // First of all: if the socket cannot be had, nothing was begun yet.
        let server = try await ControlServer.start(
            ControlServerConfiguration(
                socketPath: configuration.socketPath,
                spoolFolder: "\(configuration.dataFolder)/spool"), backend: backend)
        log.info("listening at \(configuration.socketPath)")
        let (orders, orderSource) = AsyncStream<PeerDriver.HostOrder>.makeStream()
        try await keeper.volumes.start()
        let inventory = try await keeper.adopt()
        try await driver.start(
            PeerDriver.Handlers(
                order: { orderSource.yield($0) },
                members: { remembered.remember($0) },
                stream: { _, header, stream in
                    Task { await backend.serve(header, stream) }
                }), join: seeds)
        await driver.feed(.inventory(inventory))
        let joining = JoinWatch(
            driver: driver, clusterID: backend.clusterID,
            names: configuration.join.isEmpty ? seeds.map(\.description) : configuration.join,
            log: log)
        let tasks = [
            Task { await joining.run() },
            Task { for await order in orders { await keeper.take(order) } },
            Task { await keeper.watchExits() },
            Task { await watch.run() },
            Task { await keeper.watchDisks() },
            Task { await keeper.watchKills() },
            Task { await keeper.volumes.run() },
            Task { await keeper.notices.run() },
            Task { await backend.backupKeeper.run() },
            Task {
                await VolumeMover(
                    driver: driver, volumes: keeper.volumes,
                    engine: backend.backupKeeper.engine, log: log
                ).run()
            },
            Task {
                // Civil time may be set while the agent runs.
                while (try? await Task.sleep(for: .seconds(30))) != nil {
                    await driver.feed(.clock(.now))
                }
            },
        ]

        let signal = await Signals.wait()
        log.info("\(signal): the agent ends; containers go on running")
        await server.stop()
        await backend.backupKeeper.repositories.server?.stop()
        for task in tasks { task.cancel() }
    }

    /// Waits for the first host that answers, and then keeps the cluster's secret.
    private static func keepSecret(
        _ secret: ClusterSecret, _ folder: AgentFolder, _ driver: PeerDriver, _ log: AgentLog
    ) async throws {
        while await driver.read({ peer, _ in peer.membership.aliveIDs.count }) < 2 {
            try await Task.sleep(for: .milliseconds(100))
        }
        do {
            try folder.finishJoining(secret)
        } catch {
            log.error("\(error); the next start needs --join and --token again")
        }
    }

    /// The cluster from the data folder, or from the token of a first start.
    private static func clusterSecret(
        _ configuration: AgentConfiguration, _ folder: AgentFolder
    ) throws -> ClusterSecret {
        let given = try configuration.token.map { try ClusterSecret(joinToken: $0) }
        if let known = try folder.secret() {
            if let given, given.clusterID != known.clusterID {
                throw AgentError(
                    "\(configuration.dataFolder) belongs to cluster \(known.clusterID), the token to \(given.clusterID): use another --data folder, or leave --token out"
                )
            }
            return known
        }
        guard let given else {
            throw AgentError(
                "this host belongs to no cluster yet: `shoal init` makes a new one here, `shoal agent --join HOST:7400 --token T` joins one"
            )
        }
        guard !configuration.join.isEmpty else {
            throw AgentError("--token needs --join HOST:7400, a host of that cluster")
        }
        return given
    }

    private static func hostControl(
        _ configuration: AgentConfiguration, _ instance: String, _ commands: CommandRunner,
        ownPort: UInt16
    ) throws -> HostControl {
        guard let network = IPv4Network(configuration.clusterNetwork) else {
            throw ConfigurationError(
                "cluster-network: \(configuration.clusterNetwork) is no IPv4 network such as 10.64.0.0/10"
            )
        }
        return try HostControl(
            settings: HostControlSettings(
                cgroupRoot: configuration.cgroupRoot, instance: instance,
                bridge: configuration.bridge, clusterNetwork: network,
                datacenterNetworks: configuration.datacenterNetworks,
                uplink: configuration.bandwidth,
                diskPaths: ["", "/images", "/volumes"].map { configuration.dataFolder + $0 },
                reservations: configuration.reservedCores, ownPort: ownPort), commands: commands)
    }

    /// What the host offers at its start; a configuration that offers more is refused.
    private static func hostOffer(
        _ configuration: AgentConfiguration, _ host: HostControl
    ) async throws -> HostOffer {
        let offer = HostOffer(configuration: configuration, machine: try await host.machineFacts())
        if let shortfall = offer.shortfalls.first { throw ConfigurationError(shortfall) }
        return offer
    }

    /// All addresses of the family, at the port peers are told.
    private static func bindAddress(for address: SocketAddress) -> SocketAddress {
        SocketAddress(
            address: Array(repeating: 0, count: address.address.count), port: address.port)
            ?? address
    }

    private static func seeds(
        _ configuration: AgentConfiguration, _ remembered: RememberedPeers, _ loop: EventLoop
    ) async throws -> [SocketAddress] {
        var seeds = remembered.addresses()
        for name in configuration.join {
            do {
                seeds += try await loop.resolve(HostAddress.withPort(name))
            } catch {
                throw AgentError("--join \(name): \(error)")
            }
        }
        return seeds
    }
}

/// Addresses of peers, kept for the next start: a host that comes back finds the others by itself.
final class RememberedPeers: Sendable {
    private let store: LogStore
    private let me: HostID
    private let last = Mutex<[SocketAddress]>([])
    private let queue: AsyncStream<[SocketAddress]>.Continuation
    /// The most addresses kept.
    static let maximum = 64

    init(store: LogStore, me: HostID) {
        self.store = store
        self.me = me
        let (stream, continuation) = AsyncStream<[SocketAddress]>.makeStream(
            bufferingPolicy: .bufferingNewest(1))
        queue = continuation
        Task {
            for await addresses in stream {
                var writer = ByteWriter()
                writer.write(list: addresses)
                try? store.set(writer.bytes, for: "peers")
            }
        }
    }

    func addresses() -> [SocketAddress] {
        guard let bytes = try? store.value(for: "peers") else { return [] }
        var reader = ByteReader(bytes)
        return (try? reader.readList(of: SocketAddress.self, maximum: RememberedPeers.maximum))
            ?? []
    }

    /// Keeps the live members' addresses, if they changed; the disk is not waited for.
    func remember(_ members: [Member]) {
        let addresses = members.filter { $0.id != me && $0.status == .alive }
            .prefix(RememberedPeers.maximum).map(\.address)
        guard !addresses.isEmpty else { return }
        let changed = last.withLock { last in
            guard last != addresses else { return false }
            last = addresses
            return true
        }
        if changed { queue.yield(addresses) }
    }
}
