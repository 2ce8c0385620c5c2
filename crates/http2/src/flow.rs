//! Windows of flow control (RFC 9113, section 5.2), of a connection or of a stream.
//!
//! - A window never exceeds 2^31-1. One for sending can be negative, after a peer's change of
//!   SETTINGS_INITIAL_WINDOW_SIZE.
//! - What was taken is told to the peer in large steps, not byte by byte.

/// What a peer may still send us.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Inflow {
    /// What it knows that it may send.
    open: usize,
    /// What we took and did not tell yet.
    taken: usize,
    /// Its full size.
    size: usize,
}

impl Inflow {
    pub(crate) fn new(size: u32) -> Self {
        let size = size as usize;
        Self { open: size, taken: 0, size }
    }

    /// `len` bytes came. Returns whether they were allowed.
    #[must_use]
    pub(crate) fn receive(&mut self, len: usize) -> bool {
        let open = self.open.checked_sub(len);
        self.open = open.unwrap_or(self.open);
        open.is_some()
    }

    /// We took `len` bytes that came. Returns by how much to open the window now, or nothing.
    #[must_use]
    pub(crate) fn take(&mut self, len: usize) -> Option<u32> {
        self.taken += len;
        debug_assert!(self.open + self.taken <= self.size, "no more is taken than came");
        if self.taken < self.size / 2 {
            return None;
        }
        let update = std::mem::take(&mut self.taken);
        self.open += update;
        Some(u32::try_from(update).expect("no window is larger than a number of 31 bits"))
    }
}

/// What we may still send to a peer.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Outflow(i64);

impl Outflow {
    pub(crate) fn new(size: u32) -> Self {
        Self(i64::from(size))
    }

    /// Bytes that may be sent.
    pub(crate) fn open(self) -> usize {
        usize::try_from(self.0).unwrap_or(0)
    }

    pub(crate) fn send(&mut self, len: usize) {
        debug_assert!(len <= self.open(), "no more is sent than is allowed");
        self.0 -= len as i64;
    }

    /// The peer opens the window. Returns whether it may open so far.
    #[must_use]
    pub(crate) fn widen(&mut self, by: i64) -> bool {
        self.0 += by;
        self.0 <= WINDOW_MAX
    }
}

/// The largest window.
const WINDOW_MAX: i64 = (1 << 31) - 1;

/// What both ends begin with.
pub(crate) const WINDOW_DEFAULT: u32 = 65_535;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_open_in_large_steps() {
        let mut flow = Inflow::new(100);
        assert!(flow.receive(60));
        assert_eq!(flow.take(49), None);
        assert_eq!(flow.take(1), Some(50));
        assert!(flow.receive(90));
        assert!(!flow.receive(1));
    }

    #[test]
    fn windows_for_sending_go_below_zero_and_not_above_the_largest() {
        let mut flow = Outflow::new(10);
        flow.send(10);
        assert!(flow.widen(-5));
        assert_eq!(flow.open(), 0);
        assert!(flow.widen(7));
        assert_eq!(flow.open(), 2);
        assert!(flow.widen(WINDOW_MAX - 2));
        assert!(!flow.widen(1));
    }
}
