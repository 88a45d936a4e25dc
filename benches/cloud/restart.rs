//! From SIGKILL to the first answer of the next process.

use std::time::{Duration, Instant};

use secure::dtls::ContentType;
use secure::dtls::record::mark_moved_cid;

use crate::Outcome;
use crate::devices::Peer;
use crate::server::{Folder, Server};
use crate::wire::Wire;

/// Between two pings of a device that wants to resume its session.
const PING_EACH: Duration = Duration::from_millis(5);
const PATIENCE: Duration = Duration::from_secs(60);

/// Kills the server, starts the next one and waits until a device's session goes on.
pub(crate) fn restart(
    folder: &Folder,
    server: Server,
    wire: &mut Wire,
    device: usize,
    peer: &mut Peer,
) -> Outcome<(Server, Duration)> {
    while wire.receive(Duration::ZERO)? > 0 {}
    let begun = Instant::now();
    let ports = server.kill()?;
    // Comes back when the ports are bound; the sockets answer from then on.
    let server = folder.serve_at(ports)?;
    while begun.elapsed() < PATIENCE {
        ping(wire, device, peer);
        for place in 0..wire.receive(PING_EACH)? {
            let (from, datagram) = wire.datagram(place);
            if from == device && is_answer(peer, datagram) {
                return Ok((server, begun.elapsed()));
            }
        }
    }
    Err("no session is resumed after a restart".into())
}

/// The first message of a device that restores its session.
fn ping(wire: &Wire, device: usize, peer: &mut Peer) {
    peer.message_id = peer.message_id.wrapping_add(1);
    let [high, low] = peer.message_id.to_be_bytes();
    let mut out = Vec::new();
    let sealed = peer.session.seal(ContentType::ApplicationData, &[0x40, 0, high, low], &mut out);
    debug_assert!(sealed.is_ok(), "a device's numbers are not limited");
    mark_moved_cid(&mut out);
    wire.send(device, &out);
}

fn is_answer(peer: &mut Peer, datagram: &mut [u8]) -> bool {
    let opened = peer.session.open(datagram);
    opened.is_ok_and(|opened| opened.plaintext.starts_with(&[0x60, 0]))
}
