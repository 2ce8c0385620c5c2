//! Placeholder.
#[test]
fn none() {}
