//! Which chunks are on their way (`ota.md` §3.3): a window over the file that moves with what the device
//! acknowledges, and a congestion window within it.

use std::collections::VecDeque;
use std::time::Duration;

use model::Mono;

use crate::message::ota::v3::UpdateAck;

/// Chunks beyond the last one acknowledged without a gap. A device built for x86 hangs when it gets a
/// chunk that was missing while it holds 31 later ones (§3.3), so that the 31st must not be sent.
const AHEAD_MAX: usize = 31;
/// Chunks on their way at first.
const CONGESTION_FIRST: u32 = 16;
const CONGESTION_MIN: u32 = 4;
/// A chunk is lost when so many that were sent after it are there.
const PASSED_MAX: u8 = 3;
const TIMEOUT_MIN: Duration = Duration::from_secs(1);
const TIMEOUT_MAX: Duration = Duration::from_secs(8);

/// The chunks between what is there and what was never sent.
#[derive(Debug)]
pub(super) struct Window {
    /// Every chunk up to this one is there.
    base: u32,
    total: u32,
    ahead_max: usize,
    /// Chunk `base` + 1 and those behind it, as far as they were sent.
    sent: VecDeque<Sent>,
    sequence: u32,
    congestion: u32,
    threshold: u32,
    acknowledged_since_growth: u32,
    /// Losses among what was sent before this one are one loss.
    recovery: u32,
    round_trip: Option<Duration>,
    backoff: u32,
    progress_at: Mono,
}

#[derive(Debug, Clone, Copy)]
struct Sent {
    at: Mono,
    /// Grows with each transmission of any chunk.
    sequence: u32,
    /// How many that were sent later are there.
    passed: u8,
    repeated: bool,
    fate: Fate,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    Open,
    There,
    Lost,
}

impl Window {
    /// A window over `total` chunks for a device that takes `device_max` ahead.
    pub(super) fn new(total: u32, device_max: u32, now: Mono) -> Self {
        let device_max = usize::try_from(device_max).unwrap_or(AHEAD_MAX);
        Self {
            base: 0,
            total,
            ahead_max: device_max.clamp(1, AHEAD_MAX),
            sent: VecDeque::new(),
            sequence: 0,
            congestion: CONGESTION_FIRST,
            threshold: u32::MAX,
            acknowledged_since_growth: 0,
            recovery: 0,
            round_trip: None,
            backoff: 0,
            progress_at: now,
        }
    }

    /// Chunks that are there without a gap.
    pub(super) fn there(&self) -> u32 {
        self.base
    }

    pub(super) fn is_complete(&self) -> bool {
        self.base == self.total
    }

    /// When something new was there last.
    pub(super) fn progress_at(&self) -> Mono {
        self.progress_at
    }

    /// The chunk to send next, from 1; none for now if the window is full.
    pub(super) fn next(&self) -> Option<u32> {
        let open = self.sent.iter().filter(|sent| sent.fate == Fate::Open).count();
        let is_first_lost = self.sent.front().is_some_and(|sent| sent.fate == Fate::Lost);
        // The chunk that holds up all others waits for nobody.
        if open >= self.congestion as usize && !is_first_lost {
            return None;
        }
        let lost = self.sent.iter().position(|sent| sent.fate == Fate::Lost);
        let next = self.base + 1 + u32::try_from(lost.unwrap_or(self.sent.len())).ok()?;
        let fits = lost.is_some() || (self.sent.len() < self.ahead_max && next <= self.total);
        fits.then_some(next)
    }

    /// That chunk was sent.
    pub(super) fn sent(&mut self, index: u32, now: Mono) {
        self.sequence += 1;
        let place = (index - self.base - 1) as usize;
        let repeated = place < self.sent.len();
        let sequence = self.sequence;
        let sent = Sent { at: now, sequence, passed: 0, repeated, fate: Fate::Open };
        match self.sent.get_mut(place) {
            Some(before) => *before = sent,
            None => self.sent.push_back(sent),
        }
    }

    /// What the device says is there. One that tells of chunks never sent is not heard.
    pub(super) fn acknowledged(&mut self, ack: &UpdateAck<'_>, now: Mono) {
        let end = self.base + self.sent.len() as u32;
        if ack.index > end {
            return;
        }
        let mut news = Vec::new();
        for (index, sent) in (self.base + 1..).zip(&mut self.sent) {
            let is_there = index <= ack.index || ack.has(index - ack.index - 1);
            if is_there && sent.fate != Fate::There {
                news.push(*sent);
                sent.fate = Fate::There;
            }
        }
        if news.is_empty() {
            return;
        }
        self.progress_at = now;
        self.backoff = 0;
        self.measure(&news, now);
        self.grow(news.len() as u32);
        self.find_passed(&news);
        while self.sent.front().is_some_and(|sent| sent.fate == Fate::There) {
            self.sent.pop_front();
            self.base += 1;
        }
    }

    /// The round trip, by the newest chunk that was sent once.
    fn measure(&mut self, news: &[Sent], now: Mono) {
        let once = news.iter().filter(|sent| !sent.repeated).map(|sent| sent.at).max();
        if let Some(at) = once {
            let sample = now.since(at);
            let before = self.round_trip.unwrap_or(sample);
            self.round_trip = Some((before * 7 + sample) / 8);
        }
    }

    fn grow(&mut self, acknowledged: u32) {
        if self.congestion < self.threshold {
            self.congestion += acknowledged;
        } else {
            self.acknowledged_since_growth += acknowledged;
            if self.acknowledged_since_growth >= self.congestion {
                self.acknowledged_since_growth = 0;
                self.congestion += 1;
            }
        }
        self.congestion = self.congestion.min(AHEAD_MAX as u32);
    }

    fn find_passed(&mut self, news: &[Sent]) {
        let mut newest_lost = None;
        for sent in self.sent.iter_mut().filter(|sent| sent.fate == Fate::Open) {
            let later = news.iter().filter(|there| there.sequence > sent.sequence).count();
            sent.passed = sent.passed.saturating_add(u8::try_from(later).unwrap_or(u8::MAX));
            if sent.passed >= PASSED_MAX {
                sent.fate = Fate::Lost;
                newest_lost = newest_lost.max(Some(sent.sequence));
            }
        }
        if newest_lost.is_some_and(|sequence| sequence > self.recovery) {
            self.recovery = self.sequence;
            self.congestion = (self.congestion / 2).max(CONGESTION_MIN);
            self.threshold = self.congestion;
        }
    }

    /// When the oldest chunk on its way counts as lost.
    pub(super) fn deadline(&self) -> Option<Mono> {
        let open = self.sent.iter().filter(|sent| sent.fate == Fate::Open);
        Some(open.map(|sent| sent.at).min()?.after(self.timeout()))
    }

    fn timeout(&self) -> Duration {
        let round_trips = self.round_trip.unwrap_or_default() * 3;
        let backed_off = round_trips.max(TIMEOUT_MIN) * (1 << self.backoff.min(3));
        backed_off.clamp(TIMEOUT_MIN, TIMEOUT_MAX)
    }

    /// Gives up on what is too old.
    pub(super) fn expire(&mut self, now: Mono) {
        let timeout = self.timeout();
        let mut any = false;
        for sent in self.sent.iter_mut().filter(|sent| sent.fate == Fate::Open) {
            if sent.at.after(timeout) <= now {
                sent.fate = Fate::Lost;
                any = true;
            }
        }
        if any {
            self.backoff += 1;
            self.recovery = self.sequence;
            self.threshold = (self.congestion / 2).max(CONGESTION_MIN);
            self.congestion = CONGESTION_MIN;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Mono = Mono(1_000_000);

    fn send_all(window: &mut Window, now: Mono) -> Vec<u32> {
        let mut indices = Vec::new();
        while let Some(index) = window.next() {
            window.sent(index, now);
            indices.push(index);
        }
        indices
    }

    fn ack(window: &mut Window, index: u32, bitmap: &[u8]) {
        window.acknowledged(&UpdateAck { index, bitmap }, Mono(NOW.0 + 50_000));
    }

    #[test]
    fn never_more_than_31_chunks_pass_one_that_is_missing() {
        let mut window = Window::new(500, 256, NOW);
        let mut highest = 0;
        for _ in 0..40 {
            highest = send_all(&mut window, NOW).into_iter().max().unwrap_or(highest).max(highest);
            // Chunk 1 never arrives, all others do.
            ack(&mut window, 0, &[0xfe, 0xff, 0xff, 0xff]);
        }
        assert_eq!(highest, 31);
    }

    #[test]
    fn a_chunk_is_sent_again_when_three_later_ones_are_there() {
        let mut window = Window::new(100, 256, NOW);
        send_all(&mut window, NOW);
        ack(&mut window, 1, &[0b0110]);
        assert!(!send_all(&mut window, NOW).contains(&2));
        ack(&mut window, 1, &[0b1110]);
        assert_eq!(send_all(&mut window, NOW).first(), Some(&2));
    }

    #[test]
    fn an_old_acknowledgement_tells_by_its_bitmap_and_one_of_the_future_nothing() {
        let mut window = Window::new(100, 256, NOW);
        send_all(&mut window, NOW);
        ack(&mut window, 4, &[]);
        ack(&mut window, 2, &[0b100]);
        ack(&mut window, 99, &[]);
        assert_eq!(window.there(), 5);
    }

    #[test]
    fn everything_is_sent_again_after_a_time_without_any_answer() {
        let mut window = Window::new(100, 256, NOW);
        let first = send_all(&mut window, NOW);
        let at = window.deadline().expect("chunks are on their way");
        assert_eq!(at, NOW.after(TIMEOUT_MIN));
        window.expire(at);
        assert_eq!(send_all(&mut window, at), first[..4]);
        assert_eq!(window.deadline(), Some(at.after(2 * TIMEOUT_MIN)));
    }

    #[test]
    fn a_device_with_a_small_window_is_not_overrun() {
        let mut window = Window::new(100, 2, NOW);
        assert_eq!(send_all(&mut window, NOW), [1, 2]);
    }
}
