//! The libFuzzer program: runs the target that `QUORATE_FUZZ_TARGET` names.
#![no_main]
#![allow(missing_docs, unsafe_code, reason = "the engine's macro makes the entry C calls")]

use quorate_fuzz::{Target, target};
use std::sync::OnceLock;

static CHOSEN: OnceLock<Target> = OnceLock::new();

fn choose() -> Target {
    let name = std::env::var("QUORATE_FUZZ_TARGET").unwrap_or_default();
    target(&name).unwrap_or_else(|| panic!("QUORATE_FUZZ_TARGET names no target: {name:?}"))
}

libfuzzer_sys::fuzz_target!(|data: &[u8]| CHOSEN.get_or_init(choose)(data));
