//! Reading and writing, with few calls of the system and large buffers only where they are used.

use super::{Driver, Service};
use crate::error::Error;
use crate::handler::Handler;
use bytes::BytesMut;
use std::io::{self, IoSlice};
use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};

impl<S, H, F> Driver<S, H, F>
where
    S: AsyncRead + AsyncWrite + Unpin,
    H: Handler,
    F: Service,
{
    /// Reads once. Ready if there is something new, which may be the end.
    pub(super) fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        let room = self.input.capacity() - self.input.len();
        let missing = self.connection.missing(&self.input);
        if room < missing.max(ROOM_BYTES_MIN) {
            self.input.reserve(missing.max(self.read_bytes));
        }
        let room = self.input.capacity() - self.input.len();
        let count = ready!(pin!(self.stream.read_buf(&mut self.input)).poll(cx))?;
        if count == 0 {
            self.ended = true;
        } else if count == room {
            self.read_bytes = (self.read_bytes * 2).min(READ_BYTES_MAX);
        }
        Poll::Ready(Ok(()))
    }

    /// Writes all that there is. Ready when it is with the transport. Behind much of it, which
    /// the streams' queues and messages in parts go on to fill, there is a look at what the client
    /// asks for and at other answers first.
    pub(super) fn poll_write(&mut self, cx: &mut Context<'_>) -> Result<Poll<()>, Error> {
        let mut sent = 0;
        while !self.connection.out.is_empty() {
            if sent >= TURN_BYTES {
                self.more = true;
                return Ok(Poll::Pending);
            }
            let out = &self.connection.out;
            let stream = Pin::new(&mut self.stream);
            let written = if out.in_one() || !stream.is_write_vectored() {
                stream.poll_write(cx, out.first())
            } else {
                let mut slices = [IoSlice::new(&[]); SLICES_MAX];
                let set = out.slices(&mut slices);
                stream.poll_write_vectored(cx, &slices[..set])
            };
            let count = match written {
                Poll::Ready(count) => count?,
                Poll::Pending => {
                    let now = self.connection.now();
                    self.stalled.get_or_insert(now);
                    return Ok(Poll::Pending);
                }
            };
            if count == 0 {
                return Err(io::Error::from(io::ErrorKind::WriteZero).into());
            }
            self.stalled = None;
            sent += count;
            self.connection.out.advance(count);
            self.connection.fill();
            self.reap();
        }
        match Pin::new(&mut self.stream).poll_flush(cx) {
            Poll::Ready(flushed) => flushed.map(Poll::Ready).map_err(Error::from),
            Poll::Pending => Ok(Poll::Pending),
        }
    }

    /// Gives up memory that only a busy connection needs.
    pub(super) fn rest(&mut self) {
        let idle = self.connection.streams_len() == 0 && self.input.is_empty();
        if idle && self.read_bytes > READ_BYTES_MIN {
            self.input = BytesMut::new();
            self.read_bytes = READ_BYTES_MIN;
        }
    }

    /// Sends the rest of the output and ends the transport.
    ///
    /// What the client still sends is read and thrown away for a moment: a transport that is
    /// closed with unread bytes may take back what it was given last, and with it the reason.
    pub(crate) async fn hang_up(&mut self) {
        let hang_up = async {
            while !self.connection.out.is_empty() {
                let count = self.stream.write(self.connection.out.first()).await?;
                if count == 0 {
                    break;
                }
                self.connection.out.advance(count);
            }
            self.stream.shutdown().await?;
            while !self.ended {
                self.input.clear();
                self.input.reserve(READ_BYTES_MIN);
                self.ended = self.stream.read_buf(&mut self.input).await? == 0;
            }
            Ok::<(), io::Error>(())
        };
        // Nobody is there to be told of an error.
        let _: Result<_, _> = tokio::time::timeout(HANG_UP, hang_up).await;
    }
}

/// Bytes that one read asks for: at first, and when reads keep bringing as many.
pub(super) const READ_BYTES_MIN: usize = 8 << 10;
const READ_BYTES_MAX: usize = 256 << 10;

/// With less room than this a read is not worth its call.
const ROOM_BYTES_MIN: usize = 2 << 10;

/// Bytes that are written before others have their turn.
const TURN_BYTES: usize = 512 << 10;

/// Pieces that one write takes.
const SLICES_MAX: usize = 64;

/// How long the end of a transport may take.
const HANG_UP: Duration = Duration::from_secs(1);
