//! Confirmable publishes of 64 bytes: how many, and how soon they are on a stream.

use std::time::{Duration, Instant};

use model::EventName;
use protocol::coap::{Code, Header, Token};
use protocol::message::event::{Form, PublishRequest, emit};
use secure::dtls::ContentType;

use crate::Outcome;
use crate::devices::Peer;
use crate::load::Talk;
use crate::stream::{STAMP_BYTES, Stamp};
use crate::wire::Wire;

const DATA_BYTES: usize = 64;
/// No device subscribes to it.
const NAME: &[u8] = b"bench/value";

/// Devices that publish.
pub(crate) struct Publishers {
    peers: Vec<Peer>,
    /// The message of every publish but for its id and, at the beginning of its data, its time.
    message: Vec<u8>,
}

/// The ceiling: a datagram of the same size, and no cryptography.
pub(crate) struct Mirror {
    devices: usize,
    datagram: Vec<u8>,
}

impl Publishers {
    pub(crate) fn new(peers: Vec<Peer>) -> Outcome<Self> {
        let request = PublishRequest {
            name: EventName::parse(NAME)?,
            format: 0,
            ttl_s: 60,
            payload: &[b'0'; DATA_BYTES],
            block: None,
            request_tag: None,
            no_response: None,
        };
        let mut message = Vec::new();
        let header = Header::confirmable(Code::POST, 0, Token::EMPTY);
        emit(&request, Form::Typed, header, &mut message);
        Ok(Self { peers, message })
    }

    pub(crate) fn peer(&mut self, device: usize) -> Option<&mut Peer> {
        self.peers.get_mut(device)
    }

    /// A mirror with datagrams as large as a publish.
    pub(crate) fn mirror(&mut self) -> Mirror {
        let mut datagram = Vec::new();
        self.ask(0, &mut datagram);
        Mirror { devices: self.peers.len(), datagram }
    }

    /// Publishes so often a second for a while, whatever the answers do, each with the time at which
    /// it was due.
    pub(crate) fn open_loop(
        &mut self,
        wire: &mut Wire,
        per_s: f64,
        span: Duration,
        clock: Instant,
    ) -> Outcome {
        let (begun, mut out) = (Instant::now(), Vec::new());
        let total = (per_s * span.as_secs_f64()) as u64;
        for number in 0..total {
            let due = begun + Duration::from_secs_f64(number as f64 / per_s);
            while let Some(left) = due.checked_duration_since(Instant::now()) {
                self.hear_all(wire)?;
                std::thread::sleep(left.min(Duration::from_micros(200)));
            }
            let device = number as usize % self.peers.len();
            self.stamp(Stamp::of(due.duration_since(clock)));
            out.clear();
            self.ask(device, &mut out);
            wire.send(device, &out);
        }
        self.stamp(Stamp::NONE);
        std::thread::sleep(Duration::from_millis(100));
        self.hear_all(wire)
    }

    fn hear_all(&mut self, wire: &mut Wire) -> Outcome {
        loop {
            let count = wire.receive(Duration::ZERO)?;
            for place in 0..count {
                let (device, datagram) = wire.datagram(place);
                self.is_answer(device, datagram);
            }
            if count == 0 {
                return Ok(());
            }
        }
    }

    fn stamp(&mut self, stamp: Stamp) {
        let start = self.message.len() - DATA_BYTES;
        self.message[start..start + STAMP_BYTES].copy_from_slice(&stamp.digits());
    }
}

impl Talk for Publishers {
    fn devices(&self) -> usize {
        self.peers.len()
    }

    fn ask(&mut self, device: usize, out: &mut Vec<u8>) {
        let peer = &mut self.peers[device];
        peer.message_id = peer.message_id.wrapping_add(1);
        self.message[2..4].copy_from_slice(&peer.message_id.to_be_bytes());
        let sealed = peer.session.seal(ContentType::ApplicationData, &self.message, out);
        debug_assert!(sealed.is_ok(), "a device's numbers are not limited");
    }

    fn is_answer(&mut self, device: usize, datagram: &mut [u8]) -> bool {
        let Some(peer) = self.peers.get_mut(device) else { return false };
        let [high, low] = peer.message_id.to_be_bytes();
        let opened = peer.session.open(datagram);
        opened.is_ok_and(|opened| opened.plaintext == [0x60, 0, high, low])
    }
}

impl Talk for Mirror {
    fn devices(&self) -> usize {
        self.devices
    }

    fn ask(&mut self, _: usize, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.datagram);
    }

    fn is_answer(&mut self, _: usize, datagram: &mut [u8]) -> bool {
        datagram.len() == self.datagram.len()
    }
}
