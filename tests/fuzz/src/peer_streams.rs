//! Bodies of peer streams of any bytes, which come in pieces of any size.
//!
//! The pieces must not matter, and what was read must be read again from what we would write.

use bytes::{BufMut, BytesMut};
use peer::codec::{self, CodecError, msgappv2};
use raftpb::Message;

/// Reads a stream of messages of all kinds.
pub(crate) fn message(data: &[u8]) {
    let (whole, pieces) = both_ways(data, || codec::message::decode);
    assert_eq!(whole, pieces, "pieces make no difference");
    for message in whole.0 {
        let mut bytes = BytesMut::new();
        codec::message::encode(&mut bytes, &message);
        assert_eq!(codec::message::decode(&mut bytes), Ok(Some(message)));
    }
}

/// Reads a stream of appends.
pub(crate) fn msgappv2(data: &[u8]) {
    let decoder = || {
        let mut decoder = msgappv2::Decoder::new(2, 1);
        move |input: &mut BytesMut| decoder.decode(input)
    };
    let (whole, pieces) = both_ways(data, decoder);
    assert_eq!(whole, pieces, "pieces make no difference");
    // A stream of ours says the same, unless an append lies about the order of its entries:
    // both ends then remember another position, as in etcd.
    let in_order = |message: &Message| {
        let indexes = message.entries.iter().map(raftpb::Entry::index);
        let first = message.index().wrapping_add(1);
        indexes.zip(0..).all(|(index, place)| index == first.wrapping_add(place))
            && (message.from(), message.to()) == (2, 1)
            && message.r#type() == raftpb::MessageType::MsgApp
            && message.entries.iter().all(|entry| entry.term() <= message.term())
    };
    let (mut encoder, mut decoder) = (msgappv2::Encoder::default(), decoder());
    for message in whole.0.iter().filter(|message| in_order(message)) {
        let mut bytes = BytesMut::new();
        encoder.encode(&mut bytes, message);
        let again = decoder(&mut bytes);
        let again = again.expect("what we wrote is a frame").expect("and a whole one");
        assert_eq!(again.entries, message.entries);
        assert_eq!(
            (again.index(), again.log_term(), again.commit(), again.term()),
            (message.index(), message.log_term(), message.commit(), message.term())
        );
    }
}

type Outcome = (Vec<Message>, Result<(), CodecError>);

/// Reads `data` at once, and in pieces of growing size.
fn both_ways<D>(data: &[u8], decoder: impl Fn() -> D) -> (Outcome, Outcome)
where
    D: FnMut(&mut BytesMut) -> Result<Option<Message>, CodecError>,
{
    let whole = read(decoder(), [data].into_iter());
    let mut rest = data;
    let mut size = 0;
    let pieces = std::iter::from_fn(move || {
        size += 1;
        let (piece, behind) = rest.split_at(size.min(rest.len()));
        rest = behind;
        (!piece.is_empty()).then_some(piece)
    });
    (whole, read(decoder(), pieces))
}

fn read<'a>(
    mut decode: impl FnMut(&mut BytesMut) -> Result<Option<Message>, CodecError>,
    pieces: impl Iterator<Item = &'a [u8]>,
) -> Outcome {
    let (mut input, mut messages) = (BytesMut::new(), Vec::new());
    for piece in pieces {
        input.put_slice(piece);
        loop {
            match decode(&mut input) {
                Ok(Some(message)) => messages.push(message),
                Ok(None) => break,
                Err(error) => return (messages, Err(error)),
            }
        }
    }
    (messages, Ok(()))
}
