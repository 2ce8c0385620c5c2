//! Benches of the store beside LMDB, in a crate of their own: nothing else needs LMDB built.
