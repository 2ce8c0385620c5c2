//! What several test suites share. Nothing outside of tests depends on this crate.

pub mod certificates;
pub mod figures;
pub mod script;
