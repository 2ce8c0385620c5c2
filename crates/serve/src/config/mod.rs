//! From what people type to what a member is told.
//!
//! [`parse`] reads flags and environment, or the file that takes their place (`file.rs`), into
//! [`Raw`], strings by the names of the table (`table.rs`); [`check`] makes a [`Checked`] of it,
//! once, after [`check_log`] (`logging.rs`) has said how to log. `kind.rs` says what values are,
//! `tls.rs` has those of TLS, `gates.rs` the features that can be switched. Errors have etcd's words
//! where etcd has some, and else name the flag and what it should be.
//!
//! Source: etcd server/etcdmain/config.go, server/embed/config.go, Go's flag package.

mod check;
mod file;
mod gates;
pub(crate) mod go;
mod kind;
mod logging;
mod parse;
mod table;
mod tls;

pub use check::{Checked, ConfigError, Found, Http2Limits, Url, check};
pub use gates::Gates;
pub use logging::check_log;
pub use parse::{Asked, FlagError, Raw, help, parse};
pub use table::{FLAGS, Flag, IGNORED};
pub use tls::Tls;
