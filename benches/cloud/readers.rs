//! Many readers of one account's event stream, on a few threads of this process.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};

use crate::Outcome;

/// Threads that read.
const THREADS: usize = 2;
const BUFFER_BYTES: usize = 64 << 10;
/// What each event has once, whatever the pieces in which it comes.
const MARK: &[u8] = b"\ndata: {";
/// Bytes of a send of the ceiling, and the readers' behind which the sender waits.
const SEND_BYTES: usize = 200;

/// Readers of event streams, or of bare sockets.
pub(crate) struct Readers {
    counts: Arc<Vec<AtomicUsize>>,
    gaps: Arc<AtomicU64>,
    done: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

/// What is counted of a socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Unit {
    Bytes,
    Events,
}

/// Opens a stream without reading it.
pub(crate) fn open(http: SocketAddr, token: &str) -> Outcome<TcpStream> {
    let mut stream = TcpStream::connect(http)?;
    let head = format!(
        "GET /v1/devices/events HTTP/1.1\r\nHost: {http}\r\nAuthorization: Bearer {token}\r\n\r\n"
    );
    stream.write_all(head.as_bytes())?;
    Ok(stream)
}

impl Readers {
    /// Opens `count` streams; returns when each has its first bytes.
    pub(crate) fn open(http: SocketAddr, token: &str, count: usize) -> Outcome<Self> {
        let streams: Vec<TcpStream> =
            (0..count).map(|_| open(http, token)).collect::<Outcome<_>>()?;
        for mut stream in &streams {
            let mut first = [0; 1024];
            let len = stream.read(&mut first)?;
            if !first[..len].starts_with(b"HTTP/1.1 200") {
                return Err(String::from_utf8_lossy(&first[..len]).into_owned().into());
            }
        }
        Self::over(streams, Unit::Events)
    }

    fn over(streams: Vec<TcpStream>, unit: Unit) -> Outcome<Self> {
        let counts: Vec<AtomicUsize> = streams.iter().map(|_| AtomicUsize::new(0)).collect();
        let mut readers = Self {
            counts: Arc::new(counts),
            gaps: Arc::default(),
            done: Arc::default(),
            threads: Vec::new(),
        };
        let mut shares: Vec<Vec<(usize, TcpStream)>> = (0..THREADS).map(|_| Vec::new()).collect();
        for (index, stream) in streams.into_iter().enumerate() {
            stream.set_nonblocking(true)?;
            shares[index % THREADS].push((index, stream));
        }
        for share in shares {
            let (counts, done) = (Arc::clone(&readers.counts), Arc::clone(&readers.done));
            let gaps = Arc::clone(&readers.gaps);
            let share = Share::new(share, unit)?;
            readers.threads.push(std::thread::spawn(move || share.run(&counts, &gaps, &done)));
        }
        Ok(readers)
    }

    /// Events, or bytes, of all readers so far.
    pub(crate) fn total(&self) -> usize {
        self.counts.iter().map(|count| count.load(Ordering::Relaxed)).sum()
    }

    /// Those of the reader that has the fewest.
    pub(crate) fn least(&self) -> usize {
        self.counts.iter().map(|count| count.load(Ordering::Relaxed)).min().unwrap_or(0)
    }

    /// Lines that told of a gap.
    pub(crate) fn gaps(&self) -> u64 {
        self.gaps.load(Ordering::Relaxed)
    }

    /// Waits until every reader has `events`, or for `patience`.
    pub(crate) fn wait_for(&self, events: usize, patience: Duration) {
        let begun = Instant::now();
        while self.least() < events && begun.elapsed() < patience {
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Drop for Readers {
    fn drop(&mut self) {
        self.done.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

/// The sockets of one thread.
struct Share {
    epoll: Epoll,
    sockets: Vec<(usize, TcpStream)>,
    /// Bytes of [`MARK`] seen at the end of what each socket gave.
    matched: Vec<usize>,
    unit: Unit,
}

impl Share {
    fn new(sockets: Vec<(usize, TcpStream)>, unit: Unit) -> Outcome<Self> {
        let epoll = Epoll::new(EpollCreateFlags::empty())?;
        for (place, (_, socket)) in sockets.iter().enumerate() {
            epoll.add(socket.as_fd(), EpollEvent::new(EpollFlags::EPOLLIN, place as u64))?;
        }
        let matched = vec![0; sockets.len()];
        Ok(Self { epoll, sockets, matched, unit })
    }

    fn run(mut self, counts: &[AtomicUsize], gaps: &AtomicU64, done: &AtomicBool) {
        let mut events = vec![EpollEvent::empty(); 256];
        let mut buffer = vec![0; BUFFER_BYTES];
        while !done.load(Ordering::Relaxed) {
            let Ok(ready) = self.epoll.wait(&mut events, EpollTimeout::from(50_u8)) else {
                continue;
            };
            for event in &events[..ready] {
                self.read(event.data() as usize, &mut buffer, counts, gaps);
            }
        }
    }

    fn read(&mut self, place: usize, buffer: &mut [u8], counts: &[AtomicUsize], gaps: &AtomicU64) {
        let (index, socket) = &mut self.sockets[place];
        let Ok(len) = socket.read(buffer) else { return };
        if len == 0 {
            let _ = self.epoll.delete(socket.as_fd());
            return;
        }
        let bytes = &buffer[..len];
        let more = match self.unit {
            Unit::Bytes => len,
            Unit::Events => marks(bytes, &mut self.matched[place]),
        };
        counts[*index].fetch_add(more, Ordering::Relaxed);
        if self.unit == Unit::Events && bytes.windows(8).any(|window| window == b":missed ") {
            gaps.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// How often [`MARK`] ends in these bytes; `matched` goes on from the bytes before. Its first byte
/// occurs in it once, so that a mismatch needs no more than to begin again.
fn marks(bytes: &[u8], matched: &mut usize) -> usize {
    let mut found = 0;
    for byte in bytes {
        *matched = match *byte {
            byte if byte == MARK[*matched] => *matched + 1,
            byte if byte == MARK[0] => 1,
            _ => 0,
        };
        if *matched == MARK.len() {
            found += 1;
            *matched = 0;
        }
    }
    found
}

/// Bare sends a second to as many loopback sockets, read by as many threads.
pub(crate) fn ceiling(sockets: usize, span: Duration) -> Outcome<f64> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?;
    let mut senders = Vec::with_capacity(sockets);
    let mut readers = Vec::with_capacity(sockets);
    for _ in 0..sockets {
        readers.push(TcpStream::connect(address)?);
        let (sender, _) = listener.accept()?;
        sender.set_nodelay(true)?;
        senders.push(sender);
    }
    let _readers = Readers::over(readers, Unit::Bytes)?;
    let (bytes, begun, mut sends) = ([b'x'; SEND_BYTES], Instant::now(), 0_u64);
    while begun.elapsed() < span {
        for sender in &mut senders {
            sender.write_all(&bytes)?;
        }
        sends += sockets as u64;
    }
    Ok(sends as f64 / begun.elapsed().as_secs_f64())
}

/// Publishes events by the API, on one connection.
pub(crate) struct Publisher {
    stream: TcpStream,
    head: String,
    token: String,
}

impl Publisher {
    pub(crate) fn connect(http: SocketAddr, token: &str) -> Outcome<Self> {
        let stream = TcpStream::connect(http)?;
        stream.set_nodelay(true)?;
        Ok(Self { stream, head: format!("Host: {http}"), token: token.to_owned() })
    }

    /// One event of about 200 bytes on the stream; returns when it is accepted.
    pub(crate) fn publish(&mut self) -> Outcome {
        let body = format!("name=readers&data={}", "d".repeat(80));
        let request = format!(
            "POST /v1/devices/events HTTP/1.1\r\n{}\r\nAuthorization: Bearer {}\r\n\
             Content-Type: application/x-www-form-urlencoded\r\nContent-Length: {}\r\n\r\n{body}",
            self.head,
            self.token,
            body.len()
        );
        self.stream.write_all(request.as_bytes())?;
        let mut answer = [0; 1024];
        let len = self.stream.read(&mut answer)?;
        if answer[..len].starts_with(b"HTTP/1.1 200") {
            return Ok(());
        }
        Err(String::from_utf8_lossy(&answer[..len]).into_owned().into())
    }

    /// `per_s` events a second for `span`; gives how many.
    pub(crate) fn open_loop(&mut self, per_s: f64, span: Duration) -> Outcome<usize> {
        let begun = Instant::now();
        let count = (per_s * span.as_secs_f64()) as usize;
        for number in 0..count {
            let due = Duration::from_secs_f64(number as f64 / per_s);
            std::thread::sleep(due.saturating_sub(begun.elapsed()));
            self.publish()?;
        }
        Ok(count)
    }

    /// As many as the slowest reader takes, a few at a time; gives the events and the time.
    pub(crate) fn closed_loop(
        &mut self,
        readers: &Readers,
        span: Duration,
    ) -> Outcome<(usize, Duration)> {
        const AHEAD: usize = 8;
        let (begun, first, mut sent) = (Instant::now(), readers.least(), 0);
        while begun.elapsed() < span {
            self.publish()?;
            sent += 1;
            while readers.least() + AHEAD < first + sent && begun.elapsed() < span {
                std::thread::sleep(Duration::from_micros(500));
            }
        }
        readers.wait_for(first + sent, span);
        Ok((sent, begun.elapsed()))
    }
}
