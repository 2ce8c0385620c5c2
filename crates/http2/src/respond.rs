//! The task of a request that goes to the service: it asks the service, and sends head, body and
//! trailers of its response.
//!
//! - It stops when the stream is over, and drops the service's future or body with it.
//! - It asks the body for more only when the client took most of what it has.

use crate::answers::{Answers, Post};
use crate::date;
use crate::error::Reason;
use crate::handler::Answer;
use crate::hpack::encode;
use bytes::{Buf, Bytes};
use http::{HeaderMap, Response, header, response};
use http_body::Body;
use std::error::Error;
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::task::{Context, Poll};
use std::time::SystemTime;

/// Sends the response that `response` will be; without its body if the request was a HEAD.
pub(crate) async fn respond<A, R, B>(response: R, mut answers: Answers<A>, head_only: bool)
where
    A: Answer,
    R: Future<Output = Response<B>>,
    B: Body,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
{
    let mut response = pin!(response);
    let answered = unless_closed(&answers, |cx| response.as_mut().poll(cx)).await;
    if let Some(response) = answered {
        let (parts, body) = response.into_parts();
        send(parts, body, &answers, head_only).await;
    }
    answers.settle();
}

async fn send<A, B>(parts: response::Parts, body: B, answers: &Answers<A>, head_only: bool)
where
    A: Answer,
    B: Body,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
{
    let end = body.is_end_stream() || head_only;
    let len = body.size_hint().exact().filter(|_| !body.is_end_stream());
    answers.line().post(Post::Head { block: head(parts, len), end });
    if end {
        return;
    }
    let mut body = pin!(body);
    loop {
        let drained = |cx: &mut Context<'_>| match answers.wake_when_drained(QUEUED_MAX, cx.waker())
        {
            true => Poll::Pending,
            false => Poll::Ready(()),
        };
        poll_fn(drained).await;
        let Some(frame) = unless_closed(answers, |cx| body.as_mut().poll_frame(cx)).await else {
            return;
        };
        let frame = match frame {
            None => break answers.line().post(Post::End(None)),
            Some(Ok(frame)) => frame,
            Some(Err(error)) => {
                let error = error.into();
                tracing::debug!(error, "the body of a response failed");
                break answers.line().post(Post::Reset(Reason::INTERNAL_ERROR));
            }
        };
        match frame.into_data() {
            Ok(mut data) => {
                let data = data.copy_to_bytes(data.remaining());
                if !data.is_empty() {
                    answers.line().add(data.len());
                    answers.line().post(Post::Data(data));
                }
            }
            Err(frame) => {
                if let Ok(trailers) = frame.into_trailers() {
                    break answers.line().post(Post::End(Some(trailers)));
                }
            }
        }
    }
}

/// What `poll` brings, or nothing once the stream is over.
async fn unless_closed<A: Answer, T>(
    answers: &Answers<A>,
    mut poll: impl FnMut(&mut Context<'_>) -> Poll<T>,
) -> Option<T> {
    poll_fn(|cx| {
        if let Poll::Ready(value) = poll(cx) {
            return Poll::Ready(Some(value));
        }
        if answers.wake_when_closed(cx.waker()) { Poll::Pending } else { Poll::Ready(None) }
    })
    .await
}

/// Encodes the head of a response; `len` is the length of its body where that is known.
fn head(mut parts: response::Parts, len: Option<u64>) -> Bytes {
    let headers = &mut parts.headers;
    if let Some(len) = len {
        headers.entry(header::CONTENT_LENGTH).or_insert_with(|| len.into());
    }
    let mut block = Vec::with_capacity(256);
    encode::field(&mut block, b":status", parts.status.as_str().as_bytes());
    fields(&mut block, headers);
    if !headers.contains_key(header::DATE) {
        encode::field(&mut block, b"date", date::text(SystemTime::now()).as_bytes());
    }
    block.into()
}

/// Encodes fields, without those that HTTP/2 does not have.
pub(crate) fn fields(block: &mut Vec<u8>, headers: &HeaderMap) {
    for (name, value) in headers {
        let of_connection = matches!(
            name.as_str(),
            "connection" | "proxy-connection" | "keep-alive" | "transfer-encoding" | "upgrade"
        );
        if !of_connection {
            encode::field(block, name.as_str().as_bytes(), value.as_bytes());
        }
    }
}

/// With so many bytes waiting for the client the body is not asked for more.
const QUEUED_MAX: usize = 64 << 10;
