//! From what people type to what a member is told.
//!
//! [`parse`] reads flags and environment into [`Raw`], strings by the table's names; [`check`]
//! makes a [`Checked`] of it, once. Errors name the flag and what it should be.
//!
//! Source: etcd server/etcdmain/config.go, server/embed/config.go, Go's flag package.

mod check;
mod parse;
mod table;
mod tls;

pub use check::{Checked, ConfigError, LogFormat, Url, check};
pub use parse::{Asked, FlagError, Raw, help, parse};
pub use table::{FLAGS, Flag, IGNORED};
pub use tls::Tls;
