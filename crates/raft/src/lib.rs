//! The raft consensus core: messages and ticks in, messages and work for the disk out.
//!
//! Floor 1: it imports `raftpb` only. It reads no clock, owns no thread, file or socket, takes no
//! lock and iterates no unordered map, so one sequence of inputs gives one sequence of outputs.

pub mod confchange;
pub mod quorum;
pub mod tracker;
