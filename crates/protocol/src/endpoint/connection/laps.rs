//! Tokens that no process before this one used in the last minutes.
//!
//! A device repeats an answer for up to 90 s, over a restart of the server as well. A new process that
//! counted its tokens from the beginning would take the late answer to a call of the old one for the
//! answer to a call of its own. Nothing but the reserved record numbers tells a process of the one
//! before it: so a process keeps to one quarter of the tokens, all its reservations say which, and
//! the next process takes the next quarter.

use model::limits::RECORD_NUMBERS_RESERVED;

/// Quarters of the 256 tokens.
const LAPS: u64 = 4;
/// Tokens of each.
pub(super) const TOKENS: u8 = 64;

/// The quarter of the process that reserved the numbers below `record_limit`.
pub(super) fn of(record_limit: u64) -> u8 {
    (record_limit / RECORD_NUMBERS_RESERVED % LAPS) as u8
}

/// The quarter of the process after that.
pub(super) fn after(record_limit: u64) -> u8 {
    of(record_limit + RECORD_NUMBERS_RESERVED)
}

/// The least limit beyond `record_limit` by one reservation or more that tells of this quarter.
pub(super) fn next_limit(record_limit: u64, lap: u8) -> u64 {
    let blocks = 1 + (u64::from(lap) + LAPS - u64::from(after(record_limit))) % LAPS;
    record_limit + blocks * RECORD_NUMBERS_RESERVED
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_reservations_of_a_process_tell_of_its_quarter_and_the_next_process_takes_the_next_one() {
        let mut limit = RECORD_NUMBERS_RESERVED;
        let mut lap = of(limit);
        for _ in 0..9 {
            for _ in 0..3 {
                let next = next_limit(limit, lap);
                assert!((1..=LAPS).contains(&((next - limit) / RECORD_NUMBERS_RESERVED)));
                assert_eq!(of(next), lap);
                limit = next;
            }
            assert_eq!(u64::from(after(limit)), (u64::from(lap) + 1) % LAPS);
            lap = after(limit);
        }
    }

    #[test]
    fn the_first_reservation_after_a_restart_is_the_smallest() {
        for limit in [0, 1, 1024, 5120, 7000] {
            assert_eq!(next_limit(limit, after(limit)), limit + RECORD_NUMBERS_RESERVED);
        }
    }
}
