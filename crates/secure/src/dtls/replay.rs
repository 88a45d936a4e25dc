//! The replay window of RFC 6347 §4.1.2.6.

/// Numbers that a window knows of: the highest one accepted and those below it.
pub(crate) const WINDOW: u64 = 64;

/// The highest record number accepted and which of the 63 below it were.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct ReplayWindow {
    top: u64,
    /// Bit `n` is number `top − n`.
    seen: u64,
}

impl ReplayWindow {
    /// Everything up to `top` counts as seen: a window from before a restart has forgotten which
    /// of them were.
    pub(crate) fn all_seen_to(top: u64) -> Self {
        Self { top, seen: u64::MAX }
    }

    /// The highest number accepted; 0 if there was none.
    pub(crate) fn top(&self) -> u64 {
        self.top
    }

    /// Whether `number` was not accepted before and is not too old to know.
    pub(crate) fn is_fresh(&self, number: u64) -> bool {
        match self.top.checked_sub(number) {
            None => true,
            Some(age @ 0..WINDOW) => self.seen >> age & 1 == 0,
            Some(_) => false,
        }
    }

    /// Notes an authentic record; tells whether it is the newest so far.
    pub(crate) fn mark(&mut self, number: u64) -> bool {
        if number > self.top {
            let ahead = number - self.top;
            self.seen = if ahead < WINDOW { self.seen << ahead | 1 } else { 1 };
            self.top = number;
            return true;
        }
        let is_first = self.seen == 0;
        let age = self.top - number;
        if age < WINDOW {
            self.seen |= 1 << age;
        }
        is_first
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_number_is_fresh_once() {
        let mut window = ReplayWindow::default();
        for number in [0, 1, 5, 3, 200, 199, 137] {
            assert!(window.is_fresh(number), "{number}");
            window.mark(number);
            assert!(!window.is_fresh(number), "{number}");
        }
        assert!(!window.is_fresh(136), "64 behind the newest is too old to know");
        assert!(window.is_fresh(198));
    }

    #[test]
    fn only_a_higher_number_is_the_newest() {
        let mut window = ReplayWindow::default();
        assert!(window.mark(0), "the very first record");
        assert!(window.mark(9));
        assert!(!window.mark(8));
        assert!(window.mark(100));
        assert!(!window.mark(99));
    }

    #[test]
    fn a_restored_window_has_seen_all_up_to_its_top() {
        let mut window = ReplayWindow::all_seen_to(70);
        assert!((0..=70).all(|number| !window.is_fresh(number)));
        assert!(window.mark(72));
        assert!(window.is_fresh(71));
    }
}
