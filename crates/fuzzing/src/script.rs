//! Reads an input as a list of steps. It never ends early: what is missing is zero or empty.

/// What is left of an input.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Script<'i>(pub(crate) &'i [u8]);

impl<'i> Script<'i> {
    /// Whether nothing is left.
    pub(crate) fn is_done(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn byte(&mut self) -> u8 {
        let Some((first, rest)) = self.0.split_first() else { return 0 };
        self.0 = rest;
        *first
    }

    pub(crate) fn flag(&mut self) -> bool {
        self.byte() & 1 == 1
    }

    pub(crate) fn number(&mut self) -> u16 {
        u16::from_be_bytes([self.byte(), self.byte()])
    }

    /// Bytes with their length before them.
    pub(crate) fn bytes(&mut self) -> &'i [u8] {
        let length = usize::from(self.number());
        let (taken, rest) = self.0.split_at(length.min(self.0.len()));
        self.0 = rest;
        taken
    }

    /// The same as text; what is none is replaced.
    pub(crate) fn text(&mut self) -> String {
        String::from_utf8_lossy(self.bytes()).into_owned()
    }
}
