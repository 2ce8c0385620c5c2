//! Bytes on their way out: a tail that is written to, and whole pieces that are passed on without
//! a copy.
//!
//! - Bytes leave in the order in which they came.
//! - A piece that is smaller than a copy is worth is copied into the tail.

use bytes::{Buf as _, Bytes, BytesMut};
use std::collections::VecDeque;
use std::io::IoSlice;

/// Bytes on their way out.
#[derive(Debug, Default)]
pub struct Buffer {
    /// Before the tail.
    pieces: VecDeque<Bytes>,
    pieces_len: usize,
    tail: BytesMut,
}

impl Buffer {
    /// An empty buffer whose tail has room for `len` bytes.
    #[must_use]
    pub fn with_capacity(len: usize) -> Self {
        Self { tail: BytesMut::with_capacity(len), ..Self::default() }
    }

    /// Appends bytes that cannot be shared.
    pub fn put_slice(&mut self, bytes: &[u8]) {
        self.tail.extend_from_slice(bytes);
    }

    /// Appends bytes that can: if they are many, they are not copied.
    pub fn put(&mut self, bytes: Bytes) {
        if bytes.len() < SHARED_BYTES_MIN {
            self.tail.extend_from_slice(&bytes);
            return;
        }
        self.seal();
        self.pieces_len += bytes.len();
        self.pieces.push_back(bytes);
    }

    /// The end of the buffer, for encoders that write to a `BufMut`.
    pub fn tail(&mut self) -> &mut BytesMut {
        &mut self.tail
    }

    /// Bytes in it.
    #[must_use]
    pub fn len(&self) -> usize {
        self.pieces_len + self.tail.len()
    }

    /// A copy of all bytes in it.
    #[must_use]
    pub fn to_vec(&self) -> Vec<u8> {
        let pieces = self.pieces.iter().flat_map(|piece| piece.iter());
        pieces.chain(&self.tail).copied().collect()
    }

    /// Whether nothing is in it.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Makes the tail a piece.
    fn seal(&mut self) {
        if !self.tail.is_empty() {
            let sealed = self.tail.split().freeze();
            self.pieces_len += sealed.len();
            self.pieces.push_back(sealed);
        }
    }

    /// Moves all bytes to the end of `queue`, as pieces.
    pub(crate) fn drain_into(mut self, queue: &mut VecDeque<Bytes>) {
        self.seal();
        queue.append(&mut self.pieces);
    }

    /// The bytes as far as `slices` goes. Returns how many slices were set.
    pub(crate) fn slices<'a>(&'a self, slices: &mut [IoSlice<'a>]) -> usize {
        let tail = Some(&self.tail[..]).filter(|tail| !tail.is_empty());
        let all = self.pieces.iter().map(|piece| &piece[..]).chain(tail);
        let mut set = 0;
        for (slice, bytes) in slices.iter_mut().zip(all) {
            *slice = IoSlice::new(bytes);
            set += 1;
        }
        set
    }

    /// The first bytes.
    pub(crate) fn first(&self) -> &[u8] {
        self.pieces.front().map_or(&self.tail[..], |piece| &piece[..])
    }

    /// Whether all is in one place.
    pub(crate) fn in_one(&self) -> bool {
        self.pieces.is_empty()
    }

    /// Forgets the first `count` bytes.
    pub(crate) fn advance(&mut self, mut count: usize) {
        while let Some(piece) = self.pieces.front_mut() {
            if count < piece.len() {
                piece.advance(count);
                self.pieces_len -= count;
                return;
            }
            count -= piece.len();
            self.pieces_len -= piece.len();
            self.pieces.pop_front();
        }
        if count < self.tail.len() {
            self.tail.advance(count);
            return;
        }
        assert_eq!(count, self.tail.len(), "no more is sent than there is");
        self.tail.clear();
        // What one burst needed is not kept by a connection that may idle for days.
        if self.tail.capacity() > TAIL_KEPT_BYTES_MAX {
            self.tail = BytesMut::new();
        }
    }
}

/// From here on a shared piece costs less than a copy.
const SHARED_BYTES_MIN: usize = 4 << 10;

/// Capacity that an empty tail keeps.
const TAIL_KEPT_BYTES_MAX: usize = 64 << 10;

#[cfg(test)]
mod tests {
    use super::*;

    fn contents(buffer: &Buffer) -> Vec<u8> {
        let mut slices = [IoSlice::new(&[]); 8];
        let set = buffer.slices(&mut slices);
        slices[..set].iter().flat_map(|slice| slice.iter().copied()).collect()
    }

    #[test]
    fn order_is_kept_and_large_pieces_are_shared() {
        let large = Bytes::from(vec![7; SHARED_BYTES_MIN]);
        let mut buffer = Buffer::default();
        buffer.put_slice(b"ab");
        buffer.put(Bytes::from_static(b"c"));
        buffer.put(large.clone());
        buffer.put_slice(b"d");
        let mut wanted = [b"abc".to_vec(), large.to_vec(), b"d".to_vec()].concat();
        assert_eq!((buffer.len(), contents(&buffer)), (wanted.len(), wanted.clone()));
        assert!(buffer.pieces.iter().any(|piece| piece.as_ptr() == large.as_ptr()));
        for count in [0, 1, 3, 4094, 2] {
            buffer.advance(count);
            wanted.drain(..count);
            assert_eq!((buffer.len(), contents(&buffer)), (wanted.len(), wanted.clone()));
        }
        assert!(buffer.is_empty());
    }
}
