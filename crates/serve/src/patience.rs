//! How long a client may take to say that it is one.
//!
//! A connection begins with the preface of HTTP/2 and its first frame, or with a request of
//! HTTP/1. While it does not, nobody else watches it: what sorts the two apart waits for bytes.
//! So this does, and is out of the way as soon as they have come: from there on, HTTP/1 has a
//! limit for each head, and an HTTP/2 connection is asked now and then whether somebody is there.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Sleep;

/// What every HTTP/2 connection begins with (RFC 9113, section 3.4).
const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// The preface, and the head of the frame that comes with it.
const OPENING_BYTES: usize = PREFACE.len() + 9;

/// How long the opening may take (Go's HTTP/2 server).
const OPENING_TIMEOUT: Duration = Duration::from_secs(10);

/// A connection that fails unless its opening comes in time.
#[derive(Debug)]
pub(crate) struct Impatient<S> {
    stream: S,
    heard: usize,
    /// `None` once the opening is here.
    deadline: Option<Pin<Box<Sleep>>>,
}

impl<S> Impatient<S> {
    pub(crate) fn new(stream: S) -> Self {
        let deadline = Some(Box::pin(tokio::time::sleep(OPENING_TIMEOUT)));
        Self { stream, heard: 0, deadline }
    }

    fn hear(&mut self, bytes: &[u8]) {
        let rest = PREFACE.get(self.heard..).unwrap_or_default();
        let is_http2 = rest.iter().zip(bytes).all(|(wanted, byte)| wanted == byte);
        self.heard += bytes.len();
        if !is_http2 || self.heard >= OPENING_BYTES {
            self.deadline = None;
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Impatient<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(context, buffer);
        let Some(deadline) = &mut self.deadline else { return read };
        if read.is_ready() {
            self.hear(&buffer.filled()[before..]);
            return read;
        }
        ready!(deadline.as_mut().poll(context));
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Impatient<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, bytes)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    /// Sends the beginnings a second apart, then nothing; whether the connection is cut then.
    async fn is_cut(said: &[&[u8]]) -> bool {
        let (mut client, server) = tokio::io::duplex(1024);
        let mut server = Impatient::new(server);
        let reading = tokio::spawn(async move {
            let mut bytes = Vec::new();
            server.read_to_end(&mut bytes).await.is_err_and(|e| e.kind() == io::ErrorKind::TimedOut)
        });
        for part in said {
            client.write_all(part).await.expect("it has room");
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
        tokio::time::sleep(OPENING_TIMEOUT).await;
        drop(client);
        reading.await.expect("it reads to the end")
    }

    #[tokio::test(start_paused = true)]
    async fn an_opening_that_does_not_come_is_cut() {
        assert!(is_cut(&[]).await);
        assert!(is_cut(&[&PREFACE[..7]]).await);
        assert!(is_cut(&[&PREFACE[..7], &PREFACE[7..]]).await);
        let dribble: Vec<&[u8]> = PREFACE.chunks(1).collect();
        assert!(is_cut(&dribble[..9]).await);
        assert!(!is_cut(&[PREFACE, &[0; 9]]).await);
        assert!(!is_cut(&[b"GET / HT"]).await, "HTTP/1 has a limit of its own");
        assert!(!is_cut(&[b"PR", b"OPFIND / HT"]).await);
    }
}
