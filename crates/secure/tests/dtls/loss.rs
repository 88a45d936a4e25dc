//! Client and server in virtual time, with a network between them that loses, doubles and reorders.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::net::SocketAddr;

use secure::dtls::{
    Class, ContentType, Cookies, Established, Handshake, HandshakeFailure, HandshakeOutput,
    HelloOutcome, Job, ServerIdentity, classify,
};
use secure::p256::SigningKey;

use crate::client::{Client, Kind};
use crate::support::{DeterministicP256, answer_repetition, config};

#[test]
fn every_kind_of_client_gets_through_a_perfect_network_in_six_datagrams() {
    for kind in [Kind::Device, Kind::DeviceWithCid, Kind::Standard] {
        let mut world = World::new(kind, 7, Weather::calm());
        world.run();
        assert!(world.both_are_done(), "{kind:?}");
        assert_eq!(world.datagrams, 6, "{kind:?}");
        assert_eq!(world.client.saw_certificate, kind == Kind::Standard);
        world.talk();
    }
}

#[test]
fn all_handshakes_succeed_when_one_datagram_in_ten_is_lost() {
    for seed in 0..60 {
        let mut world =
            World::new(kind_of(seed), seed, Weather { loss: 10, double: 10, jitter: 400 });
        world.run();
        assert!(world.both_are_done(), "seed {seed}");
        world.talk();
    }
}

#[test]
fn nearly_all_handshakes_succeed_when_one_datagram_in_four_is_lost() {
    let seeds = 60;
    let done = (0..seeds).filter(|seed| {
        let weather = Weather { loss: 25, double: 10, jitter: 1500 };
        let mut world = World::new(kind_of(*seed), *seed, weather);
        world.run();
        world.both_are_done()
    });
    let done = done.count();
    assert!(done >= 57, "{done} of {seeds}");
}

#[test]
fn a_lost_server_flight_is_repeated_before_the_client_asks() {
    let mut world = World::new(Kind::DeviceWithCid, 1, Weather::calm());
    world.lose_from_server = vec![1];
    world.run();
    assert!(world.both_are_done());
    assert!(world.now < 3_000_000, "{}", world.now);
}

#[test]
fn a_lost_final_flight_is_repeated_under_fresh_numbers_when_the_client_repeats_its_own() {
    for kind in [Kind::Device, Kind::DeviceWithCid, Kind::Standard] {
        let mut world = World::new(kind, 1, Weather::calm());
        world.lose_from_server = vec![2, 3];
        world.run();
        assert!(world.both_are_done(), "{kind:?}");
        let session = &world.server.established.as_ref().unwrap().session;
        assert_eq!(session.next_record_number(), 3, "two repetitions of the Finished");
        world.talk();
    }
}

#[test]
fn a_silent_client_is_given_up_after_a_minute() {
    let mut world = World::new(Kind::Device, 1, Weather::calm());
    world.lose_from_client_after = Some(2);
    world.run();
    assert_eq!(world.server.failed, Some(HandshakeFailure::TimedOut));
    assert!((60_000_000..61_000_000).contains(&world.now), "{}", world.now);
    assert_eq!(world.server.sent, 6, "one verify request, the flight five times");
}

fn kind_of(seed: u64) -> Kind {
    [Kind::Device, Kind::DeviceWithCid, Kind::Standard][(seed % 3) as usize]
}

/// Chances in a hundred, and the most that a datagram is late, in milliseconds.
struct Weather {
    loss: u64,
    double: u64,
    jitter: u64,
}

impl Weather {
    fn calm() -> Self {
        Self { loss: 0, double: 0, jitter: 0 }
    }
}

enum Arrival {
    AtServer(Vec<u8>),
    AtClient(Vec<u8>),
    KeyAnswer,
    JobAnswer(Job),
}

struct World {
    now: u64,
    random: u64,
    weather: Weather,
    client: Client,
    server: Server,
    /// By arrival time, then by order of sending.
    under_way: BinaryHeap<Reverse<(u64, u64)>>,
    arrivals: Vec<Option<Arrival>>,
    datagrams: usize,
    from_client: usize,
    lose_from_server: Vec<usize>,
    lose_from_client_after: Option<usize>,
}

impl World {
    fn new(kind: Kind, seed: u64, weather: Weather) -> Self {
        Self {
            now: 0,
            random: seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1,
            weather,
            client: Client::new(kind, seed as u8),
            server: Server::new(),
            under_way: BinaryHeap::new(),
            arrivals: Vec::new(),
            datagrams: 0,
            from_client: 0,
            lose_from_server: Vec::new(),
            lose_from_client_after: None,
        }
    }

    fn both_are_done(&self) -> bool {
        self.client.is_done && self.server.established.is_some()
    }

    fn run(&mut self) {
        self.client.start(self.now);
        loop {
            self.collect();
            if self.both_are_done() || self.server.failed.is_some() {
                return;
            }
            let arrival = self.under_way.peek().map(|next| next.0.0);
            let server = self.server.handshake.as_ref().and_then(Handshake::next_timeout);
            let next = [arrival, self.client.due(), server].into_iter().flatten().min();
            self.now = next.expect("something is always due until it is over");
            if self.now > 90_000_000 {
                return;
            }
            self.step();
        }
    }

    fn step(&mut self) {
        while let Some(Reverse((at, index))) = self.under_way.peek().copied() {
            if at > self.now {
                break;
            }
            self.under_way.pop();
            match self.arrivals[index as usize].take().unwrap() {
                Arrival::AtServer(mut bytes) => self.server.handle_datagram(self.now, &mut bytes),
                Arrival::AtClient(mut bytes) => drop(self.client.handle(self.now, &mut bytes)),
                Arrival::KeyAnswer => self.server.handshake().key_known(true),
                Arrival::JobAnswer(job) => {
                    let done = job.run(&self.server.p256, &self.server.identity);
                    self.server.handshake().job_done(self.now, done);
                }
            }
        }
        self.client.handle_timeout(self.now);
        if let Some(handshake) = &mut self.server.handshake {
            handshake.handle_timeout(self.now);
        }
    }

    fn collect(&mut self) {
        for datagram in std::mem::take(&mut self.client.outputs) {
            self.from_client += 1;
            if self.lose_from_client_after.is_none_or(|last| self.from_client <= last) {
                self.carry(datagram, Arrival::AtServer);
            }
        }
        self.server.poll();
        for datagram in std::mem::take(&mut self.server.outputs) {
            self.server.sent += 1;
            if !self.lose_from_server.contains(&(self.server.sent - 1)) {
                self.carry(datagram, Arrival::AtClient);
            }
        }
        if std::mem::take(&mut self.server.asks_for_key) {
            let late = self.draw(20_000);
            self.put(late, Arrival::KeyAnswer);
        }
        for job in std::mem::take(&mut self.server.jobs) {
            let late = self.draw(50_000);
            self.put(late, Arrival::JobAnswer(job));
        }
    }

    fn carry(&mut self, datagram: Vec<u8>, arrival: impl Fn(Vec<u8>) -> Arrival) {
        self.datagrams += 1;
        let copies = 1 + u64::from(self.draw(100) < self.weather.double);
        for _ in 0..copies {
            if self.draw(100) >= self.weather.loss {
                let late = 10_000 + self.draw(1 + self.weather.jitter * 1000);
                self.put(late, arrival(datagram.clone()));
            }
        }
    }

    fn put(&mut self, late: u64, arrival: Arrival) {
        self.under_way.push(Reverse((self.now + late, self.arrivals.len() as u64)));
        self.arrivals.push(Some(arrival));
    }

    /// Below `bound`.
    fn draw(&mut self, bound: u64) -> u64 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        (self.random >> 11) % bound
    }

    /// Both ends understand each other.
    fn talk(&mut self) {
        let server = &mut self.server.established.as_mut().unwrap().session;
        let client = self.client.session.as_mut().unwrap();
        let mut record = Vec::new();
        client.seal(ContentType::ApplicationData, b"hello", &mut record).unwrap();
        assert_eq!(server.open(&mut record).unwrap().plaintext, b"hello");
        record.clear();
        server.seal(ContentType::ApplicationData, b"welcome", &mut record).unwrap();
        assert_eq!(client.open(&mut record).unwrap().plaintext, b"welcome");
    }
}

/// As much of an endpoint as one client needs.
struct Server {
    cookies: Cookies,
    identity: ServerIdentity,
    p256: DeterministicP256,
    handshake: Option<Handshake>,
    established: Option<Box<Established>>,
    failed: Option<HandshakeFailure>,
    asks_for_key: bool,
    jobs: Vec<Job>,
    outputs: Vec<Vec<u8>>,
    sent: usize,
}

impl Server {
    fn new() -> Self {
        Self {
            cookies: Cookies::new([1; 32]),
            identity: ServerIdentity::new(SigningKey::from_scalar(&[2; 32]).unwrap(), None),
            p256: DeterministicP256::new(),
            handshake: None,
            established: None,
            failed: None,
            asks_for_key: false,
            jobs: Vec::new(),
            outputs: Vec::new(),
            sent: 0,
        }
    }

    fn handshake(&mut self) -> &mut Handshake {
        self.handshake.as_mut().unwrap()
    }

    fn handle_datagram(&mut self, now: u64, bytes: &mut [u8]) {
        match classify(bytes) {
            Class::ClientHello => self.handle_hello(now, bytes),
            Class::Plain | Class::Cid(_) => self.handle_record(now, bytes),
            Class::Noise | Class::Moved(_) => panic!(),
        }
    }

    fn handle_hello(&mut self, now: u64, bytes: &mut [u8]) {
        let peer: SocketAddr = "192.0.2.7:5000".parse().unwrap();
        match self.cookies.answer(now, peer, bytes) {
            HelloOutcome::Verify(datagram) => self.outputs.push(datagram),
            HelloOutcome::Accepted(hello) => match &mut self.handshake {
                Some(handshake) if *handshake.client_random() == hello.random => {
                    handshake.handle_datagram(now, bytes);
                }
                _ => self.handshake = Some(Handshake::new(now, &hello, config())),
            },
            HelloOutcome::Refused(_) | HelloOutcome::Noise => panic!(),
        }
    }

    fn handle_record(&mut self, now: u64, bytes: &mut [u8]) {
        if let Some(established) = &mut self.established {
            self.outputs.extend(answer_repetition(established, bytes));
        } else if let Some(handshake) = &mut self.handshake {
            handshake.handle_datagram(now, bytes);
        }
    }

    fn poll(&mut self) {
        while let Some(output) = self.handshake.as_mut().and_then(Handshake::poll) {
            match output {
                HandshakeOutput::Send(datagram) => self.outputs.push(datagram),
                HandshakeOutput::NeedKey { .. } => self.asks_for_key = true,
                HandshakeOutput::Job(job) => self.jobs.push(job),
                HandshakeOutput::Established(established) => self.established = Some(established),
                HandshakeOutput::Failed(failure) => self.failed = Some(failure),
            }
        }
    }
}
