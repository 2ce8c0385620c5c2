//! Clusters in memory.
