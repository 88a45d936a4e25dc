//! Datagrams in batches: one system call reads or sends up to [`BATCH`] of them, into and out of
//! buffers that live as long as the socket. IPv4 peers of an IPv6 socket appear as IPv4.

use std::io::{self, IoSlice, IoSliceMut};
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::os::fd::{AsRawFd, RawFd};

use model::limits::DATAGRAM_BYTES_MAX;
use nix::errno::Errno;
use nix::sys::socket::{
    ControlMessage, MsgFlags, MultiHeaders, SockaddrIn, SockaddrIn6, SockaddrLike, recvmmsg,
    sendmmsg,
};
use socket2::{Domain, Protocol, Socket, Type};
use tracing::warn;

/// Datagrams of one system call.
pub(crate) const BATCH: usize = 64;

/// Binds one socket for each shard to the same address; the kernel spreads the peers over them.
pub(crate) fn bind_all(
    address: SocketAddr,
    sockets: usize,
    buffer_bytes: usize,
) -> io::Result<Vec<UdpSocket>> {
    // A probe that does not share the port: otherwise a second server would silently take half of
    // the devices of the first.
    let probe = bind(address, false)?;
    if sockets == 1 {
        grow_buffers(&probe, buffer_bytes);
        return Ok(vec![probe.into()]);
    }
    let address = local_addr(&probe)?;
    drop(probe);
    (0..sockets)
        .map(|_| {
            let socket = bind(address, true)?;
            grow_buffers(&socket, buffer_bytes);
            Ok(socket.into())
        })
        .collect()
}

fn bind(address: SocketAddr, shared: bool) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::DGRAM, Some(Protocol::UDP))?;
    if address.is_ipv6() {
        socket.set_only_v6(false)?;
    }
    socket.set_reuse_port(shared)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    Ok(socket)
}

fn local_addr(socket: &Socket) -> io::Result<SocketAddr> {
    socket.local_addr()?.as_socket().ok_or_else(|| io::Error::from(io::ErrorKind::Unsupported))
}

/// A burst that finds the buffer full is lost, and each lost datagram costs its device 4 s.
fn grow_buffers(socket: &Socket, wanted: usize) {
    let asked =
        socket.set_recv_buffer_size(wanted).and_then(|()| socket.set_send_buffer_size(wanted));
    let granted = (socket.recv_buffer_size(), socket.send_buffer_size());
    // The kernel tells twice what it grants, for its own bookkeeping.
    let (Ok(()), (Ok(receive), Ok(send))) = (asked, granted) else {
        warn!(wanted, "the kernel refuses to size the UDP buffers");
        return;
    };
    if receive / 2 < wanted || send / 2 < wanted {
        warn!(
            wanted,
            receive = receive / 2,
            send = send / 2,
            "UDP buffers are smaller than asked for: raise net.core.rmem_max and net.core.wmem_max"
        );
    }
}

/// The reading and the writing half of a bound socket.
pub(crate) fn batches(socket: &UdpSocket) -> io::Result<(ReceiveBatch, SendBatch)> {
    Ok(if socket.local_addr()?.is_ipv4() {
        (ReceiveBatch::new(Headers::v4()), SendBatch { headers: Headers::v4() })
    } else {
        (ReceiveBatch::new(Headers::v6()), SendBatch { headers: Headers::v6() })
    })
}

/// Preallocated message headers. Addresses have the size of their family, which halves what the
/// kernel copies.
enum Headers {
    V4(MultiHeaders<SockaddrIn>),
    V6(MultiHeaders<SockaddrIn6>),
}

impl Headers {
    fn v4() -> Self {
        Self::V4(MultiHeaders::preallocate(BATCH, None))
    }

    fn v6() -> Self {
        Self::V6(MultiHeaders::preallocate(BATCH, None))
    }
}

/// Datagrams as they were read, decrypted in place by whoever takes them.
pub(crate) struct ReceiveBatch {
    headers: Headers,
    /// [`BATCH`] times [`DATAGRAM_BYTES_MAX`].
    buffer: Box<[u8]>,
    received: Vec<Received>,
}

#[derive(Debug, Clone, Copy)]
struct Received {
    from: SocketAddr,
    len: usize,
}

impl ReceiveBatch {
    fn new(headers: Headers) -> Self {
        Self {
            headers,
            buffer: vec![0; BATCH * DATAGRAM_BYTES_MAX].into(),
            received: Vec::with_capacity(BATCH),
        }
    }

    /// Reads what waits, at most [`BATCH`] datagrams; `WouldBlock` when nothing does. One longer
    /// than [`DATAGRAM_BYTES_MAX`] is cut there and fails its authentication.
    pub(crate) fn receive(&mut self, socket: &impl AsRawFd) -> io::Result<usize> {
        self.received.clear();
        let (fd, buffer, received) = (socket.as_raw_fd(), &mut self.buffer, &mut self.received);
        match &mut self.headers {
            Headers::V4(headers) => receive_into(fd, headers, buffer, received, v4),
            Headers::V6(headers) => receive_into(fd, headers, buffer, received, v6),
        }?;
        Ok(self.received.len())
    }

    /// The datagram at `index` of the last read, with its sender.
    pub(crate) fn datagram(&mut self, index: usize) -> Option<(SocketAddr, &mut [u8])> {
        let Received { from, len } = *self.received.get(index)?;
        let start = index * DATAGRAM_BYTES_MAX;
        Some((from, self.buffer.get_mut(start..start + len)?))
    }
}

fn receive_into<S: SockaddrLike + Copy>(
    fd: RawFd,
    headers: &mut MultiHeaders<S>,
    buffer: &mut [u8],
    received: &mut Vec<Received>,
    peer: impl Fn(S) -> SocketAddr,
) -> io::Result<()> {
    let mut chunks = buffer.chunks_exact_mut(DATAGRAM_BYTES_MAX);
    let mut slices: [_; BATCH] =
        std::array::from_fn(|_| [IoSliceMut::new(chunks.next().unwrap_or_default())]);
    let results = recvmmsg(fd, headers, slices.iter_mut(), MsgFlags::MSG_DONTWAIT, None)?;
    received.extend(results.filter_map(|result| {
        let len = result.bytes.min(DATAGRAM_BYTES_MAX);
        Some(Received { from: peer(result.address?), len })
    }));
    Ok(())
}

fn v4(address: SockaddrIn) -> SocketAddr {
    SocketAddr::V4(address.into())
}

fn v6(address: SockaddrIn6) -> SocketAddr {
    let ip = IpAddr::V6(address.ip()).to_canonical();
    if ip.is_ipv4() {
        return SocketAddr::new(ip, address.port());
    }
    SocketAddr::V6(address.into())
}

/// Sends datagrams from wherever they lie.
pub(crate) struct SendBatch {
    headers: Headers,
}

/// What became of a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sent {
    /// This many of the first datagrams are gone, for better or worse.
    Some(usize),
    /// The first one cannot be sent to its address; the rest was not tried.
    FirstFailed,
    /// The socket's buffer is full.
    WouldBlock,
}

impl SendBatch {
    /// Sends the first [`BATCH`] of `datagrams`.
    pub(crate) fn send<'a>(
        &mut self,
        socket: &impl AsRawFd,
        datagrams: impl Iterator<Item = (SocketAddr, &'a [u8])>,
    ) -> Sent {
        let fd = socket.as_raw_fd();
        let result = match &mut self.headers {
            Headers::V4(headers) => send_from(fd, headers, datagrams, to_v4),
            Headers::V6(headers) => send_from(fd, headers, datagrams, to_v6),
        };
        match result {
            Ok(sent) => Sent::Some(sent),
            Err(Errno::EAGAIN | Errno::ENOBUFS) => Sent::WouldBlock,
            Err(Errno::EINTR) => Sent::Some(0),
            Err(_) => Sent::FirstFailed,
        }
    }
}

fn send_from<'a, S: SockaddrLike + Copy>(
    fd: RawFd,
    headers: &mut MultiHeaders<S>,
    datagrams: impl Iterator<Item = (SocketAddr, &'a [u8])>,
    address: impl Fn(SocketAddr) -> S,
) -> nix::Result<usize> {
    let mut slices = [[IoSlice::new(&[])]; BATCH];
    let mut addresses = [None; BATCH];
    let mut count = 0;
    for ((peer, bytes), (slice, to)) in datagrams.zip(slices.iter_mut().zip(&mut addresses)) {
        (*slice, *to) = ([IoSlice::new(bytes)], Some(address(peer)));
        count += 1;
    }
    let no_control: [ControlMessage<'_>; 0] = [];
    let sent = sendmmsg(
        fd,
        headers,
        &slices[..count],
        &addresses[..count],
        no_control,
        MsgFlags::MSG_DONTWAIT,
    )?;
    Ok(sent.count())
}

/// An address of the other family cannot be reached from this socket; the kernel refuses port 0.
fn to_v4(peer: SocketAddr) -> SockaddrIn {
    match peer {
        SocketAddr::V4(peer) => peer.into(),
        SocketAddr::V6(_) => SockaddrIn::new(0, 0, 0, 0, 0),
    }
}

fn to_v6(peer: SocketAddr) -> SockaddrIn6 {
    match peer {
        SocketAddr::V4(peer) => {
            std::net::SocketAddrV6::new(peer.ip().to_ipv6_mapped(), peer.port(), 0, 0).into()
        }
        SocketAddr::V6(peer) => peer.into(),
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::*;

    fn echo_through(address: &str) {
        let server = bind_all(address.parse().unwrap(), 1, 1 << 20).unwrap().remove(0);
        let port = server.local_addr().unwrap().port();
        let (mut receive, mut send) = batches(&server).unwrap();
        let clients: Vec<_> = (0..150).map(|_| UdpSocket::bind("127.0.0.1:0").unwrap()).collect();
        for (index, client) in clients.iter().enumerate() {
            client.send_to(&vec![index as u8; 1 + index * 9], ("127.0.0.1", port)).unwrap();
        }
        let mut datagrams = Vec::new();
        let started = Instant::now();
        while datagrams.len() < clients.len() && started.elapsed() < Duration::from_secs(5) {
            let read = receive.receive(&server).unwrap_or(0);
            assert!(read <= BATCH);
            for index in 0..read {
                let (from, bytes) = receive.datagram(index).unwrap();
                datagrams.push((from, bytes.to_vec()));
            }
        }
        let mut sent = 0;
        while sent < datagrams.len() {
            let left = datagrams[sent..].iter().map(|(to, bytes)| (*to, bytes.as_slice()));
            let Sent::Some(more) = send.send(&server, left) else {
                panic!("loopback takes everything")
            };
            assert!(more > 0 && more <= BATCH);
            sent += more;
        }
        let mut buffer = [0; 2048];
        for (index, client) in clients.iter().enumerate() {
            client.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
            let len = client.recv(&mut buffer).unwrap();
            assert_eq!(buffer[..len], vec![index as u8; 1 + index * 9]);
        }
        assert!(datagrams.iter().all(|(from, _)| from.is_ipv4()));
    }

    #[test]
    fn batches_carry_every_datagram_to_and_from_its_own_peer() {
        echo_through("127.0.0.1:0");
    }

    #[test]
    fn ipv4_peers_of_an_ipv6_socket_appear_as_ipv4_and_are_answered() {
        echo_through("[::]:0");
    }

    #[test]
    fn an_empty_socket_would_block() {
        let server = bind_all("127.0.0.1:0".parse().unwrap(), 1, 4096).unwrap().remove(0);
        let (mut receive, _) = batches(&server).unwrap();
        assert_eq!(receive.receive(&server).unwrap_err().kind(), io::ErrorKind::WouldBlock);
    }

    #[test]
    fn a_datagram_that_cannot_leave_is_told_apart_from_a_full_buffer() {
        let server = bind_all("127.0.0.1:0".parse().unwrap(), 1, 4096).unwrap().remove(0);
        let (_, mut send) = batches(&server).unwrap();
        let unreachable = [("[2001:db8::1]:5".parse().unwrap(), b"x".as_slice())];
        assert_eq!(send.send(&server, unreachable.into_iter()), Sent::FirstFailed);
    }

    #[test]
    fn a_port_that_is_taken_is_not_shared_even_by_several_shards() {
        let first = bind_all("127.0.0.1:0".parse().unwrap(), 2, 4096).unwrap();
        let address = first[0].local_addr().unwrap();
        assert_eq!(first[1].local_addr().unwrap(), address);
        assert_eq!(bind_all(address, 2, 4096).unwrap_err().kind(), io::ErrorKind::AddrInUse);
    }
}
