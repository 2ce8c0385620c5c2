//! From the outbox to the connection: answers of fast calls, responses of the service.

use super::calls::content_type;
use super::{Driver, Owner, Service};
use crate::answers::Post;
use crate::buffer::Buffer;
use crate::cut::PREFIX_LEN;
use crate::error::Reason;
use crate::handler::{Answer, Handler, Parts};
use crate::hpack::encode;
use crate::respond;
use crate::status::{Code, OK_BLOCK, Status};
use crate::streams::{End, Key, Rest};
use http::HeaderMap;
use tokio::io::{AsyncRead, AsyncWrite};

impl<S, H, F> Driver<S, H, F>
where
    S: AsyncRead + AsyncWrite + Unpin,
    H: Handler,
    F: Service,
{
    /// Takes everything out of the outbox. What comes after the end of a stream goes nowhere.
    pub(super) fn take_posts(&mut self) {
        let mut posts = std::mem::take(&mut self.posts);
        self.outbox.take(&mut posts);
        for (key, post) in posts.drain(..) {
            let open = self.connection.is_open(key);
            match post {
                Post::Taken(bytes) => self.connection.taken(key, bytes),
                Post::Reset(reason) => self.connection.reset(key, reason),
                _ if !open => {}
                Post::Message { answer, len } => self.send_message(key, answer, len),
                Post::Answer { answer, len } => {
                    self.send_message(key, answer, len);
                    self.finish_call(key, &Status::OK);
                }
                Post::Parts { parts, len } => self.send_parts(key, parts, len),
                Post::Finish(status) => self.finish_call(key, &status),
                Post::Abandoned => self.abandoned(key),
                Post::Head { block, end } => self.connection.send_head(key, &block, end),
                Post::Data(data) => self.connection.send_bytes(key, data),
                Post::End(trailers) => self.connection.finish(key, end(trailers)),
            }
            self.reap();
        }
        // One burst does not make the list large for ever.
        posts.shrink_to(POSTS_KEPT_MAX);
        self.posts = posts;
    }

    fn send_message(&mut self, key: Key, answer: H::Answer, len: usize) {
        if let Some(Owner::Fast(fast)) = self.connection.owner(key) {
            self.handler.sent(&mut fast.call, Some(&answer), len);
        }
        self.head_of_answer(key);
        let Some(prefix) = prefix(len) else {
            return self.connection.reset(key, Reason::INTERNAL_ERROR);
        };
        self.connection.send_data(key, PREFIX_LEN + len, |out| {
            out.put_slice(&prefix);
            answer.encode(out);
        });
    }

    /// Begins to send a message in parts. The first is made before anything is said, while the
    /// call can still end with a status.
    fn send_parts(&mut self, key: Key, parts: Box<dyn Parts>, len: usize) {
        let Some(prefix) = prefix(len) else {
            return self.connection.reset(key, Reason::INTERNAL_ERROR);
        };
        let mut first = Buffer::default();
        first.put_slice(&prefix);
        match Rest::new(parts, len).next(&mut first) {
            Err(status) => self.finish_call(key, &status),
            Ok(rest) => {
                if let Some(Owner::Fast(fast)) = self.connection.owner(key) {
                    self.handler.sent(&mut fast.call, None, len);
                }
                self.head_of_answer(key);
                self.connection.send_parts(key, first, rest);
                self.finish_call(key, &Status::OK);
            }
        }
    }

    fn head_of_answer(&mut self, key: Key) {
        if self.connection.head_sent(key) == Some(false) {
            grpc_head(&mut self.scratch, self.connection.owner(key));
            self.connection.send_head(key, &self.scratch, false);
        }
    }

    /// Ends a fast call after what waits of it.
    pub(super) fn finish_call(&mut self, key: Key, status: &Status) {
        if let Some(Owner::Fast(fast)) = self.connection.owner(key) {
            fast.code = Some(status.code);
        }
        if self.connection.head_sent(key) == Some(false) {
            grpc_head(&mut self.scratch, self.connection.owner(key));
            status.encode(&mut self.scratch);
            return self.connection.send_head(key, &self.scratch, true);
        }
        if *status == Status::OK && self.connection.is_clear(key) {
            return self.connection.finish_now(key, OK_BLOCK);
        }
        self.scratch.clear();
        status.encode(&mut self.scratch);
        let trailers = End::Trailers(self.scratch.clone().into());
        self.connection.finish(key, trailers);
    }

    /// Nobody is left to end the call.
    fn abandoned(&mut self, key: Key) {
        if let Some(Owner::Fast(_)) = self.connection.owner(key) {
            let status = Status::new(Code::Unavailable, "the server dropped the call");
            self.fail_call(key, &status);
        } else {
            self.connection.reset(key, Reason::INTERNAL_ERROR);
        }
    }
}

/// What stands before a message; none for one that is too long for gRPC.
fn prefix(len: usize) -> Option<[u8; PREFIX_LEN]> {
    let [a, b, c, d] = u32::try_from(len).ok()?.to_be_bytes();
    Some([0, a, b, c, d])
}

/// The head of every answer of gRPC.
fn grpc_head<H: Handler>(block: &mut Vec<u8>, owner: Option<&mut Owner<H>>) {
    block.clear();
    match owner {
        Some(Owner::Fast(fast)) if fast.subtype.is_some() => {
            encode::field(block, b":status", b"200");
            content_type(block, fast.subtype.as_deref());
        }
        _ => block.extend_from_slice(encode::GRPC_HEAD),
    }
}

fn end(trailers: Option<HeaderMap>) -> End {
    match trailers {
        None => End::Plain,
        Some(trailers) => {
            let mut block = Vec::new();
            respond::fields(&mut block, &trailers);
            End::Trailers(block.into())
        }
    }
}

/// Room for posts that an empty list keeps.
const POSTS_KEPT_MAX: usize = 256;
