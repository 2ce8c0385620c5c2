//! An input taken apart from the front. When it is used up, everything is zero or empty.

/// What is left of an input.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Input<'a>(&'a [u8]);

impl<'a> Input<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn byte(&mut self) -> u8 {
        let (first, rest) = self.0.split_first().unwrap_or((&0, &[]));
        self.0 = rest;
        *first
    }

    /// A number of up to four bytes; the first says how many.
    pub(crate) fn number(&mut self) -> u32 {
        let len = self.byte() % 5;
        (0..len).fold(0, |number, _| number << 8 | u32::from(self.byte()))
    }

    /// Up to `max` bytes, as many as a number says and there are.
    pub(crate) fn bytes(&mut self, max: u32) -> &'a [u8] {
        let len = self.number() % (max + 1);
        let len = usize::try_from(len).unwrap_or(usize::MAX).min(self.0.len());
        let (bytes, rest) = self.0.split_at(len);
        self.0 = rest;
        bytes
    }

    pub(crate) fn rest(self) -> &'a [u8] {
        self.0
    }
}
