//! Carries what the machines say to each other, as `node` does; each thing carried is a step that may
//! be the last.

use std::net::SocketAddr;
use std::sync::Arc;

use metering::{kind_of_message, kind_of_publish};
use model::journal::Entry;
use model::link::{Command, LinkEvent, Opened, Transport};
use model::{DescribePart, DeviceId, DeviceMessage, LinkId, Mono, Now};
use protocol::endpoint::{Disposition, Need, NeedAnswer, Output, Where, shard_of};
use rand::RngExt;
use router::{ClaimOutcome, Effect, Input};

use super::commit::Notice;
use super::{Cloud, Late, Mail, Out};

impl Cloud {
    /// One batch of work of a shard: `act`, what follows from it, then what goes out.
    pub(super) fn turn(
        &mut self,
        now: Mono,
        shard: usize,
        act: impl FnOnce(&mut Self, Now, usize),
    ) {
        if self.is_dead() {
            return;
        }
        self.batch(now, shard, act);
        while !self.is_dead()
            && let Some((shard, mail)) = self.mail.pop_front()
        {
            self.batch(now, shard, |cloud, now, shard| match mail {
                Mail::Datagram { from, mut bytes } => {
                    cloud.datagram(now, shard, from, &mut bytes, true);
                }
                Mail::Input(input) => cloud.tell(now, shard, input),
                Mail::AddressTaken { link, peer } => cloud.address_taken(shard, link, peer),
            });
        }
    }

    fn batch(&mut self, now: Mono, shard: usize, act: impl FnOnce(&mut Self, Now, usize)) {
        let at = self.now(now);
        act(self, at, shard);
        self.carry(at, shard);
        self.let_out(now, shard);
        self.transmit(shard);
        self.check(shard);
    }

    pub(super) fn datagram(
        &mut self,
        now: Now,
        shard: usize,
        from: SocketAddr,
        bytes: &mut [u8],
        forwarded: bool,
    ) {
        let admits = self.commits.accepts(now.mono);
        let endpoint = &mut self.halves[shard].endpoint;
        endpoint.set_admission(admits);
        let Disposition::Forward(place) = endpoint.handle_datagram(now, from, bytes) else {
            return;
        };
        let other = match place {
            Where::Address => self.registry.shard_by_address(from),
            Where::Device(device) => self.registry.session_shard(device),
            Where::Shard(number) => Some(usize::from(number) % self.halves.len()),
        };
        if let Some(other) = other.filter(|other| !forwarded && *other != shard) {
            self.mail.push_back((other, Mail::Datagram { from, bytes: bytes.to_vec() }));
        }
    }

    pub(super) fn timeouts(&mut self, now: Now, shard: usize) {
        let half = &mut self.halves[shard];
        if half.endpoint.next_timeout().is_some_and(|at| at <= now.mono) {
            half.endpoint.handle_timeout(now);
        }
        if half.shard.next_timeout().is_some_and(|at| at <= now.mono) {
            half.shard.handle_timeout(now);
            self.effects(now, shard);
        }
    }

    pub(super) fn committed(&mut self, now: Now, shard: usize, notice: &Notice) {
        let input = match notice.first_event_id {
            Some(first_event_id) => Input::Committed { through: notice.last, first_event_id },
            None => Input::CommitFailed { from: notice.first, to: notice.last },
        };
        self.tell(now, shard, input);
    }

    pub(super) fn late_result(&mut self, now: Mono, late: Late) {
        match late {
            Late::Dtls { shard, handshake, done } => self.turn(now, shard, |cloud, now, shard| {
                let answer = NeedAnswer::Job { handshake, done };
                cloud.halves[shard].endpoint.handle_answer(now, answer);
            }),
            Late::Tcp { stream, done } => self.stream_job_done(now, stream, done),
        }
    }

    /// Tells the shard something and carries out what it wants.
    pub(super) fn tell(&mut self, now: Now, shard: usize, input: Input) {
        self.halves[shard].shard.handle(now, input);
        self.effects(now, shard);
    }

    /// Carries until the endpoint has nothing more to say.
    pub(super) fn carry(&mut self, now: Now, shard: usize) {
        while self.step()
            && let Some(output) = self.halves[shard].endpoint.poll_output()
        {
            match output {
                Output::CloseStream { link } => {
                    if let Some(stream) = self.halves[shard].streams.remove(&link) {
                        self.streams.remove(&stream);
                        self.out.push(Out::CloseStream { stream });
                    }
                }
                Output::Event(event) => {
                    self.observe(shard, &event);
                    self.tell(now, shard, Input::Link(event));
                }
                Output::Need(need) => self.need(now, shard, need),
                Output::Stream { link, bytes } => {
                    if let Some(stream) = self.halves[shard].streams.get(&link) {
                        self.out.push(Out::Stream { stream: *stream, bytes });
                    }
                }
            }
        }
    }

    fn effects(&mut self, now: Now, shard: usize) {
        while self.step()
            && let Some(effect) = self.halves[shard].shard.poll_effect()
        {
            match effect {
                Effect::Claim { device, .. } => {
                    let (outcome, row) = (ClaimOutcome::Unknown, self.registry.row(device));
                    let input = Input::Claimed { device, outcome, row };
                    self.halves[shard].shard.handle(now, input);
                }
                Effect::Command(link, command) => self.command(now, shard, link, command),
                Effect::Load { link, device } => {
                    let row = self.registry.row(device);
                    self.halves[shard].shard.handle(now, Input::Loaded { link, device, row });
                }
                Effect::Notify(event) => {
                    if !event.name.is_internal() {
                        for other in (0..self.halves.len()).filter(|other| *other != shard) {
                            let deliver = Input::Deliver(Arc::clone(&event));
                            self.mail.push_back((other, Mail::Input(deliver)));
                        }
                    }
                    self.out.push(Out::Notify { shard, event });
                }
                Effect::Record(sequence, entry) => self.record(shard, sequence, entry),
                Effect::Reply(id, result) => self.out.push(Out::Reply { id, result }),
                Effect::HandOver { device, update } => {
                    if let Some(other) = self.registry.session_shard(device) {
                        let take_over = Input::TakeOver { device, update };
                        self.mail.push_back((other, Mail::Input(take_over)));
                    }
                }
                Effect::Report(report) => self.out.push(Out::Update(report)),
            }
        }
    }

    fn command(&mut self, now: Now, shard: usize, link: LinkId, command: Command) {
        let half = &mut self.halves[shard];
        if let Command::Send { exchange, message } = &command {
            let is_free = matches!(message, model::CloudMessage::Ping);
            if kind_of_message(message).is_some() && !is_free {
                half.counted.insert((link, *exchange));
            }
            if let model::CloudMessage::Event { event, .. } = message
                && let Some(device) = half.devices.get(&link)
            {
                self.out.push(Out::Delivery { device: *device, event: Arc::clone(event) });
            }
        }
        half.endpoint.handle_command(now, link, command);
    }

    fn record(&mut self, shard: usize, sequence: u64, entry: Entry) {
        match &entry {
            Entry::Attempt { .. } => self.halves[shard].attempts -= 1,
            Entry::Copy { .. } => self.halves[shard].copies -= 1,
            Entry::Describe { device, part, .. } => {
                if let DescribePart::Application(description) = &**part {
                    self.registry.described(*device, Arc::new(description.clone()));
                }
            }
            _ => {}
        }
        self.halves[shard].records.push((sequence, entry));
    }

    fn need(&mut self, now: Now, shard: usize, need: Need) {
        let answer = match need {
            Need::Bind { link, .. } => NeedAnswer::Bind { link, bound: false },
            Need::Job { handshake, job } => {
                let done = job.run(&*self.secrets.curve, &self.secrets.identity);
                return self.later(now.mono, Late::Dtls { shard, handshake, done });
            }
            Need::Room { link } => NeedAnswer::Room { link, frames: 256 },
            Need::Owner { link, hash } => {
                NeedAnswer::Owner { link, ids: self.registry.ids_by_key(hash) }
            }
            Need::Key { handshake, hash } => {
                NeedAnswer::Key { handshake, ids: self.registry.ids_by_key(hash) }
            }
        };
        self.halves[shard].endpoint.handle_answer(now, answer);
    }

    /// Keeps the directory, and counts.
    fn observe(&mut self, shard: usize, event: &LinkEvent) {
        match event {
            LinkEvent::Opened(opened) => self.opened(shard, opened),
            LinkEvent::Moved { link, peer, .. } if self.halves[shard].peers.contains_key(link) => {
                self.heard_from(shard, *link, *peer);
            }
            LinkEvent::Closed { link, .. } => {
                self.halves[shard].devices.remove(link);
                if let Some(peer) = self.halves[shard].peers.remove(link) {
                    self.registry.address_left(peer, shard, *link);
                }
            }
            LinkEvent::Attempt { link, exchange, .. } => {
                let half = &mut self.halves[shard];
                half.attempts += i64::from(half.counted.contains(&(*link, *exchange)));
                half.last_attempt = Some((*link, *exchange));
            }
            LinkEvent::Copy { link, message: DeviceMessage::Publish(publish), .. } => {
                let device = self.halves[shard].devices.get(link).copied();
                let row = device.and_then(|device| self.registry.row(device));
                let is_owned = row.is_some_and(|row| row.account.is_some());
                let is_counted = is_owned && kind_of_publish(publish).is_some();
                self.halves[shard].copies += i64::from(is_counted);
            }
            _ => {}
        }
    }

    fn opened(&mut self, shard: usize, opened: &Opened) {
        let Opened { link, device, peer, transport, .. } = opened;
        self.halves[shard].devices.insert(*link, *device);
        if *transport == Transport::Udp && self.is_found_by_address(&opened.snapshot) {
            self.heard_from(shard, *link, *peer);
        }
        self.session_is_here(*device, shard);
    }

    pub(super) fn session_is_here(&mut self, device: DeviceId, shard: usize) {
        if let Some(before) = self.registry.session_began(device, shard) {
            self.mail.push_back((before, Mail::Input(Input::Displaced { device })));
        }
    }

    pub(super) fn is_found_by_address(&self, snapshot: &[u8]) -> bool {
        shard_of(snapshot, self.halves.len() as u8).is_none()
    }

    fn heard_from(&mut self, shard: usize, link: LinkId, peer: SocketAddr) {
        if let Some((before, link)) = self.keep_address(shard, link, peer) {
            self.mail.push_back((before, Mail::AddressTaken { link, peer }));
        }
    }

    pub(super) fn keep_address(
        &mut self,
        shard: usize,
        link: LinkId,
        peer: SocketAddr,
    ) -> Option<(usize, LinkId)> {
        if let Some(before) = self.halves[shard].peers.insert(link, peer) {
            self.registry.address_left(before, shard, link);
        }
        self.registry.address_is(peer, shard, link)
    }

    fn address_taken(&mut self, shard: usize, link: LinkId, peer: SocketAddr) {
        if !self.registry.is_heard_from(peer, shard, link) {
            self.halves[shard].endpoint.address_taken(link, peer);
        }
    }

    fn let_out(&mut self, now: Mono, shard: usize) {
        if self.step() {
            let records = &mut self.halves[shard].records;
            self.commits.submit(now, shard, records);
        }
    }

    /// A machine that stops here has sent some of it.
    fn transmit(&mut self, shard: usize) {
        let transmits = self.halves[shard].endpoint.transmits();
        let mut count = transmits.len();
        if self.fuse == Some(0) {
            count = self.random.random_range(0..=count);
        }
        let datagrams = transmits.iter().take(count);
        self.out.extend(datagrams.map(|(to, bytes)| Out::Datagram { to, bytes: bytes.to_vec() }));
        transmits.clear();
    }

    fn check(&mut self, shard: usize) {
        let half = &self.halves[shard];
        let (attempts, copies) = (half.attempts, half.copies);
        let waiting = self.commits.waiting();
        if self.is_dead() {
            return;
        }
        if attempts != 0 {
            let last =
                half.last_attempt.map(|(link, exchange)| (half.devices.get(&link), exchange));
            let what = format!("{attempts} attempts more than records of them, the last {last:?}");
            self.out.push(Out::Broken(what));
        }
        if copies < 0 {
            self.out.push(Out::Broken(format!("{copies} copies more than records of them")));
        }
        if waiting > RECORDS_WAITING_MAX {
            self.out.push(Out::Broken(format!("{waiting} records wait for the disk")));
        }
    }
}

/// See `node`: with more of them no datagram is read.
const RECORDS_WAITING_MAX: usize = 65_536;
