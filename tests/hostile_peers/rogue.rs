//! Registered devices with good keys and bad manners.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream, UdpSocket};
use std::sync::Arc;
use std::time::{Duration, Instant};

use model::Mono;
use secure::dtls::{ContentType, Session};
use secure::tcp::device::{open_answer, seal_credentials};
use secure::tcp::{FrameOpener, FrameSealer, NONCE_BYTES, SESSION_KEY_BYTES};
use sim::device::profile::Generation;
use sim::device::{Device, Observation, Output};
use socket2::{Domain, Protocol, Socket, Type};

use crate::messages::{NON, POST, URI_PATH, message};
use crate::support::folder::{Folder, identity};

/// How long anything may take.
const PATIENCE: Duration = Duration::from_secs(20);
/// How long one read waits.
const TURN: Duration = Duration::from_millis(2);
/// The receive buffer of a device that reads nothing; the kernel doubles it.
const SMALL_BUFFER: usize = 4096;
/// Longest segment, in bytes: with that of the loopback the kernel would keep a megabyte for a peer that
/// reads nothing.
const SEGMENT: u32 = 536;

/// A DTLS session in wrong hands.
pub(crate) struct Rogue {
    pub(crate) socket: UdpSocket,
    pub(crate) session: Session,
    next_id: u16,
}

impl Rogue {
    /// Connects device `index` as its firmware would, then takes its session.
    pub(crate) fn connect(folder: &Folder, index: u32, server: SocketAddr) -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").expect("a port");
        socket.connect(server).expect("an address");
        socket.set_read_timeout(Some(TURN)).expect("a timeout");
        let setup = Arc::new(folder.setup(Generation::Os6));
        let mut device = Device::new(identity(Generation::Os6, index), setup, u64::from(index));
        settle(&mut device, &socket);
        let (session, id) = device.into_session().expect("connected");
        Self { socket, session, next_id: id }
    }

    /// A message id that was not used.
    pub(crate) fn id(&mut self) -> u16 {
        self.next_id = self.next_id.wrapping_add(1);
        self.next_id
    }

    /// A message as the record of this session.
    pub(crate) fn seal(&mut self, content: ContentType, message: &[u8]) -> Vec<u8> {
        let mut record = Vec::new();
        self.session.seal(content, message, &mut record).expect("numbers without end");
        record
    }

    pub(crate) fn say(&mut self, message: &[u8]) {
        let record = self.seal(ContentType::ApplicationData, message);
        let _ = self.socket.send(&record);
    }

    /// The next message of the server that is there.
    pub(crate) fn hear(&mut self) -> Option<Vec<u8>> {
        let mut buffer = [0; 2048];
        let count = self.socket.recv(&mut buffer).ok()?;
        self.session.open(&mut buffer[..count]).ok().map(|opened| opened.plaintext.to_vec())
    }

    /// Throws away what the server said, without waiting.
    pub(crate) fn ignore(&mut self) {
        self.socket.set_nonblocking(true).expect("set");
        while self.socket.recv(&mut [0; 2048]).is_ok() {}
        self.socket.set_nonblocking(false).expect("set");
    }
}

fn settle(device: &mut Device, socket: &UdpSocket) {
    let began = Instant::now();
    let now = || Mono(began.elapsed().as_micros() as u64);
    device.power_on(now());
    let (mut settled, mut buffer) = (false, [0; 2048]);
    while !settled || device.unacknowledged() > 0 {
        assert!(began.elapsed() < PATIENCE, "a registered device connects");
        send_all(device, socket);
        while let Some(seen) = device.poll_observation() {
            settled |= seen == Observation::Settled;
        }
        match socket.recv(&mut buffer) {
            Ok(count) => device.handle_datagram(now(), &mut buffer[..count]),
            Err(_) => device.handle_timeout(now()),
        }
    }
    send_all(device, socket);
}

pub(crate) fn send_all(device: &mut Device, socket: &UdpSocket) {
    while let Some(output) = device.poll_output() {
        if let Output::Datagram(bytes) = output {
            let _ = socket.send(&bytes);
        }
    }
}

/// A TCP session in wrong hands.
pub(crate) struct Stream {
    pub(crate) socket: TcpStream,
    sealer: FrameSealer,
    opener: FrameOpener,
}

impl Stream {
    /// Shakes hands as TCP device `index` and says Hello.
    pub(crate) fn connect(folder: &Folder, index: u32, server: SocketAddr) -> Self {
        let identity = identity(Generation::Tcp, index);
        let key = identity.key.private_key().expect("a key");
        let trusted = folder.setup(Generation::Tcp).trust.rsa.expect("a key");
        let mut socket = open(server);
        let mut nonce = [0; NONCE_BYTES];
        socket.read_exact(&mut nonce).expect("a nonce");
        let mut fill = |bytes: &mut [u8]| bytes.fill(0x5a);
        let own = Some(key.public_key());
        let sealed = seal_credentials(&trusted, &nonce, identity.id.as_bytes(), own, &mut fill);
        socket.write_all(&sealed.expect("it fits")).expect("sent");
        let mut answer = [0; SESSION_KEY_BYTES];
        socket.read_exact(&mut answer).expect("an answer");
        let keys = open_answer(&key, &trusted, &answer).expect("its key").frame_keys();
        let (sealer, opener) = (FrameSealer::new(&keys), FrameOpener::new(&keys));
        let mut stream = Self { socket, sealer, opener };
        stream.say(&hello());
        stream.hear().expect("a Hello");
        stream
    }

    /// A message as a frame.
    pub(crate) fn seal(&mut self, message: &[u8]) -> Vec<u8> {
        let mut frame = Vec::new();
        self.sealer.seal(message, &mut frame).expect("it fits");
        frame
    }

    pub(crate) fn say(&mut self, message: &[u8]) {
        let frame = self.seal(message);
        let _ = self.socket.write_all(&frame);
    }

    /// The next message of the server; `None` when the stream ends.
    pub(crate) fn hear(&mut self) -> Option<Vec<u8>> {
        let mut byte = [0; 1];
        loop {
            self.socket.read_exact(&mut byte).ok()?;
            if let Ok(Some(message)) = self.opener.open(&mut &byte[..]) {
                return Some(message.to_vec());
            }
        }
    }
}

/// A connection that has room for little; without delay.
pub(crate) fn open(server: SocketAddr) -> TcpStream {
    open_from(Ipv4Addr::LOCALHOST, server)
}

/// The same from another address of this machine.
pub(crate) fn open_from(address: Ipv4Addr, server: SocketAddr) -> TcpStream {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, Some(Protocol::TCP)).expect("a socket");
    socket.set_recv_buffer_size(SMALL_BUFFER).expect("set");
    socket.bind(&SocketAddr::from((address, 0)).into()).expect("an address");
    socket.set_tcp_mss(SEGMENT).expect("set");
    socket.connect_timeout(&server.into(), PATIENCE).expect("connected");
    socket.set_tcp_nodelay(true).expect("set");
    socket.set_read_timeout(Some(PATIENCE)).expect("set");
    socket.into()
}

/// Closes with a reset.
pub(crate) fn reset(stream: TcpStream) {
    let socket = Socket::from(stream);
    socket.set_linger(Some(Duration::ZERO)).expect("set");
}

/// The Hello of a Photon (`messages.md` §5.2).
fn hello() -> Vec<u8> {
    let mut payload = Vec::new();
    for field in [6_u16, 0xFFFF, 0x0036, 6, 0, 3005, 960] {
        payload.extend(field.to_be_bytes());
    }
    payload.extend(102_400_u32.to_be_bytes());
    payload.extend(512_u16.to_be_bytes());
    message(NON, POST, 1, &[], &[(URI_PATH, b"h")], &payload)
}
