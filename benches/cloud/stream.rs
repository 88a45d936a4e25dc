//! A reader of the account's event stream, on a thread of its own.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::Outcome;

/// Digits of a time at the beginning of an event's data.
pub(crate) const STAMP_BYTES: usize = 16;
const DATA: &[u8] = b"data: {\"data\":\"";
const MISSED: &[u8] = b":missed ";
const BUFFER_BYTES: usize = 256 << 10;

/// When an event was due, in nanoseconds of the bench's clock; 0 for events that are only counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Stamp(u64);

impl Stamp {
    pub(crate) const NONE: Self = Self(0);

    pub(crate) fn of(time: Duration) -> Self {
        Self(time.as_nanos() as u64)
    }

    pub(crate) fn digits(self) -> [u8; STAMP_BYTES] {
        let mut digits = [b'0'; STAMP_BYTES];
        let mut rest = self.0;
        for digit in digits.iter_mut().rev() {
            *digit = b'0' + (rest % 10) as u8;
            rest /= 10;
        }
        digits
    }

    fn read(data: &[u8]) -> Option<Self> {
        let digits = data.get(..STAMP_BYTES)?;
        let value = digits.iter().try_fold(0_u64, |value, digit| {
            digit.is_ascii_digit().then(|| value * 10 + u64::from(digit - b'0'))
        });
        value.map(Self)
    }
}

/// What was read so far.
#[derive(Debug, Default, Clone)]
pub(crate) struct Seen {
    pub(crate) events: usize,
    /// Lines that tell of a gap.
    pub(crate) gaps: usize,
    /// From when an event was due to when it was read.
    pub(crate) delays: Vec<Duration>,
}

/// An open stream.
pub(crate) struct Reader {
    stream: TcpStream,
    seen: Arc<Mutex<Seen>>,
    thread: Option<JoinHandle<()>>,
    /// The clock of the stamps.
    pub(crate) clock: Instant,
}

impl Reader {
    /// Opens the stream and waits for its first bytes.
    pub(crate) fn open(http: SocketAddr, token: &str) -> Outcome<Self> {
        let mut stream = TcpStream::connect(http)?;
        write!(
            stream,
            "GET /v1/devices/events HTTP/1.1\r\nHost: {http}\r\nAuthorization: Bearer {token}\r\n\r\n"
        )?;
        let mut first = [0; 1024];
        let len = stream.read(&mut first)?;
        if !first[..len].starts_with(b"HTTP/1.1 200") {
            return Err(String::from_utf8_lossy(&first[..len]).into_owned().into());
        }
        let (seen, clock) = (Arc::new(Mutex::new(Seen::default())), Instant::now());
        let (theirs, shared) = (stream.try_clone()?, Arc::clone(&seen));
        let thread = std::thread::spawn(move || read_all(theirs, clock, &shared));
        Ok(Self { stream, seen, thread: Some(thread), clock })
    }

    /// What came since it was asked for last.
    pub(crate) fn take(&self) -> Seen {
        std::mem::take(&mut *self.seen.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        let _ = self.stream.shutdown(std::net::Shutdown::Both);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn read_all(mut stream: TcpStream, clock: Instant, seen: &Mutex<Seen>) {
    let mut buffer = vec![0; BUFFER_BYTES];
    let mut kept = 0;
    while let Ok(read) = stream.read(&mut buffer[kept..]) {
        if read == 0 {
            return;
        }
        let now = clock.elapsed();
        let len = kept + read;
        let mut seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
        let mut rest = &buffer[..len];
        while let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
            take_line(&rest[..end], now, &mut seen);
            rest = &rest[end + 1..];
        }
        kept = rest.len();
        buffer.copy_within(len - kept..len, 0);
    }
}

fn take_line(line: &[u8], now: Duration, seen: &mut Seen) {
    if let Some(data) = line.strip_prefix(DATA) {
        seen.events += 1;
        if let Some(Stamp(due @ 1..)) = Stamp::read(data) {
            seen.delays.push(now.saturating_sub(Duration::from_nanos(due)));
        }
    } else if line.starts_with(MISSED) {
        seen.gaps += 1;
    }
}
