import Base
import ClusterModel

extension ReplicatedState {
    /// Creates a service or changes it; an identical spec changes nothing.
    mutating func applyService(
        _ spec: ServiceSpec, _ change: inout Change
    ) throws(CommandRefusal) {
        try check(spec)
        guard let position = servicePosition(spec.name) else {
            return try createService(spec, createdAt: change.index, &change)
        }
        let known = services[position].spec
        guard known != spec else { return }
        if let problem = spec.problem(after: known, held: volumesHeld(by: services[position])) {
            throw CommandRefusal(.invalid, problem)
        }
        if known.template != spec.template {
            let resized = slotsToResize(of: position, to: spec).slots
            try revise(position, spec, &change)
            services[position].spec = spec
            carryOut(resized, of: position, to: spec)
        } else if known.priority != spec.priority {
            change.note(
                .serviceChanged, spec.name, "priority \(known.priority) became \(spec.priority)")
        }
        services[position].spec = spec
        guard known.sets != spec.sets else { return }
        resize(position, to: spec.sets, at: change.index)
        change.note(.serviceScaled, spec.name, "from \(known.sets) to \(spec.sets) sets")
    }

    /// Adds a service; one that is restored keeps the entry that created it.
    mutating func createService(
        _ spec: ServiceSpec, createdAt: LogIndex, _ change: inout Change
    ) throws(CommandRefusal) {
        guard services.count < Limits.services else {
            throw CommandRefusal(
                .tooMany, "the cluster has \(Limits.services) services already; delete some first")
        }
        let revision = ServiceRevision(
            number: 1, spec: spec, index: change.index, time: change.time)
        let record = ServiceRecord(
            spec: spec, revision: 1, revisions: [revision], createdAt: createdAt,
            // Deleting took every slot away: sets of before that are found later must end.
            shrunkAt: createdAt == change.index ? .zero : change.index, slots: [], homelessCount: 0,
            outdatedCount: 0)
        let position = services.lowerBound(of: spec.name) { $0.spec.name }
        services.insert(record, at: position)
        resize(position, to: spec.sets, at: change.index)
        let verb = createdAt == change.index ? "created" : "restored"
        change.note(.serviceCreated, spec.name, "\(verb) with \(spec.sets) sets")
    }

    /// Makes a spec the newest revision; the slots are left as they are.
    mutating func revise(
        _ position: Int, _ spec: ServiceSpec, _ change: inout Change
    ) throws(CommandRefusal) {
        var kept = services[position].revisionsWorthKeeping
        guard kept.count < Limits.revisionsMax else {
            throw CommandRefusal(
                .tooMany,
                "sets of \(spec.name) still run \(kept.count) different revisions; wait until "
                    + "they are updated")
        }
        let number = services[position].revision + 1
        kept.append(
            ServiceRevision(number: number, spec: spec, index: change.index, time: change.time))
        services[position].revisions = kept
        services[position].revision = number
        services[position].recount()
        change.note(.serviceChanged, spec.name, "revision \(number)")
    }

    func check(_ spec: ServiceSpec) throws(CommandRefusal) {
        try checkRules(spec)
        for container in spec.containers where image(container.image) == nil {
            throw CommandRefusal(
                .imageUnknown,
                "no host has the image \(container.image) of container \(container.name); "
                    + "load it with `shoal image load FILE`, then apply again")
        }
        try checkPorts(spec)
        let others = setCount - (service(spec.name)?.slots.count ?? 0)
        try checkRoom(for: spec.sets, besides: others)
    }

    /// Refuses a spec that breaks a rule of its own.
    func checkRules(_ spec: ServiceSpec) throws(CommandRefusal) {
        let problems = spec.problems()
        guard problems.isEmpty else {
            let more = problems.count > 3 ? "; and \(problems.count - 3) more" : ""
            let sentences = problems.prefix(3).map(\.description).joined(separator: "; ")
            throw CommandRefusal(.invalid, sentences + more)
        }
    }

    private func checkPorts(_ spec: ServiceSpec) throws(CommandRefusal) {
        for published in spec.network.publish {
            if let host = hosts.first(where: {
                Int($0.registration.address.port) == published.hostPort
            }) {
                throw CommandRefusal(
                    .portTaken,
                    "port \(published.hostPort) is where the agent on host \(host.name) talks to its "
                        + "peers; choose another host port")
            }
            let owner = services.first { other in
                other.name != spec.name
                    && other.spec.network.publish.contains {
                        $0.hostPort == published.hostPort && $0.transport == published.transport
                    }
            }
            guard let owner else { continue }
            throw CommandRefusal(
                .portTaken,
                "service \(owner.name) publishes \(published.transport) port "
                    + "\(published.hostPort) already; choose another host port")
        }
    }

    private func checkRoom(for sets: Int, besides others: Int) throws(CommandRefusal) {
        guard sets + others <= Limits.sets else {
            throw CommandRefusal(
                .tooMany,
                "\(sets) sets beside \(others) of other services exceed the cluster's "
                    + "\(Limits.sets)")
        }
    }

    /// Changes how many sets a service has.
    mutating func scale(
        _ name: String, to sets: Int, _ change: inout Change
    ) throws(CommandRefusal) {
        guard let position = servicePosition(name) else { throw unknown(service: name) }
        guard SpecLimits.sets.contains(sets) else {
            throw CommandRefusal(
                .invalid,
                "\(sets) sets of \(name) are not allowed: from \(SpecLimits.sets.lowerBound) to "
                    + "\(SpecLimits.sets.upperBound)")
        }
        let before = services[position].slots.count
        guard sets != before else { return }
        try checkRoom(for: sets, besides: setCount - before)
        resize(position, to: sets, at: change.index)
        change.note(.serviceScaled, name, "from \(before) to \(sets) sets")
    }

    /// Deletes a service; its tombstone tells agents to end its sets.
    mutating func deleteService(_ name: String, _ change: inout Change) throws(CommandRefusal) {
        guard let position = servicePosition(name) else { throw unknown(service: name) }
        let spec = services[position].spec
        let createdAt = services[position].createdAt
        resize(position, to: 0, at: change.index)
        services.remove(at: position)
        if tombstones.count == Limits.tombstones { tombstones.removeFirst() }
        tombstones.append(
            Tombstone(
                service: name, index: change.index, time: change.time, spec: spec,
                createdAt: createdAt))
        change.note(.serviceDeleted, name, "deleted with \(spec.sets) sets")
    }

    func unknown(service name: String) -> CommandRefusal {
        CommandRefusal(
            .serviceUnknown,
            "there is no service '\(name.bounded)'; `shoal services` lists the known ones")
    }

    /// Makes a reference lead to an image.
    mutating func registerImage(
        _ image: ImageRecord, _ change: inout Change
    ) throws(CommandRefusal) {
        let problem =
            ImageReference.problem(in: image.reference)
            ?? ImageReference.problem(inDigest: image.manifestDigest)
            ?? ((0...HostFactsBounds.amountMax).contains(image.sizeBytes)
                ? nil : "must have a size of 0 bytes or more")
        if let problem {
            throw CommandRefusal(.invalid, "image '\(image.reference.bounded)' \(problem)")
        }
        let message = "\(image.manifestDigest), \(Quantity.display(bytes: image.sizeBytes))"
        if let position = imagePosition(image.reference) {
            guard images[position].manifestDigest != image.manifestDigest else { return }
            images[position] = image
            return change.note(.imageRegistered, image.reference, "moved to \(message)")
        }
        guard images.count < Limits.images else {
            throw CommandRefusal(.tooMany, "the cluster knows \(Limits.images) images already")
        }
        let place = images.lowerBound(of: image.reference) { $0.reference }
        images.insert(image, at: place)
        change.note(.imageRegistered, image.reference, message)
    }
}

extension ServiceSpec {
    /// What a new revision is about: all but how many sets there are and how important they are.
    var template: ServiceSpec {
        var template = self
        template.sets = 0
        template.priority = 0
        return template
    }
}

extension ServiceRecord {
    /// The last revisions, and older ones that placed sets still run or have the limits of.
    fileprivate var revisionsWorthKeeping: [ServiceRevision] {
        let recent = revisions.count - (Limits.revisions - 1)
        guard recent > 0 else { return revisions }
        let used = slots.flatMap { slot in
            [slot.placement?.revision, slot.placement == nil ? nil : slot.report?.revision]
                .compactMap(\.self)
        }.sorted()
        return revisions.enumerated().filter { position, revision in
            position >= recent || used.position(of: revision.number, by: { $0 }) != nil
        }.map(\.element)
    }
}
