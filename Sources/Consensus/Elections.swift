import Base

extension ConsensusCore {
    /// True when this host votes, by its own log.
    var isVoter: Bool { voters.contains(id) }

    /// True when this host may ask to lead.
    ///
    /// That is a voter, and one whose removal is in its log but perhaps not committed: its log may
    /// be the only one long enough to win (Ongaro's thesis, 4.2.2). Such a one counts the votes of
    /// the others only, never claims the lease, and hands over at once.
    var mayCampaign: Bool {
        guard let latest = configurations.last else { return false }
        if latest.voters.contains(id) { return true }
        return latest.index > commitIndex
            && configurations.dropLast().last?.voters.contains(id) == true
    }

    /// True when so many voters are a majority.
    func isMajority(_ count: Int) -> Bool { count > voters.count / 2 }

    /// Draws a new time until which this host waits for a leaseholder.
    mutating func resetElectionDeadline(at now: Instant) {
        electionDeadline = now + random.duration(in: config.electionTimeout)
    }

    /// Does what is due.
    mutating func checkDeadlines(at now: Instant, into outputs: inout [ConsensusOutput]) {
        switch role {
        case .leaseholder:
            let overdue = handover.map { now >= $0.deadline } ?? false
            if !hearsMajority(at: now) || (overdue && handover?.told == true) {
                follow(epoch: epoch, leaseholder: nil, at: now, into: &outputs)
            } else if overdue {
                handover = nil
            }
        case .follower, .candidate:
            if mayCampaign {
                guard now >= electionDeadline else { return }
                campaign(at: now, into: &outputs)
            } else if leaseholder != nil, now >= lastHeard + config.followerSilenceMax {
                leaseholder = nil
            }
        }
    }

    /// Starts a campaign, unless the last one still waits for the disk.
    private mutating func campaign(at now: Instant, into outputs: inout [ConsensusOutput]) {
        if campaign?.ownVote != nil {
            resetElectionDeadline(at: now)
            return
        }
        if voters == [id] {
            startElection(transfer: false, at: now, into: &outputs)
            return
        }
        role = .candidate
        leaseholder = nil
        campaign = Campaign(preVote: true, granted: isVoter ? [id] : [])
        electionDeadline = now + random.duration(in: config.campaignRetry)
        let question = ConsensusMessage(
            epoch: epoch.next,
            body: .preVote(lastIndex: log.lastIndex, lastEpoch: log.lastEpoch))
        for voter in voters where voter != id { outputs.append(.send(question, to: voter)) }
    }

    /// Opens a new epoch with this host's own vote; others are asked once that is durable.
    private mutating func startElection(
        transfer: Bool, at now: Instant, into outputs: inout [ConsensusOutput]
    ) {
        role = .candidate
        leaseholder = nil
        enter(epoch: epoch.next, votedFor: id)
        let ticket = persist(hardState: hardState, into: &outputs)
        campaign = Campaign(preVote: false, transfer: transfer, granted: [], ownVote: ticket)
        resetElectionDeadline(at: now)
    }

    /// Asks for votes, now that this host's own is durable, and with it the log it speaks of.
    mutating func requestVotes(at now: Instant, into outputs: inout [ConsensusOutput]) {
        guard role == .candidate, let current = campaign, !current.preVote else { return }
        electionDeadline = now + random.duration(in: config.campaignRetry)
        let request = ConsensusMessage(
            epoch: epoch,
            body: .vote(
                lastIndex: log.lastIndex, lastEpoch: log.lastEpoch, transfer: current.transfer))
        for voter in voters where voter != id { outputs.append(.send(request, to: voter)) }
        count(voteOf: id, at: now, into: &outputs)
    }

    /// Counts a vote or a pre-vote, and goes on when there are enough.
    private mutating func count(
        voteOf voter: HostID, at now: Instant, into outputs: inout [ConsensusOutput]
    ) {
        guard role == .candidate, var current = campaign, voters.contains(voter),
            !current.granted.contains(voter)
        else { return }
        current.granted.append(voter)
        campaign = current
        guard isMajority(current.granted.count), current.ownVote == nil else { return }
        if current.preVote {
            startElection(transfer: false, at: now, into: &outputs)
        } else {
            startLeading(at: now, into: &outputs)
        }
    }

    /// Moves to a higher epoch; the caller persists it.
    private mutating func enter(epoch: Epoch, votedFor: HostID?) {
        hardState = HardState(epoch: epoch, votedFor: votedFor)
        pendingReplies = []
        heardCommit = nil
        incoming = nil
    }

    /// Becomes a follower, in a higher epoch or in this one.
    mutating func follow(
        epoch newEpoch: Epoch, leaseholder: HostID?, at now: Instant,
        into outputs: inout [ConsensusOutput]
    ) {
        if newEpoch > epoch {
            enter(epoch: newEpoch, votedFor: nil)
            persist(hardState: hardState, into: &outputs)
        }
        stopLeading(at: now)
        role = .follower
        campaign = nil
        self.leaseholder = leaseholder
    }

    // MARK: - Messages

    /// True while this host leads, or a leaseholder may count on its refusing votes to others.
    private func isLoyal(at now: Instant) -> Bool {
        role == .leaseholder || now < lastHeard + config.electionTimeout.lowerBound
    }

    /// True when a candidate's log holds at least what this one may have helped to commit.
    private func isUpToDate(_ lastIndex: LogIndex, _ lastEpoch: Epoch) -> Bool {
        (lastEpoch, lastIndex) >= (log.lastEpoch, log.lastIndex)
    }

    mutating func answerPreVote(
        epoch asked: Epoch, lastIndex: LogIndex, lastEpoch: Epoch, from candidate: HostID,
        at now: Instant, into outputs: inout [ConsensusOutput]
    ) {
        let granted = asked > epoch && !isLoyal(at: now) && isUpToDate(lastIndex, lastEpoch)
        outputs.append(
            .send(
                ConsensusMessage(
                    epoch: granted ? asked : epoch, body: .preVoteReply(granted: granted)),
                to: candidate))
    }

    mutating func answerVote(
        epoch asked: Epoch, lastIndex: LogIndex, lastEpoch: Epoch, transfer: Bool,
        from candidate: HostID, at now: Instant, into outputs: inout [ConsensusOutput]
    ) {
        // A leaseholder that told its successor to campaign has given up its lease for good, and
        // the epoch after its own is the only one in which that successor may use `transfer`.
        guard asked >= epoch, transfer || !isLoyal(at: now) else {
            refuseVote(to: candidate, into: &outputs)
            return
        }
        if asked > epoch {
            stopLeading(at: now)
            role = .follower
            campaign = nil
            leaseholder = nil
            enter(epoch: asked, votedFor: nil)
            // Persisted below, with the vote if there is one.
        } else if (hardState.votedFor ?? candidate) != candidate {
            refuseVote(to: candidate, into: &outputs)
            return
        }
        guard isUpToDate(lastIndex, lastEpoch) else {
            persist(hardState: hardState, into: &outputs)
            refuseVote(to: candidate, into: &outputs)
            return
        }
        role = .follower
        campaign = nil
        hardState.votedFor = candidate
        persist(hardState: hardState, into: &outputs)
        resetElectionDeadline(at: now)
        sendWhenDurable(
            ConsensusMessage(epoch: epoch, body: .voteReply(granted: true)), to: candidate)
    }

    private func refuseVote(to candidate: HostID, into outputs: inout [ConsensusOutput]) {
        outputs.append(
            .send(
                ConsensusMessage(epoch: epoch, body: .voteReply(granted: false)), to: candidate))
    }

    /// Takes an answer to a pre-vote or a vote.
    mutating func receiveVote(
        granted: Bool, preVote: Bool, epoch answered: Epoch, from voter: HostID,
        at now: Instant, into outputs: inout [ConsensusOutput]
    ) {
        if !granted {
            guard role == .candidate, voters.contains(voter), answered > epoch else { return }
            follow(epoch: answered, leaseholder: nil, at: now, into: &outputs)
            resetElectionDeadline(at: now)
        } else if let campaign, campaign.preVote == preVote,
            answered == (preVote ? epoch.next : epoch)
        {
            count(voteOf: voter, at: now, into: &outputs)
        }
    }

    /// The leaseholder asks this host to take over.
    mutating func takeOver(
        epoch asked: Epoch, from sender: HostID, at now: Instant,
        into outputs: inout [ConsensusOutput]
    ) {
        guard asked == epoch, role == .follower, leaseholder == sender, isVoter else { return }
        startElection(transfer: true, at: now, into: &outputs)
    }
}
