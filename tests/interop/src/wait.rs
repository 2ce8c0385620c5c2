//! Waiting for what a process or a task will do: asked again and again, up to a deadline. Not for
//! time to pass.

use std::sync::{Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How long something may take that happens within seconds when all is well: machines with other
/// work to do take their time.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// Asks until there is an answer.
///
/// # Panics
/// If there is none within [`PATIENCE`]; `what` is in the message.
pub fn until<T>(what: &str, mut ask: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(Instant::now() < deadline, "waited in vain for this: {what}");
        pause(Duration::from_millis(10));
    }
}

/// Lets some time pass: a moment between two questions, or what a schedule of faults is made of. It
/// may end early.
pub fn pause(moment: Duration) {
    let nobody = Mutex::new(());
    let guard = nobody.lock().unwrap_or_else(PoisonError::into_inner);
    // Nobody notifies: this only gives the time back.
    drop(Condvar::new().wait_timeout(guard, moment));
}
