//! What attackers would not take from the server if they did not share a machine with it.

use std::net::UdpSocket;
use std::time::{Duration, Instant};

use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeValLike;

use crate::scene::{Pace, measures};

/// How long a burner takes the processor and rests.
const SPIN_TURN: Duration = Duration::from_millis(10);

/// Runs in a thread, with all that it starts, that has the processor when nobody else wants it: an attacker
/// would not take it from the server if it did not share a machine with it.
pub(crate) fn elsewhere<T: Send>(act: impl FnOnce() -> T + Send) -> T {
    let act = || {
        if measures() {
            sim::guest::yield_to_others().expect("chrt runs");
        }
        act()
    };
    let ended = std::thread::scope(|scope| scope.spawn(act).join());
    ended.unwrap_or_else(|why| std::panic::resume_unwind(why))
}

/// Sends at the same rate to a port where nobody is, and takes as much of the processor: what the attacker
/// costs by itself on a machine that it shares with the server.
pub(crate) fn burn(rate: f64, processors: f64, span: Duration) {
    let socket = UdpSocket::bind("127.0.0.1:0").expect("a port");
    let closed = UdpSocket::bind("127.0.0.1:0").expect("a port");
    let nobody = closed.local_addr().expect("an address");
    drop(closed);
    let threads = processors.ceil();
    std::thread::scope(|scope| {
        for _ in 0..threads as u32 {
            scope.spawn(|| spin(processors / threads, span));
        }
        for _ in Pace::new((rate as u64).max(1), span) {
            let _ = socket.send_to(&[0; 128], nobody);
        }
    });
}

/// Takes a share of a processor.
fn spin(share: f64, span: Duration) {
    let began = Instant::now();
    while began.elapsed() < span {
        let turn = Instant::now();
        while turn.elapsed() < SPIN_TURN.mul_f64(share) {
            std::hint::spin_loop();
        }
        std::thread::sleep(SPIN_TURN.mul_f64(1.0 - share.min(1.0)));
    }
}

/// What this process takes of the machine.
pub(crate) struct Load {
    since: Instant,
    cpu: f64,
}

impl Load {
    pub(crate) fn begin() -> Self {
        Self { since: Instant::now(), cpu: cpu_seconds() }
    }

    /// In processors.
    pub(crate) fn share(&self) -> f64 {
        (cpu_seconds() - self.cpu) / self.since.elapsed().as_secs_f64().max(0.001)
    }
}

/// Processor time of this process and all its threads.
fn cpu_seconds() -> f64 {
    let usage = getrusage(UsageWho::RUSAGE_SELF).expect("this process");
    let microseconds =
        usage.user_time().num_microseconds() + usage.system_time().num_microseconds();
    microseconds as f64 / 1e6
}
