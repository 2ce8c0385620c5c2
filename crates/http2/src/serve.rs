//! The door of this crate: serves one connection from its first byte to its last.

use crate::driver::{Driver, Service};
use crate::error::Error;
use crate::handler::Handler;
use crate::options::Options;
use bytes::{Bytes, BytesMut};
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Wake, Waker};
use tokio::io::{AsyncRead, AsyncWrite};

/// Serves a connection of HTTP/2 until it ends.
///
/// `already_read` is what was read of the stream to find out that it is one. Once `shutdown` ends,
/// the client is told, what is under way is finished, and so is the connection; who cannot wait so
/// long drops this future. It has to run in a runtime of tokio with time enabled.
///
/// # Errors
///
/// The connection ended otherwise than in peace. Every call was closed, and every task joined.
pub async fn serve<S, H, F>(
    stream: S,
    already_read: Bytes,
    options: Arc<Options>,
    handler: H,
    service: F,
    shutdown: impl Future<Output = ()>,
) -> Result<(), Error>
where
    S: AsyncRead + AsyncWrite + Unpin,
    H: Handler,
    F: Service,
{
    let input = BytesMut::from(already_read);
    let mut driver = Driver::new(stream, input, options, handler, service);
    let mut shutdown = pin!(shutdown);
    let bell = Arc::new(Bell { rung: AtomicBool::new(true), task: Mutex::new(None) });
    let (ringer, mut known) = (Waker::from(Arc::clone(&bell)), None::<Waker>);
    let mut leaving = false;
    let served = poll_fn(|cx| {
        // Most wake-ups have nothing to do with the shutdown, which is then not asked.
        if !leaving && !known.as_ref().is_some_and(|known| known.will_wake(cx.waker())) {
            known = Some(cx.waker().clone());
            bell.task().clone_from(&known);
        }
        if !leaving && bell.rung.swap(false, Ordering::AcqRel) {
            leaving = shutdown.as_mut().poll(&mut Context::from_waker(&ringer)).is_ready();
            if leaving {
                driver.leave();
            }
        }
        driver.poll(cx)
    });
    let result = served.await;
    driver.abandon();
    if !matches!(result, Err(Error::Io(_))) {
        driver.hang_up().await;
    }
    driver.abandon().shutdown().await;
    result
}

/// Wakes the task, and says that it was for the shutdown.
struct Bell {
    rung: AtomicBool,
    task: Mutex<Option<Waker>>,
}

impl Bell {
    fn task(&self) -> std::sync::MutexGuard<'_, Option<Waker>> {
        self.task.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.rung.store(true, Ordering::Release);
        let task = self.task().clone();
        if let Some(task) = task {
            task.wake();
        }
    }
}
