//! The panic of any thread ends the process, with a last line in the log. The test starts itself
//! once more to have a process that may end so.

use quorate_serve::log;
use std::os::unix::process::ExitStatusExt as _;
use std::process::Command;

/// Set in the process that is to end.
const CHILD: &str = "QUORATE_TEST_PANIC";

#[test]
fn a_panic_ends_the_process() {
    if std::env::var_os(CHILD).is_some() {
        log::start();
        log::abort_on_panic();
        tracing::info!(target: "quorate", "about to panic");
        let thread = std::thread::Builder::new().name("doomed".to_owned());
        let panics = || panic!("nobody {}", "expected this");
        drop(thread.spawn(panics).expect("a thread can be started").join());
        unreachable!("the process ends with the thread");
    }
    let own = std::env::current_exe().expect("a test knows its own program");
    let mut child = Command::new(own);
    child.args(["--exact", "a_panic_ends_the_process", "--nocapture"]).env(CHILD, "1");
    let ended = child.output().expect("it can be started");
    assert_eq!(ended.status.signal(), Some(6), "it aborts");
    let said = String::from_utf8_lossy(&ended.stderr);
    let last = said.trim_end().lines().last().expect("it says something");
    let line: serde_json::Value = serde_json::from_str(last).expect("the last line is JSON");
    assert_eq!(line["level"], "panic");
    assert_eq!(line["msg"], "nobody expected this");
    assert_eq!(line["thread"], "doomed");
    assert!(line["caller"].as_str().is_some_and(|caller| caller.contains("panic.rs:")));
    assert!(line["ts"].as_str().is_some_and(|ts| !ts.is_empty()));
    assert!(said.contains("\"msg\":\"about to panic\""), "{said}");
}
