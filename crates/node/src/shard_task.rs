//! The thread of one shard: waits, reads, lets the machines work, writes.
//!
//! ```text
//!            notices (commits, jobs)   inbox (callers, TCP, other shards)   socket   timers
//!                      └──────────────────────────┬────────────────────────────┴───────┘
//!                                              one turn: everything that waits, Now read once
//!                                                 │
//!                 records → commit      events → streams, other shards      datagrams → socket
//! ```

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use model::{Mono, Now};
use tokio::io::Interest;
use tokio::net::UdpSocket;
use tokio::sync::oneshot;
use tokio::time::sleep_until;

use crate::carry::Carrier;
use crate::mail::{Mail, Mails, Notice};
use crate::metrics;
use crate::polled::ShardMetrics;
use crate::shared::Shared;
use crate::udp::{self, BATCH, ReceiveBatch, SendBatch, Sent};

/// Batches of datagrams of one turn; what waits behind them is served in between.
const BATCHES_PER_TURN: usize = 4;
/// Mails of one turn.
const MAILS_PER_TURN: usize = 256;
/// Records that wait for the journal. With more of them no datagram is read, so that the kernel's
/// buffer takes the load and then drops the newest, and no mail is taken, so that TCP devices wait
/// and callers are refused once the inbox is full.
const RECORDS_WAITING_MAX: u64 = 65_536;
/// Datagrams that wait for the socket; with more of them none is read.
const TRANSMITS_WAITING_MAX: usize = 4096;
/// With more than this many waiting (timers go on) all are dropped: devices repeat themselves.
const TRANSMITS_KEPT_MAX: usize = 65_536;
/// The kernel is asked for news at least once in so many turns.
const TURNS_PER_YIELD: u32 = 16;
/// So many handshakes at once are a storm. Their arithmetic takes so long that nobody notices the pause
/// between two turns, in which datagrams and results gather: each wake of the thread costs about as
/// much as a twentieth of a handshake.
const STORM: usize = 64;
const STORM_PAUSE: Duration = Duration::from_millis(1);
const METRICS_EACH: Duration = Duration::from_secs(1);

/// One shard at work. Made and run on its own thread.
pub(crate) struct ShardTask {
    carrier: Carrier,
    mails: Mails,
    /// Mails taken since the start.
    mails_taken: u64,
    /// Ends of TCP connections, each with the number of mails to be taken before: the last bytes of the
    /// device are among them. In the order of their coming.
    closings: VecDeque<(u64, Notice)>,
    shared: Arc<Shared>,
    socket: UdpSocket,
    receive: ReceiveBatch,
    send: SendBatch,
    /// Datagrams of the endpoint's that are gone already, and those that are not.
    sent: usize,
    unsent: usize,
    reading: bool,
    stop: Option<oneshot::Sender<()>>,
    metrics: ShardMetrics,
    metrics_due: Mono,
}

/// What a shard woke up for.
enum Wake {
    Mail(Mail),
    Notice(Notice),
    Other,
}

impl ShardTask {
    /// To be called in the runtime of the thread.
    pub(crate) fn new(
        carrier: Carrier,
        mails: Mails,
        shared: Arc<Shared>,
        socket: std::net::UdpSocket,
    ) -> io::Result<Self> {
        let (receive, send) = udp::batches(&socket)?;
        Ok(Self {
            carrier,
            mails,
            mails_taken: 0,
            closings: VecDeque::new(),
            shared,
            socket: UdpSocket::from_std(socket)?,
            receive,
            send,
            sent: 0,
            unsent: 0,
            reading: true,
            stop: None,
            metrics: ShardMetrics::default(),
            metrics_due: Mono::default(),
        })
    }

    /// Serves until it is stopped.
    pub(crate) async fn run(mut self) {
        for turn in 1_u32.. {
            let wake = self.wait().await;
            self.turn(wake);
            if self.is_finished() {
                return;
            }
            if self.carrier.endpoint.handshakes_open() >= STORM {
                // The thread is the shard's own.
                std::thread::sleep(STORM_PAUSE);
            }
            if turn.is_multiple_of(TURNS_PER_YIELD) {
                tokio::task::yield_now().await;
            }
        }
    }

    async fn wait(&mut self) -> Wake {
        let due = self.next_due();
        let (reads, writes, has_room) = (self.reads(), self.unsent > 0, self.has_room());
        tokio::select! {
            biased;
            Some(notice) = self.mails.notices.recv() => Wake::Notice(notice),
            Some(mail) = self.mails.inbox.recv(), if has_room => Wake::Mail(mail),
            _ = self.socket.readable(), if reads => Wake::Other,
            _ = self.socket.writable(), if writes => Wake::Other,
            () = sleep_until(self.shared.clock.instant(due).into()) => Wake::Other,
        }
    }

    fn next_due(&self) -> Mono {
        let machines = [self.carrier.endpoint.next_timeout(), self.carrier.shard.next_timeout()];
        machines.into_iter().flatten().fold(self.metrics_due, Mono::min)
    }

    fn turn(&mut self, wake: Wake) {
        let now = self.shared.clock.now();
        match wake {
            Wake::Mail(mail) => self.mail(now, mail),
            Wake::Notice(notice) => self.notice(now, notice),
            Wake::Other => {}
        }
        self.take_notices(now);
        self.take_mails(now);
        self.take_datagrams(now);
        self.carrier.timeouts(now);
        self.carrier.let_out();
        self.transmit();
        self.poll_metrics(now);
    }

    /// All of them: they let acknowledgements go and are few for each batch of work.
    fn take_notices(&mut self, now: Now) {
        for _ in 0..self.mails.notices.len() {
            let Ok(notice) = self.mails.notices.try_recv() else { return };
            self.notice(now, notice);
        }
    }

    fn notice(&mut self, now: Now, notice: Notice) {
        match notice {
            Notice::Quiesce => {
                self.reading = false;
                self.carrier.tell_all(now);
            }
            Notice::Stop(done) => self.stop = Some(done),
            Notice::Closed { .. } => {
                let before = self.mails_taken + self.mails.inbox.len() as u64;
                self.closings.push_back((before, notice));
                self.close_read(now);
            }
            Notice::AddressTaken { .. }
            | Notice::Answer(_)
            | Notice::Commit(_)
            | Notice::Input(_)
            | Notice::Traffic { .. } => {
                self.carrier.notice(now, notice);
            }
        }
    }

    fn take_mails(&mut self, now: Now) {
        for _ in 0..MAILS_PER_TURN {
            if !self.has_room() {
                return;
            }
            let Ok(mail) = self.mails.inbox.try_recv() else { return };
            self.mail(now, mail);
        }
    }

    fn mail(&mut self, now: Now, mail: Mail) {
        self.mails_taken += 1;
        match mail {
            // Nothing begins any more. The caller, whose sender is dropped here, is refused.
            Mail::Attach(_) | Mail::Request { .. } if self.stop.is_some() => {}
            mail => self.carrier.mail(now, mail),
        }
        self.close_read(now);
    }

    /// Ends the TCP connections of which everything was read.
    fn close_read(&mut self, now: Now) {
        while self.closings.front().is_some_and(|(before, _)| *before <= self.mails_taken) {
            let Some((_, notice)) = self.closings.pop_front() else { return };
            self.carrier.notice(now, notice);
        }
    }

    fn take_datagrams(&mut self, now: Now) {
        for _ in 0..BATCHES_PER_TURN {
            if !self.reads() || !self.receive_batch(now) {
                return;
            }
        }
    }

    /// Whether more may wait in the socket.
    fn receive_batch(&mut self, now: Now) -> bool {
        let mut received = 0;
        let receive = &mut self.receive;
        // A batch that is not full emptied the socket; to say so saves the call that would find
        // nothing. A datagram that comes meanwhile wakes the thread again.
        let socket = &self.socket;
        let full = socket.try_io(Interest::READABLE, || {
            received = receive.receive(socket)?;
            if received == BATCH { Ok(()) } else { Err(io::ErrorKind::WouldBlock.into()) }
        });
        for index in 0..received {
            if let Some((from, bytes)) = self.receive.datagram(index) {
                self.carrier.datagram(now, from, bytes, false);
            }
        }
        full.is_ok()
    }

    /// The server takes no more than it can write down and send.
    fn reads(&self) -> bool {
        self.reading && self.has_room() && self.unsent < TRANSMITS_WAITING_MAX
    }

    /// What is taken may become records.
    fn has_room(&self) -> bool {
        self.carrier.records_waiting() < RECORDS_WAITING_MAX
    }

    /// Sends what the endpoint gave out, as far as the socket takes it.
    fn transmit(&mut self) {
        let transmits = self.carrier.endpoint.transmits();
        while self.sent < transmits.len() {
            let (socket, send, sent) = (&self.socket, &mut self.send, self.sent);
            let outcome = socket.try_io(Interest::WRITABLE, || {
                match send.send(socket, transmits.iter().skip(sent)) {
                    Sent::WouldBlock => Err(io::ErrorKind::WouldBlock.into()),
                    outcome @ (Sent::Some(_) | Sent::FirstFailed) => Ok(outcome),
                }
            });
            match outcome {
                Ok(Sent::Some(count)) => self.sent += count,
                Ok(Sent::FirstFailed | Sent::WouldBlock) => {
                    metrics::datagram_dropped("send_failed");
                    self.sent += 1;
                }
                Err(_) => break,
            }
        }
        self.unsent = transmits.len() - self.sent;
        if self.unsent > TRANSMITS_KEPT_MAX {
            metrics::datagrams_dropped("send_buffer_full", self.unsent);
            self.unsent = 0;
        }
        if self.unsent == 0 {
            transmits.clear();
            self.sent = 0;
        }
    }

    fn poll_metrics(&mut self, now: Now) {
        if now.mono < self.metrics_due {
            return;
        }
        self.metrics_due = now.mono.after(METRICS_EACH);
        let Carrier { endpoint, shard, .. } = &self.carrier;
        self.metrics.poll(endpoint.counters(), shard.counters(), self.carrier.records_waiting());
    }

    /// Nothing waits any more, the last bytes of TCP devices neither; what the last commit let go has
    /// left, too.
    fn is_finished(&self) -> bool {
        self.stop.is_some()
            && self.carrier.records_waiting() == 0
            && self.mails.inbox.is_empty()
            && self.unsent == 0
    }
}

#[cfg(test)]
mod tests {
    use model::{AccountId, Event, EventId, EventName, Origin, RequestId};
    use protocol::endpoint::{Endpoint, EndpointConfig};
    use router::{Request, Shard, ShardConfig};
    use secure::keys::ServerKeys;
    use store::Store;

    use super::*;
    use crate::commit::CommitNotice;
    use crate::mail::Mailbox;
    use crate::{EventStream, Node, NodeConfig, StreamBound, StreamFilter, StreamItem};

    /// A shard of this number, which no shard of the node has, that is not told what became of its
    /// records.
    fn untold(shared: &Arc<Shared>, number: u8) -> (ShardTask, Mailbox) {
        let (mailbox, mails) = Mailbox::new();
        let endpoint = Endpoint::new(EndpointConfig::new(number, 4, [1; 32], [2; 32]));
        let shard = Shard::new(ShardConfig::default());
        let carrier = Carrier::new(number, endpoint, shard, Arc::clone(shared));
        let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.set_nonblocking(true).unwrap();
        (ShardTask::new(carrier, mails, Arc::clone(shared), socket).unwrap(), mailbox)
    }

    fn publish(id: u64) -> Mail {
        publish_named(id, b"a")
    }

    fn publish_named(id: u64, name: &[u8]) -> Mail {
        let event = Event {
            id: EventId(0),
            account: AccountId(1),
            origin: Origin::Api,
            product: None,
            name: EventName::parse(name).unwrap(),
            data: None,
            ttl_s: 60,
            published_at: model::Timestamp(1),
        };
        let (reply, _) = oneshot::channel();
        Mail::Request { id: RequestId(id), request: Request::Publish { event }, reply }
    }

    #[tokio::test]
    async fn while_the_journal_hangs_callers_are_refused_and_memory_does_not_grow() {
        let store = Arc::new(Store::in_memory().await.unwrap());
        let keys = ServerKeys::generate().unwrap();
        let (node, _handle) = Node::start(NodeConfig::loopback(), store, keys).await.unwrap();
        let (mut task, mailbox) = untold(&node.shared, 1);
        let mut sent = 0;
        while sent < 2 * RECORDS_WAITING_MAX {
            if mailbox.try_send("request", publish(sent)).is_ok() {
                sent += 1;
                continue;
            }
            let before = task.carrier.records_waiting();
            task.turn(Wake::Other);
            if task.carrier.records_waiting() == before {
                break;
            }
        }
        assert_eq!(task.carrier.records_waiting(), RECORDS_WAITING_MAX);

        let records = 1..=RECORDS_WAITING_MAX;
        let first_event_id = EventId(1);
        mailbox.notify(Notice::Commit(CommitNotice::Committed { records, first_event_id }));
        task.turn(Wake::Other);
        assert_eq!(task.carrier.records_waiting(), MAILS_PER_TURN as u64);
        node.stop().await;
    }

    #[tokio::test]
    async fn a_shard_that_stops_refuses_callers_and_ends_when_its_records_are_durable() {
        let store = Arc::new(Store::in_memory().await.unwrap());
        let keys = ServerKeys::generate().unwrap();
        let (node, _handle) = Node::start(NodeConfig::loopback(), store, keys).await.unwrap();
        let (mut task, mailbox) = untold(&node.shared, 1);
        mailbox.try_send("request", publish(1)).unwrap();
        task.turn(Wake::Other);
        let (end, _ended) = oneshot::channel();
        mailbox.notify(Notice::Stop(end));
        let answers: Vec<_> = (2..1000)
            .map(|id| {
                let (reply, answer) = oneshot::channel();
                let Mail::Request { request, .. } = publish(id) else { unreachable!() };
                let mail = Mail::Request { id: RequestId(id), request, reply };
                mailbox.try_send("request", mail).unwrap();
                answer
            })
            .collect();
        task.turn(Wake::Other);
        assert!(!task.is_finished(), "a record is not durable");

        let (records, first_event_id) = (1..=1, EventId(1));
        mailbox.notify(Notice::Commit(CommitNotice::Committed { records, first_event_id }));
        let turns = (1..10).find(|_| {
            task.turn(Wake::Other);
            task.is_finished()
        });
        assert!(turns.is_some());
        assert_eq!(task.carrier.records_waiting(), 0);
        for answer in answers {
            assert!(answer.await.is_err(), "the caller is told that the server is unavailable");
        }
        node.stop().await;
    }

    fn names(stream: &mut EventStream) -> Vec<String> {
        let taken = std::iter::from_fn(|| stream.take());
        let events = taken.flat_map(|item| match item {
            StreamItem::Events(events) => events,
            other => panic!("events expected, got {other:?}"),
        });
        events.map(|event| event.name.as_str().to_owned()).collect()
    }

    #[tokio::test]
    async fn a_slow_shards_events_reach_the_streams_before_the_later_ones_of_a_fast_shard() {
        let store = Arc::new(Store::in_memory().await.unwrap());
        let keys = ServerKeys::generate().unwrap();
        let (node, handle) = Node::start(NodeConfig::loopback(), store, keys).await.unwrap();
        let filter = StreamFilter::account(AccountId(1));
        let mut stream = node.shared.hub.subscribe(filter, StreamBound::default());
        let (mut slow, slow_box) = untold(&node.shared, 1);
        let (mut fast, fast_box) = untold(&node.shared, 2);
        for (task, mailbox, name) in
            [(&mut slow, &slow_box, b"first"), (&mut fast, &fast_box, b"later")]
        {
            mailbox.try_send("request", publish_named(1, name)).unwrap();
            task.turn(Wake::Other);
        }
        // Durable behind them, so that they are, too.
        let name = EventName::parse(b"last").unwrap();
        handle.publish(AccountId(2), name, None, 60).await.unwrap();

        for (task, mailbox, id) in [(&mut fast, fast_box, 2), (&mut slow, slow_box, 1)] {
            let (records, first_event_id) = (1..=1, EventId(id));
            mailbox.notify(Notice::Commit(CommitNotice::Committed { records, first_event_id }));
            task.turn(Wake::Other);
        }
        assert_eq!(names(&mut stream), ["first", "later"]);
        node.stop().await;
    }
}
