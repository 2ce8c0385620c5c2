//! Cutting the messages of gRPC out of a stream of bytes: a flag, a length of four bytes, as many
//! bytes.
//!
//! - A message that lies in one piece is a slice of it; only one in several pieces is put together.
//! - Room is taken as bytes come, never for what a length promises.

use bytes::{Buf as _, Bytes, BytesMut};

/// What has come of a message that is not whole yet.
#[derive(Debug, Default)]
pub(crate) struct Cutter {
    prefix: [u8; PREFIX_LEN],
    prefix_len: usize,
    body: BytesMut,
}

/// A message, and whether its sender says it is compressed.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Message {
    pub(crate) flag: u8,
    pub(crate) body: Bytes,
}

/// The length of a message is above the limit.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct TooLarge(pub(crate) usize);

impl Cutter {
    /// Takes the next message off `data`, or keeps all of it for later.
    pub(crate) fn next(
        &mut self,
        data: &mut Bytes,
        max: usize,
    ) -> Result<Option<Message>, TooLarge> {
        if self.prefix_len < PREFIX_LEN {
            let count = data.len().min(PREFIX_LEN - self.prefix_len);
            self.prefix[self.prefix_len..][..count].copy_from_slice(&data[..count]);
            self.prefix_len += count;
            data.advance(count);
            if self.prefix_len < PREFIX_LEN {
                return Ok(None);
            }
        }
        let [flag, len @ ..] = self.prefix;
        let len = u32::from_be_bytes(len) as usize;
        if len > max {
            return Err(TooLarge(len));
        }
        let missing = len - self.body.len();
        let body = if data.len() < missing {
            self.body.extend_from_slice(data);
            data.clear();
            return Ok(None);
        } else if self.body.is_empty() {
            data.split_to(len)
        } else {
            self.body.extend_from_slice(&data.split_to(missing));
            std::mem::take(&mut self.body).freeze()
        };
        self.prefix_len = 0;
        Ok(Some(Message { flag, body }))
    }

    /// Whether a part of a message has come.
    pub(crate) fn is_inside(&self) -> bool {
        self.prefix_len > 0
    }
}

/// Bytes before each message.
pub(crate) const PREFIX_LEN: usize = 5;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn pieces_make_no_difference(
            messages in prop::collection::vec(
                (any::<u8>(), prop::collection::vec(any::<u8>(), 0..40)), 0..8),
            cuts in prop::collection::vec(0..20_usize, 1..20),
            left in 0..5_usize,
        ) {
            let mut stream = Vec::new();
            for (flag, body) in &messages {
                stream.push(*flag);
                stream.extend_from_slice(&u32::try_from(body.len()).unwrap().to_be_bytes());
                stream.extend_from_slice(body);
            }
            stream.extend_from_slice(&vec![0; left]);
            let mut rest = Bytes::from(stream);
            let (mut cutter, mut found) = (Cutter::default(), Vec::new());
            let mut cuts = cuts.iter().cycle();
            while !rest.is_empty() {
                let mut piece = rest.split_to((cuts.next().unwrap() + 1).min(rest.len()));
                while let Some(message) = cutter.next(&mut piece, 40).unwrap() {
                    found.push((message.flag, message.body.to_vec()));
                }
                prop_assert!(piece.is_empty());
            }
            prop_assert_eq!(found, messages);
            prop_assert_eq!(cutter.is_inside(), left > 0);
        }
    }

    #[test]
    fn a_whole_message_is_not_copied_and_a_large_one_refused() {
        let mut data = Bytes::from_static(b"\0\0\0\0\x03abc\0\0\0\0\x04");
        let start = data.as_ptr();
        let mut cutter = Cutter::default();
        let message = cutter.next(&mut data, 3).unwrap().unwrap();
        assert_eq!(
            (&message.body[..], message.body.as_ptr()),
            (&b"abc"[..], start.wrapping_add(5))
        );
        assert_eq!(cutter.next(&mut data, 3), Err(TooLarge(4)));
    }
}
