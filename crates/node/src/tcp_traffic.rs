//! What a TCP connection carried, as the kernel counts it (tcp(7), TCP_INFO).

use model::Traffic;
use nix::getsockopt_impl;
use nix::sys::socket::getsockopt;
use tokio::net::TcpStream;

/// Headers of a segment (`metering/rules.md` §4).
const HEADERS: u64 = 40;

/// Bytes with their headers since the connection began, in both directions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct TcpTraffic {
    received: u64,
    sent: u64,
}

impl TcpTraffic {
    /// Asks the kernel. Nothing for a kernel before Linux 4.19, which does not tell all of it.
    pub(crate) fn of(stream: &TcpStream) -> Self {
        let Ok(info) = getsockopt(stream, TcpInfo) else { return Self::default() };
        let headers = |segments: u32| u64::from(segments) * HEADERS;
        Self {
            received: info.bytes_received + headers(info.segments_in),
            sent: info.bytes_sent + headers(info.segments_out),
        }
    }

    /// What was carried since `before`.
    pub(crate) fn since(&self, before: &Self) -> Traffic {
        let since =
            |now: u64, then: u64| u32::try_from(now.saturating_sub(then)).unwrap_or(u32::MAX);
        Traffic {
            received: since(self.received, before.received),
            sent: since(self.sent, before.sent),
        }
    }
}

/// The beginning of the kernel's `struct tcp_info`, up to the last field that is read here. Newer
/// kernels tell more behind it, which they cut off.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
struct Info {
    states: [u8; 8],
    times_and_windows: [u32; 24],
    pacing_rates: [u64; 2],
    bytes_acknowledged: u64,
    bytes_received: u64,
    segments_out: u32,
    segments_in: u32,
    bytes_waiting: u32,
    round_trip_min: u32,
    data_segments: [u32; 2],
    delivery_rate: u64,
    busy_times: [u64; 3],
    delivered: [u32; 2],
    bytes_sent: u64,
}

/// The option that reads it: the macro does what `nix` does for the options it knows.
#[derive(Debug, Clone, Copy)]
struct TcpInfo;

getsockopt_impl!(
    TcpInfo,
    libc::IPPROTO_TCP,
    libc::TCP_INFO,
    Info,
    nix::sys::socket::sockopt::GetStruct<Info>
);

#[cfg(test)]
mod tests {
    use std::mem::offset_of;

    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::*;

    #[test]
    fn the_fields_lie_where_the_c_library_has_them() {
        use libc::tcp_info as c;
        assert_eq!(offset_of!(Info, bytes_received), offset_of!(c, tcpi_bytes_received));
        assert_eq!(offset_of!(Info, segments_out), offset_of!(c, tcpi_segs_out));
        assert_eq!(offset_of!(Info, segments_in), offset_of!(c, tcpi_segs_in));
        assert_eq!(offset_of!(Info, bytes_sent), offset_of!(c, tcpi_bytes_sent));
    }

    #[tokio::test]
    async fn payload_and_40_bytes_for_each_segment_are_counted_in_both_directions() {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("bound");
        let address = listener.local_addr().expect("bound");
        let mut client = TcpStream::connect(address).await.expect("connected");
        let (mut server, _) = listener.accept().await.expect("accepted");
        let before = TcpTraffic::of(&server);
        client.write_all(&[7; 1000]).await.expect("written");
        let mut bytes = [0; 1000];
        server.read_exact(&mut bytes).await.expect("read");
        server.write_all(&[8; 100]).await.expect("written");
        client.read_exact(&mut bytes[..100]).await.expect("read");
        let traffic = TcpTraffic::of(&server).since(&before);
        let headers_in = u64::from(traffic.received) - 1000;
        let headers_out = u64::from(traffic.sent) - 100;
        for headers in [headers_in, headers_out] {
            assert!(headers.is_multiple_of(40) && (40..=160).contains(&headers), "{traffic:?}");
        }
    }
}
