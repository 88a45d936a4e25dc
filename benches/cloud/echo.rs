//! The ceiling of every datagram server: what came is sent back, in batches of system calls.

use std::io::{IoSlice, IoSliceMut};
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, UdpSocket};
use std::os::fd::{AsFd, AsRawFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, poll};
use nix::sys::socket::{ControlMessage, MsgFlags, MultiHeaders, SockaddrIn, recvmmsg, sendmmsg};

use crate::Outcome;
use crate::wire::{BATCH, DATAGRAM_BYTES, set_buffers};

/// Milliseconds after which the end is noticed.
const LOOK_UP_MS: u8 = 50;

/// A thread that echoes.
pub(crate) struct Echo {
    pub(crate) address: SocketAddrV4,
    over: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Echo {
    pub(crate) fn start() -> Outcome<Self> {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
        set_buffers(&socket)?;
        let SocketAddr::V4(address) = socket.local_addr()? else {
            return Err("the bench needs IPv4".into());
        };
        let over = Arc::new(AtomicBool::new(false));
        let seen = Arc::clone(&over);
        let thread = std::thread::spawn(move || serve(&socket, &seen));
        Ok(Self { address, over, thread: Some(thread) })
    }
}

impl Drop for Echo {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn serve(socket: &UdpSocket, over: &AtomicBool) {
    let mut incoming = MultiHeaders::<SockaddrIn>::preallocate(BATCH, None);
    let mut outgoing = MultiHeaders::<SockaddrIn>::preallocate(BATCH, None);
    let mut buffer = vec![0; BATCH * DATAGRAM_BYTES];
    let mut arrived = Vec::with_capacity(BATCH);
    while !over.load(Ordering::Relaxed) {
        let mut fds = [PollFd::new(socket.as_fd(), PollFlags::POLLIN)];
        let _ = poll(&mut fds, LOOK_UP_MS);
        while receive(socket, &mut incoming, &mut buffer, &mut arrived).is_ok() {
            send(socket, &mut outgoing, &buffer, &arrived);
        }
    }
}

fn receive(
    socket: &UdpSocket,
    headers: &mut MultiHeaders<SockaddrIn>,
    buffer: &mut [u8],
    arrived: &mut Vec<(Option<SockaddrIn>, usize)>,
) -> Result<(), Errno> {
    let mut chunks = buffer.chunks_exact_mut(DATAGRAM_BYTES);
    let mut slices: [_; BATCH] =
        std::array::from_fn(|_| [IoSliceMut::new(chunks.next().unwrap_or_default())]);
    let flags = MsgFlags::MSG_DONTWAIT;
    let results = recvmmsg(socket.as_raw_fd(), headers, slices.iter_mut(), flags, None)?;
    arrived.clear();
    arrived.extend(results.map(|result| (result.address, result.bytes)));
    Ok(())
}

fn send(
    socket: &UdpSocket,
    headers: &mut MultiHeaders<SockaddrIn>,
    buffer: &[u8],
    arrived: &[(Option<SockaddrIn>, usize)],
) {
    let mut slices = [[IoSlice::new(&[])]; BATCH];
    let mut addresses = [None; BATCH];
    let chunks = buffer.chunks_exact(DATAGRAM_BYTES);
    let places = slices.iter_mut().zip(&mut addresses);
    for (((slice, to), chunk), (from, len)) in places.zip(chunks).zip(arrived) {
        (*slice, *to) = ([IoSlice::new(&chunk[..*len])], *from);
    }
    let count = arrived.len();
    let no_control: [ControlMessage<'_>; 0] = [];
    let flags = MsgFlags::empty();
    let fd = socket.as_raw_fd();
    let _ = sendmmsg(fd, headers, &slices[..count], &addresses[..count], no_control, flags);
}
