//! The sockets of one thread: one shared by all DTLS devices towards a server on this machine, else
//! one for each device.

use std::io::{self, ErrorKind, IoSlice, IoSliceMut, Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV4, TcpStream, UdpSocket};
use std::os::fd::{AsFd, AsRawFd};
use std::time::Duration;

use model::limits::DATAGRAM_BYTES_MAX;
use nix::errno::Errno;
use nix::libc;
use nix::poll::{PollFd, PollFlags, ppoll};
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use nix::sys::socket::sockopt::Ipv4PacketInfo;
use nix::sys::socket::{
    ControlMessage, ControlMessageOwned, MsgFlags, MultiHeaders, SockaddrIn, recvmmsg, sendmsg,
    setsockopt,
};
use nix::sys::time::TimeSpec;
use socket2::{Domain, Protocol, Socket, Type};

use super::is_loopback;

/// Sockets and addresses of the devices of one thread.
pub(crate) struct Links {
    udp: SocketAddr,
    tcp: SocketAddr,
    epoll: Epoll,
    shared: Option<SharedSocket>,
    links: Vec<Link>,
    events: Vec<EpollEvent>,
}

/// How one device reaches the server.
#[derive(Default)]
pub(crate) enum Link {
    #[default]
    None,
    /// Through the shared socket, from this address.
    Address(Ipv4Addr),
    Udp(UdpSocket),
    Tcp(Box<TcpLink>),
}

pub(crate) struct TcpLink {
    stream: TcpStream,
    connected: bool,
    unsent: Vec<u8>,
}

/// What an epoll turn found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ready {
    /// Datagrams on the shared socket.
    Shared,
    /// Something on the socket of this device.
    Device(usize),
}

/// What happened on a device's own socket.
pub(crate) enum Arrived<'a> {
    Datagram(&'a mut [u8]),
    Stream(&'a [u8]),
    StreamOpened,
    StreamClosed,
}

impl Links {
    /// Links for so many devices. Each thread has a port of its own, so that threads may make up the
    /// same addresses.
    pub(crate) fn new(udp: SocketAddr, tcp: SocketAddr, devices: usize) -> io::Result<Self> {
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
        let shared = match udp {
            SocketAddr::V4(server) if is_loopback(IpAddr::V4(*server.ip())) => {
                Some(SharedSocket::new(server, devices)?)
            }
            _ => None,
        };
        if let Some(shared) = &shared {
            epoll.add(&shared.socket, EpollEvent::new(EpollFlags::EPOLLIN, SHARED))?;
        }
        let links = std::iter::repeat_with(Link::default).take(devices).collect();
        let events = vec![EpollEvent::empty(); EVENTS];
        Ok(Self { udp, tcp, epoll, shared, links, events })
    }

    /// A new address for a DTLS device.
    pub(crate) fn open_udp(&mut self, index: usize) -> io::Result<()> {
        self.close(index);
        if let Some(shared) = &mut self.shared {
            self.links[index] = Link::Address(shared.next_address(index));
            return Ok(());
        }
        let any: IpAddr = match self.udp {
            SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
            SocketAddr::V6(_) => std::net::Ipv6Addr::UNSPECIFIED.into(),
        };
        let socket = UdpSocket::bind((any, 0))?;
        socket.set_nonblocking(true)?;
        socket.connect(self.udp)?;
        self.epoll.add(&socket, EpollEvent::new(EpollFlags::EPOLLIN, index as u64))?;
        self.links[index] = Link::Udp(socket);
        Ok(())
    }

    /// Begins to connect a TCP device.
    pub(crate) fn open_tcp(&mut self, index: usize) -> io::Result<()> {
        self.close(index);
        let socket = Socket::new(Domain::for_address(self.tcp), Type::STREAM, Some(Protocol::TCP))?;
        socket.set_nonblocking(true)?;
        socket.set_tcp_nodelay(true)?;
        if is_loopback(self.tcp.ip()) {
            // Source ports run out after some 28,000 connections from one address.
            let source = Ipv4Addr::from(u32::from(FIRST_ADDRESS) + (index as u32 >> 14));
            socket.bind(&SocketAddr::from((source, 0)).into())?;
        }
        match socket.connect(&self.tcp.into()) {
            Err(error) if error.raw_os_error() != Some(libc::EINPROGRESS) => return Err(error),
            _ => {}
        }
        let stream = TcpStream::from(socket);
        let wanted = EpollFlags::EPOLLIN | EpollFlags::EPOLLOUT;
        self.epoll.add(&stream, EpollEvent::new(wanted, index as u64))?;
        let link = TcpLink { stream, connected: false, unsent: Vec::new() };
        self.links[index] = Link::Tcp(Box::new(link));
        Ok(())
    }

    /// Closes whatever the device has; the system takes closed sockets out of the epoll set.
    pub(crate) fn close(&mut self, index: usize) {
        self.links[index] = Link::None;
    }

    /// Sends a datagram; one that cannot be sent is lost.
    pub(crate) fn send_datagram(&mut self, index: usize, bytes: &[u8]) {
        match (&self.links[index], &self.shared) {
            (Link::Address(source), Some(shared)) => shared.send(*source, bytes),
            (Link::Udp(socket), _) => drop(socket.send(bytes)),
            _ => {}
        }
    }

    /// Writes to the stream; an error means that it is over.
    pub(crate) fn send_stream(&mut self, index: usize, bytes: &[u8]) -> io::Result<()> {
        let Link::Tcp(link) = &mut self.links[index] else { return Ok(()) };
        if link.unsent.len() + bytes.len() > UNSENT_MAX {
            return Err(ErrorKind::WriteZero.into());
        }
        link.unsent.extend_from_slice(bytes);
        link.flush()?;
        self.want(index)
    }

    /// Waits until something can be read, at most `wait`, and lists it.
    pub(crate) fn wait(&mut self, wait: Duration, ready: &mut Vec<Ready>) -> io::Result<()> {
        ready.clear();
        let timeout = EpollTimeout::try_from(wait).unwrap_or(EpollTimeout::ZERO);
        if timeout == EpollTimeout::ZERO && !wait.is_zero() {
            self.wait_briefly(wait)?;
        }
        let count = match self.epoll.wait(&mut self.events, timeout) {
            Ok(count) => count,
            Err(Errno::EINTR) => 0,
            Err(errno) => return Err(errno.into()),
        };
        ready.extend(self.events[..count].iter().map(|event| match event.data() {
            SHARED => Ready::Shared,
            index => Ready::Device(index as usize),
        }));
        Ok(())
    }

    /// The same for less than a millisecond, which epoll does not count: a fleet that publishes a thousand times a
    /// second would ask it without a pause.
    fn wait_briefly(&self, wait: Duration) -> io::Result<()> {
        let mut sets = [PollFd::new(self.epoll.0.as_fd(), PollFlags::POLLIN)];
        match ppoll(&mut sets, Some(TimeSpec::from_duration(wait)), None) {
            Ok(_) | Err(Errno::EINTR) => Ok(()),
            Err(errno) => Err(errno.into()),
        }
    }

    /// Reads a batch from the shared socket: `take(device, datagram)`. Gives how many there were.
    pub(crate) fn receive_shared(
        &mut self,
        batch: &mut Batch,
        mut take: impl FnMut(usize, &mut [u8]),
    ) -> io::Result<usize> {
        let Some(shared) = &self.shared else { return Ok(0) };
        let count = batch.receive(&shared.socket)?;
        for slot in 0..count {
            let Some((address, datagram)) = batch.datagram(slot) else { continue };
            let Some(index) = index_of(address, self.links.len()) else { continue };
            // An answer to an address that the device has left is lost, as in a NAT.
            if matches!(&self.links[index], Link::Address(current) if *current == address) {
                take(index, datagram);
            }
        }
        Ok(count)
    }

    /// Reads once from the device's own socket.
    pub(crate) fn receive_own(
        &mut self,
        index: usize,
        buffer: &mut [u8],
        mut take: impl FnMut(Arrived<'_>),
    ) {
        match &mut self.links[index] {
            Link::Udp(socket) => {
                if let Ok(count) = socket.recv(buffer) {
                    take(Arrived::Datagram(&mut buffer[..count]));
                }
            }
            Link::Tcp(link) => {
                link.receive(buffer, &mut take);
                if self.want(index).is_err() {
                    take(Arrived::StreamClosed);
                }
            }
            Link::None | Link::Address(_) => {}
        }
    }

    /// Asks for writability only while there is something to write.
    fn want(&mut self, index: usize) -> io::Result<()> {
        let Link::Tcp(link) = &self.links[index] else { return Ok(()) };
        let mut wanted = EpollFlags::EPOLLIN;
        if !link.connected || !link.unsent.is_empty() {
            wanted |= EpollFlags::EPOLLOUT;
        }
        let mut event = EpollEvent::new(wanted, index as u64);
        Ok(self.epoll.modify(link.stream.as_fd(), &mut event)?)
    }
}

impl TcpLink {
    fn receive(&mut self, buffer: &mut [u8], take: &mut impl FnMut(Arrived<'_>)) {
        if !self.connected {
            match self.stream.take_error() {
                Ok(None) if self.stream.peer_addr().is_ok() => {
                    self.connected = true;
                    take(Arrived::StreamOpened);
                }
                Ok(None) => return,
                _ => return take(Arrived::StreamClosed),
            }
        }
        if self.flush().is_err() {
            return take(Arrived::StreamClosed);
        }
        match self.stream.read(buffer) {
            Ok(0) => take(Arrived::StreamClosed),
            Ok(count) => take(Arrived::Stream(&buffer[..count])),
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(_) => take(Arrived::StreamClosed),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        while self.connected && !self.unsent.is_empty() {
            match self.stream.write(&self.unsent) {
                Ok(count) => drop(self.unsent.drain(..count)),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

/// One socket for many source addresses.
struct SharedSocket {
    socket: UdpSocket,
    server: SockaddrIn,
    devices: usize,
    opened: Vec<u32>,
}

/// Room for one read from a shared socket. Cannot leave its thread.
pub(crate) struct Batch {
    headers: MultiHeaders<SockaddrIn>,
    buffer: Vec<u8>,
    arrived: Vec<(Ipv4Addr, usize)>,
}

impl SharedSocket {
    fn new(server: SocketAddrV4, devices: usize) -> io::Result<Self> {
        let socket = Socket::new(Domain::IPV4, Type::DGRAM, Some(Protocol::UDP))?;
        socket.set_nonblocking(true)?;
        socket.bind(&SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0)).into())?;
        // As much as the system allows; what does not fit is lost and repeated.
        let _ = socket.set_recv_buffer_size(BUFFER_BYTES);
        let _ = socket.set_send_buffer_size(BUFFER_BYTES);
        setsockopt(&socket, Ipv4PacketInfo, &true)?;
        Ok(Self { socket: socket.into(), server: server.into(), devices, opened: vec![0; devices] })
    }

    fn next_address(&mut self, index: usize) -> Ipv4Addr {
        let turns = (ADDRESSES as usize / self.devices).max(1);
        let turn = self.opened[index] as usize % turns;
        self.opened[index] = self.opened[index].wrapping_add(1);
        Ipv4Addr::from(u32::from(FIRST_ADDRESS) + (turn * self.devices + index) as u32)
    }

    fn send(&self, source: Ipv4Addr, bytes: &[u8]) {
        let info = libc::in_pktinfo {
            ipi_ifindex: 0,
            ipi_spec_dst: libc::in_addr { s_addr: u32::from(source).to_be() },
            ipi_addr: libc::in_addr { s_addr: 0 },
        };
        let parts = [IoSlice::new(bytes)];
        let control = [ControlMessage::Ipv4PacketInfo(&info)];
        let fd = self.socket.as_raw_fd();
        let _ = sendmsg(fd, &parts, &control, MsgFlags::MSG_DONTWAIT, Some(&self.server));
    }
}

impl Batch {
    pub(crate) fn new() -> Self {
        let space = nix::cmsg_space!(libc::in_pktinfo);
        Self {
            headers: MultiHeaders::preallocate(BATCH, Some(space)),
            buffer: vec![0; BATCH * DATAGRAM_BYTES_MAX],
            arrived: Vec::with_capacity(BATCH),
        }
    }

    fn receive(&mut self, socket: &UdpSocket) -> io::Result<usize> {
        self.arrived.clear();
        let mut chunks = self.buffer.chunks_exact_mut(DATAGRAM_BYTES_MAX);
        let mut slices: [_; BATCH] =
            std::array::from_fn(|_| [IoSliceMut::new(chunks.next().unwrap_or_default())]);
        let (fd, flags) = (socket.as_raw_fd(), MsgFlags::MSG_DONTWAIT);
        let results = match recvmmsg(fd, &mut self.headers, slices.iter_mut(), flags, None) {
            Ok(results) => results,
            Err(Errno::EAGAIN | Errno::EINTR | Errno::ECONNREFUSED) => return Ok(0),
            Err(errno) => return Err(errno.into()),
        };
        for result in results {
            let to = result.cmsgs().ok().and_then(|mut messages| messages.find_map(destination));
            self.arrived.push((to.unwrap_or(Ipv4Addr::UNSPECIFIED), result.bytes));
        }
        Ok(self.arrived.len())
    }

    fn datagram(&mut self, slot: usize) -> Option<(Ipv4Addr, &mut [u8])> {
        let (address, bytes) = *self.arrived.get(slot)?;
        let start = slot * DATAGRAM_BYTES_MAX;
        let end = start + bytes.min(DATAGRAM_BYTES_MAX);
        Some((address, self.buffer.get_mut(start..end)?))
    }
}

fn destination(message: ControlMessageOwned) -> Option<Ipv4Addr> {
    match message {
        ControlMessageOwned::Ipv4PacketInfo(info) => {
            Some(Ipv4Addr::from(u32::from_be(info.ipi_addr.s_addr)))
        }
        _ => None,
    }
}

/// Which device an address belongs to, in whichever turn.
fn index_of(address: Ipv4Addr, devices: usize) -> Option<usize> {
    let offset = u32::from(address).checked_sub(u32::from(FIRST_ADDRESS))?;
    (offset < ADDRESSES).then_some(offset as usize % devices)
}

/// Made-up source addresses begin here, so that 127.0.x.y stays for everybody else.
const FIRST_ADDRESS: Ipv4Addr = Ipv4Addr::new(127, 1, 0, 0);
/// Up to 127.254.255.255.
const ADDRESSES: u32 = 254 << 16;
/// Datagrams of one read.
const BATCH: usize = 64;
/// Events of one turn.
const EVENTS: usize = 512;
/// The shared socket's name in the epoll set.
const SHARED: u64 = u64::MAX;
const BUFFER_BYTES: usize = 16 << 20;
/// Bytes that may wait for a slow stream.
const UNSENT_MAX: usize = 64 << 10;

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;

    #[test]
    fn less_than_a_millisecond_is_waited_for_and_not_asked_for_without_a_pause() {
        let server = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
        let address = server.local_addr().expect("an address");
        let mut links = Links::new(address, address, 1).expect("sockets");
        let (began, wait) = (Instant::now(), Duration::from_micros(700));
        links.wait(wait, &mut Vec::new()).expect("nothing is there");
        assert!(began.elapsed() >= wait);
    }

    #[test]
    fn datagrams_leave_from_made_up_addresses_and_answers_find_their_device() {
        let server = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
        server.set_read_timeout(Some(Duration::from_secs(5))).expect("a timeout");
        let address = server.local_addr().expect("an address");
        let mut links = Links::new(address, address, 3).expect("sockets");
        let mut sources = Vec::new();
        for index in [0, 1, 2, 1] {
            links.open_udp(index).expect("an address");
            links.send_datagram(index, &[index as u8]);
            let mut buffer = [0; 16];
            let (_, source) = server.recv_from(&mut buffer).expect("a datagram");
            assert_eq!(usize::from(buffer[0]), index);
            sources.push(source);
            server.send_to(&[index as u8], source).expect("sent");
        }
        sources.dedup();
        assert_eq!(sources.len(), 4, "each opening is another address: {sources:?}");

        let (mut ready, mut arrived, mut batch) = (Vec::new(), Vec::new(), Batch::new());
        while arrived.len() < 3 {
            links.wait(Duration::from_secs(5), &mut ready).expect("events");
            assert_eq!(ready, [Ready::Shared]);
            let take = |index, datagram: &mut [u8]| arrived.push((index, datagram[0]));
            links.receive_shared(&mut batch, take).expect("datagrams");
        }
        assert_eq!(arrived, [(0, 0), (2, 2), (1, 1)], "the first answer to 1 came too late");
    }
}
