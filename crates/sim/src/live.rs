//! One device over real sockets, driven in the caller's thread: for tests against a running server
//! and for trying things out. For many devices see [`crate::fleet`].

use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream, UdpSocket};
use std::time::{Duration, Instant};

use model::Mono;

use crate::device::{Device, Observation, Output};

/// A device with its socket.
pub struct Live {
    device: Device,
    server: SocketAddr,
    started: Instant,
    socket: Socket,
    observations: Vec<Observation>,
}

enum Socket {
    None,
    Udp(UdpSocket),
    Tcp(TcpStream),
}

impl Live {
    /// A device that is not switched on yet, and the server it will talk to.
    pub fn new(device: Device, server: SocketAddr) -> Self {
        let (socket, observations) = (Socket::None, Vec::new());
        Self { device, server, started: Instant::now(), socket, observations }
    }

    /// The time the device is given.
    pub fn now(&self) -> Mono {
        Mono(u64::try_from(self.started.elapsed().as_micros()).unwrap_or(u64::MAX))
    }

    /// The device. What is done to it takes effect with the next [`Self::run`].
    pub fn device(&mut self) -> &mut Device {
        &mut self.device
    }

    /// Switches the device on.
    pub fn power_on(&mut self) {
        self.device.power_on(self.now());
    }

    /// Restarts the device.
    pub fn reset(&mut self) {
        self.device.reset(self.now());
    }

    /// Everything observed so far, oldest first.
    pub fn observations(&self) -> &[Observation] {
        &self.observations
    }

    /// Forgets what was observed, for a device that lives long.
    pub fn forget_observations(&mut self) {
        self.observations.clear();
    }

    /// Lets the device live for this long.
    pub fn run(&mut self, span: Duration) {
        self.run_until(span, |_| false);
    }

    /// Lets the device live until something is observed that `wanted` takes, at most for `span`.
    /// Looks only at what is new. Gives it, or `None` if it did not come.
    pub fn run_until(
        &mut self,
        span: Duration,
        mut wanted: impl FnMut(&Observation) -> bool,
    ) -> Option<Observation> {
        let end = Instant::now() + span;
        let mut looked_at = self.observations.len();
        loop {
            self.exchange();
            if let Some(found) = self.observations[looked_at..].iter().find(|o| wanted(o)) {
                return Some(found.clone());
            }
            looked_at = self.observations.len();
            if Instant::now() >= end {
                return None;
            }
            self.wait(end);
        }
    }

    /// Carries out what the device wants and collects what it tells.
    fn exchange(&mut self) {
        if self.device.next_timeout().is_some_and(|at| at <= self.now()) {
            self.device.handle_timeout(self.now());
        }
        while let Some(output) = self.device.poll_output() {
            self.carry_out(output);
        }
        while let Some(observation) = self.device.poll_observation() {
            self.observations.push(observation);
        }
    }

    fn carry_out(&mut self, output: Output) {
        match output {
            Output::Open => self.open(),
            Output::Close => self.socket = Socket::None,
            Output::Datagram(bytes) => {
                if let Socket::Udp(socket) = &self.socket {
                    // A datagram that cannot be sent is a lost one.
                    let _ = socket.send(&bytes);
                }
            }
            Output::Stream(bytes) => {
                let now = self.now();
                if let Socket::Tcp(stream) = &mut self.socket
                    && stream.write_all(&bytes).is_err()
                {
                    self.device.stream_closed(now);
                }
            }
        }
    }

    fn open(&mut self) {
        let opened =
            if self.device.setup().profile.is_udp() { self.open_udp() } else { self.open_tcp() };
        if opened.is_err() {
            self.socket = Socket::None;
            self.device.stream_closed(self.now());
        }
    }

    fn open_udp(&mut self) -> std::io::Result<()> {
        let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
        socket.connect(self.server)?;
        self.socket = Socket::Udp(socket);
        Ok(())
    }

    fn open_tcp(&mut self) -> std::io::Result<()> {
        let stream = TcpStream::connect_timeout(&self.server, CONNECT_TIMEOUT)?;
        stream.set_nodelay(true)?;
        self.socket = Socket::Tcp(stream);
        self.device.stream_opened(self.now());
        Ok(())
    }

    /// Waits for bytes until something is due, at most until `end`.
    fn wait(&mut self, end: Instant) {
        let wait = self.time_to_wait(end);
        let mut buffer = [0; 2048];
        let read = match &mut self.socket {
            Socket::None => {
                std::thread::sleep(wait);
                return;
            }
            Socket::Udp(socket) => {
                socket.set_read_timeout(Some(wait)).and_then(|()| socket.recv(&mut buffer))
            }
            Socket::Tcp(stream) => {
                stream.set_read_timeout(Some(wait)).and_then(|()| stream.read(&mut buffer))
            }
        };
        self.take(read, &mut buffer);
    }

    fn take(&mut self, read: std::io::Result<usize>, buffer: &mut [u8]) {
        let now = self.now();
        match (read, &self.socket) {
            (Ok(count), Socket::Udp(_)) => self.device.handle_datagram(now, &mut buffer[..count]),
            (Ok(0), _) => self.device.stream_closed(now),
            (Ok(count), _) => self.device.handle_stream(now, &buffer[..count]),
            (Err(error), Socket::Tcp(_)) if !is_timeout(&error) => self.device.stream_closed(now),
            (Err(_), _) => {}
        }
    }

    fn time_to_wait(&self, end: Instant) -> Duration {
        let left = end.saturating_duration_since(Instant::now());
        let due = self.device.next_timeout().map_or(left, |at| at.since(self.now()));
        left.min(due).max(SHORTEST_WAIT)
    }
}

fn is_timeout(error: &std::io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted)
}

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// A read timeout of zero would wait for ever.
const SHORTEST_WAIT: Duration = Duration::from_millis(1);
