//! A UDP relay between one device and the server: it records what passes, and can be told to lose
//! datagrams. The server sees a new port when the device has one.

use std::collections::HashMap;
use std::io::ErrorKind;
use std::net::{SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

/// IPv4 and UDP headers of a datagram, in bytes.
pub const HEADERS: usize = 28;
/// How often a thread looks whether to stop.
const TURN: Duration = Duration::from_millis(200);

/// Who sent a datagram.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum From {
    Device,
    Server,
}

/// A datagram that passed or was lost on purpose.
#[derive(Debug, Clone)]
pub struct Datagram {
    pub from: From,
    /// The device's address at the time.
    pub device: SocketAddr,
    pub bytes: Vec<u8>,
}

/// See the module.
pub struct Relay {
    /// Where the device sends to.
    pub address: SocketAddr,
    state: Arc<State>,
    thread: Option<JoinHandle<()>>,
}

struct State {
    server: SocketAddr,
    front: UdpSocket,
    passed: Mutex<Vec<Datagram>>,
    loses_answers: AtomicBool,
    stop: AtomicBool,
    /// Where the newest address of the device comes out.
    back: Mutex<Option<Arc<UdpSocket>>>,
}

impl Relay {
    /// A relay to a server, on a free port.
    pub fn new(server: SocketAddr) -> Self {
        let front = UdpSocket::bind("127.0.0.1:0").expect("a port");
        front.set_read_timeout(Some(TURN)).expect("a timeout");
        let address = front.local_addr().expect("an address");
        let (passed, loses_answers, stop, back) = Default::default();
        let state = Arc::new(State { server, front, passed, loses_answers, stop, back });
        let running = Arc::clone(&state);
        let thread = Some(std::thread::spawn(move || running.carry_up()));
        Self { address, state, thread }
    }

    /// What passed so far, lost ones included, oldest first.
    pub fn passed(&self) -> Vec<Datagram> {
        self.state.passed.lock().expect("no panic").clone()
    }

    /// Forgets what passed.
    pub fn forget(&self) {
        self.state.passed.lock().expect("no panic").clear();
    }

    /// Sends a datagram to the server from the device's own address, as anybody in the path can.
    pub fn forge(&self, datagram: &[u8]) {
        let back = self.state.back.lock().expect("no panic");
        back.as_ref().expect("the device has spoken").send(datagram).expect("sent");
    }

    /// Whether what the server sends is lost from now on.
    pub fn lose_answers(&self, lose: bool) {
        self.state.loses_answers.store(lose, Ordering::SeqCst);
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.state.stop.store(true, Ordering::SeqCst);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl State {
    fn carry_up(self: Arc<Self>) {
        let mut threads = Vec::new();
        let mut sockets: HashMap<SocketAddr, Arc<UdpSocket>> = HashMap::new();
        while let Some((bytes, device)) = self.next(|buffer| self.front.recv_from(buffer)) {
            let back = sockets.entry(device).or_insert_with(|| {
                let back = Arc::new(self.open());
                let (state, socket) = (Arc::clone(&self), Arc::clone(&back));
                threads.push(std::thread::spawn(move || state.carry_down(&socket, device)));
                *self.back.lock().expect("no panic") = Some(Arc::clone(&back));
                back
            });
            self.record(From::Device, device, &bytes);
            // A server that is not there loses it.
            let _ = back.send(&bytes);
        }
        threads.into_iter().for_each(|thread| drop(thread.join()));
    }

    fn carry_down(&self, socket: &UdpSocket, device: SocketAddr) {
        let receive = |buffer: &mut [u8]| socket.recv(buffer).map(|length| (length, device));
        while let Some((bytes, _)) = self.next(receive) {
            self.record(From::Server, device, &bytes);
            if !self.loses_answers.load(Ordering::SeqCst) {
                let _ = self.front.send_to(&bytes, device);
            }
        }
    }

    fn open(&self) -> UdpSocket {
        let socket = UdpSocket::bind("127.0.0.1:0").expect("a port");
        socket.connect(self.server).expect("an address");
        socket.set_read_timeout(Some(TURN)).expect("a timeout");
        socket
    }

    /// The next datagram; `None` once the relay is to stop.
    fn next(
        &self,
        mut receive: impl FnMut(&mut [u8]) -> std::io::Result<(usize, SocketAddr)>,
    ) -> Option<(Vec<u8>, SocketAddr)> {
        let mut buffer = [0; 2048];
        while !self.stop.load(Ordering::SeqCst) {
            match receive(&mut buffer) {
                Ok((length, from)) => return Some((buffer[..length].to_vec(), from)),
                // A port that nobody listens on is told once for each datagram sent to it.
                Err(why) if why.kind() == ErrorKind::ConnectionRefused => {}
                Err(_) => {}
            }
        }
        None
    }

    fn record(&self, from: From, device: SocketAddr, bytes: &[u8]) {
        let datagram = Datagram { from, device, bytes: bytes.to_vec() };
        self.passed.lock().expect("no panic").push(datagram);
    }
}

/// A DTLS record inside a datagram.
#[derive(Debug, Clone, Copy)]
pub struct Record<'a> {
    pub kind: u8,
    pub epoch: u16,
    pub body: &'a [u8],
}

/// The records of a datagram of the server: none of them has a connection id.
pub fn records(datagram: &[u8]) -> Vec<Record<'_>> {
    let (mut records, mut rest) = (Vec::new(), datagram);
    while let Some((header, tail)) = rest.split_first_chunk::<13>() {
        let length = usize::from(u16::from_be_bytes([header[11], header[12]]));
        let (body, next) = tail.split_at_checked(length).expect("a whole record");
        let epoch = u16::from_be_bytes([header[3], header[4]]);
        records.push(Record { kind: header[0], epoch, body });
        rest = next;
    }
    assert!(rest.is_empty(), "{} bytes behind the last record", rest.len());
    records
}
