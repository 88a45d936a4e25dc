//! One socket with a source address for each device, out of 127.0.0.0/8.
//!
//! The source is chosen for every datagram with `IP_PKTINFO`, and the destination of an answer tells
//! whose it is: any number of devices needs one file descriptor and is read in batches.

use std::io::{IoSlice, IoSliceMut};
use std::net::{Ipv4Addr, SocketAddrV4, UdpSocket};
use std::os::fd::{AsFd, AsRawFd};
use std::time::Duration;

use nix::errno::Errno;
use nix::libc;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::sockopt::{Ipv4PacketInfo, RcvBuf, SndBuf};
use nix::sys::socket::{
    ControlMessage, ControlMessageOwned, MsgFlags, MultiHeaders, SockaddrIn, recvmmsg, sendmsg,
    setsockopt,
};

use crate::Outcome;

/// Datagrams of one read.
pub(crate) const BATCH: usize = 64;
/// Longest datagram.
pub(crate) const DATAGRAM_BYTES: usize = 2048;
/// What is asked of the kernel for each direction; it grants as much as it may.
const BUFFER_BYTES: usize = 8 << 20;
/// The address of device 0.
const FIRST_ADDRESS: u32 = u32::from_be_bytes([127, 1, 0, 0]);

/// The devices' side of the network. Cannot leave its thread.
pub(crate) struct Wire {
    socket: UdpSocket,
    server: SockaddrIn,
    headers: MultiHeaders<SockaddrIn>,
    buffer: Vec<u8>,
    arrived: Vec<(usize, usize)>,
}

impl Wire {
    pub(crate) fn new(server: SocketAddrV4) -> Outcome<Self> {
        let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
        set_buffers(&socket)?;
        setsockopt(&socket, Ipv4PacketInfo, &true)?;
        Ok(Self {
            socket,
            server: server.into(),
            headers: MultiHeaders::preallocate(BATCH, Some(nix::cmsg_space!(libc::in_pktinfo))),
            buffer: vec![0; BATCH * DATAGRAM_BYTES],
            arrived: Vec::with_capacity(BATCH),
        })
    }

    /// Sends a datagram of a device; one that cannot be sent is lost.
    pub(crate) fn send(&self, device: usize, bytes: &[u8]) {
        let source = FIRST_ADDRESS + device as u32;
        let info = libc::in_pktinfo {
            ipi_ifindex: 0,
            ipi_spec_dst: libc::in_addr { s_addr: source.to_be() },
            ipi_addr: libc::in_addr { s_addr: 0 },
        };
        let parts = [IoSlice::new(bytes)];
        let control = [ControlMessage::Ipv4PacketInfo(&info)];
        let fd = self.socket.as_raw_fd();
        let _ = sendmsg(fd, &parts, &control, MsgFlags::MSG_DONTWAIT, Some(&self.server));
    }

    /// Reads a batch, waiting for it at most this long; gives how many came.
    pub(crate) fn receive(&mut self, wait: Duration) -> Outcome<usize> {
        if self.read()? == 0 && !wait.is_zero() {
            let mut fds = [PollFd::new(self.socket.as_fd(), PollFlags::POLLIN)];
            match poll(&mut fds, PollTimeout::try_from(wait).unwrap_or(PollTimeout::MAX)) {
                Ok(_) | Err(Errno::EINTR) => {}
                Err(errno) => return Err(errno.into()),
            }
            self.read()?;
        }
        Ok(self.arrived.len())
    }

    /// A datagram of the last read, with its device.
    pub(crate) fn datagram(&mut self, place: usize) -> (usize, &mut [u8]) {
        let (device, len) = self.arrived[place];
        let start = place * DATAGRAM_BYTES;
        (device, &mut self.buffer[start..start + len])
    }

    fn read(&mut self) -> Outcome<usize> {
        self.arrived.clear();
        let mut chunks = self.buffer.chunks_exact_mut(DATAGRAM_BYTES);
        let mut slices: [_; BATCH] =
            std::array::from_fn(|_| [IoSliceMut::new(chunks.next().unwrap_or_default())]);
        let (fd, flags) = (self.socket.as_raw_fd(), MsgFlags::MSG_DONTWAIT);
        let results = match recvmmsg(fd, &mut self.headers, slices.iter_mut(), flags, None) {
            Ok(results) => results,
            // Refused: the server is just being started again.
            Err(Errno::EAGAIN | Errno::EINTR | Errno::ECONNREFUSED) => return Ok(0),
            Err(errno) => return Err(errno.into()),
        };
        for result in results {
            let to = result.cmsgs()?.find_map(destination).unwrap_or_default();
            self.arrived.push((to, result.bytes.min(DATAGRAM_BYTES)));
        }
        Ok(self.arrived.len())
    }
}

fn destination(message: ControlMessageOwned) -> Option<usize> {
    let ControlMessageOwned::Ipv4PacketInfo(info) = message else { return None };
    u32::from_be(info.ipi_addr.s_addr).checked_sub(FIRST_ADDRESS).map(|device| device as usize)
}

pub(crate) fn set_buffers(socket: &UdpSocket) -> Outcome {
    setsockopt(socket, RcvBuf, &BUFFER_BYTES)?;
    setsockopt(socket, SndBuf, &BUFFER_BYTES)?;
    Ok(())
}
