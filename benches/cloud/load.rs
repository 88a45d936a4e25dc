//! The driver of closed loops: a fixed number of questions is open, and each answer makes room for
//! the next one. The same for the server and for its ceiling.

use std::time::{Duration, Instant};

use crate::Outcome;
use crate::wire::Wire;

/// Questions open at once.
const WINDOW: usize = 512;
/// After this long without any answer, those still open are lost.
const LOST_AFTER: Duration = Duration::from_millis(1500);

/// What is said over the wire.
pub(crate) trait Talk {
    /// How many devices talk.
    fn devices(&self) -> usize;
    /// Writes a question of a device.
    fn ask(&mut self, device: usize, out: &mut Vec<u8>);
    /// Whether this is the answer to the last question of a device.
    fn is_answer(&mut self, device: usize, datagram: &mut [u8]) -> bool;
}

/// How a round went.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Rate {
    pub(crate) per_s: f64,
    pub(crate) lost: usize,
}

/// Devices in turn, one question each.
struct Ring<'a, T> {
    wire: &'a mut Wire,
    talk: &'a mut T,
    is_waiting: Vec<bool>,
    waiting: usize,
    next: usize,
    out: Vec<u8>,
}

/// Talks for a while; the first fifth does not count.
pub(crate) fn closed_loop(wire: &mut Wire, talk: &mut impl Talk, span: Duration) -> Outcome<Rate> {
    let is_waiting = vec![false; talk.devices()];
    let mut ring = Ring { wire, talk, is_waiting, waiting: 0, next: 0, out: Vec::new() };
    ring.run(span / 5)?;
    let begun = Instant::now();
    let answers = ring.run(span)?;
    let per_s = answers as f64 / begun.elapsed().as_secs_f64();
    Ok(Rate { per_s, lost: ring.drain()? })
}

impl<T: Talk> Ring<'_, T> {
    fn run(&mut self, span: Duration) -> Outcome<usize> {
        let (begun, mut answers) = (Instant::now(), 0);
        while begun.elapsed() < span {
            while self.waiting < WINDOW.min(self.is_waiting.len()) {
                self.ask_next();
            }
            let heard = self.hear(LOST_AFTER)?;
            if heard == 0 {
                return Err(format!("no answer to {} questions", self.waiting).into());
            }
            answers += heard;
        }
        Ok(answers)
    }

    /// Waits for what is open; tells how much never came.
    fn drain(&mut self) -> Outcome<usize> {
        while self.waiting > 0 && self.hear(LOST_AFTER)? > 0 {}
        Ok(self.waiting)
    }

    fn ask_next(&mut self) {
        while self.is_waiting[self.next] {
            self.next = (self.next + 1) % self.is_waiting.len();
        }
        self.out.clear();
        self.talk.ask(self.next, &mut self.out);
        self.wire.send(self.next, &self.out);
        self.is_waiting[self.next] = true;
        self.waiting += 1;
    }

    fn hear(&mut self, wait: Duration) -> Outcome<usize> {
        let mut answers = 0;
        for place in 0..self.wire.receive(wait)? {
            let (device, datagram) = self.wire.datagram(place);
            if self.is_waiting.get(device) == Some(&true) && self.talk.is_answer(device, datagram) {
                self.is_waiting[device] = false;
                self.waiting -= 1;
                answers += 1;
            }
        }
        Ok(answers)
    }
}
