//! What the index knows of one revision of a key: 40 bytes, no pointer.

use backend::{Location, RestoredRevision, Revision};

/// One revision of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Item {
    main: i64,
    create: i64,
    version: i64,
    /// The sub revision, and in the lowest bit whether this is a deletion.
    sub_mark: u32,
    location: Location,
}

impl Item {
    /// A put of `revision`: the key was created at `create` and put `version` times since.
    #[must_use]
    pub fn put(revision: Revision, create: i64, version: i64, location: Location) -> Self {
        Self { main: revision.main, create, version, sub_mark: sub_mark(revision, false), location }
    }

    /// A deletion.
    #[must_use]
    pub fn tombstone(revision: Revision, location: Location) -> Self {
        let sub_mark = sub_mark(revision, true);
        Self { main: revision.main, create: 0, version: 0, sub_mark, location }
    }

    /// What start-up found.
    #[must_use]
    pub fn restored(found: &RestoredRevision<'_>) -> Self {
        match found.tombstone {
            true => Self::tombstone(found.revision, found.location),
            false => {
                Self::put(found.revision, found.create_revision, found.version, found.location)
            }
        }
    }

    /// Main and sub.
    #[must_use]
    pub fn revision(&self) -> Revision {
        Revision { main: self.main, sub: i64::from(self.sub_mark >> 1) }
    }

    /// The transaction's revision.
    #[must_use]
    pub fn main(&self) -> i64 {
        self.main
    }

    /// Whether the key was deleted.
    #[must_use]
    pub fn is_tombstone(&self) -> bool {
        self.sub_mark & 1 == 1
    }

    /// The revision that created the key; 0 for a deletion.
    #[must_use]
    pub fn create(&self) -> i64 {
        self.create
    }

    /// How often the key was put since it was created; 0 for a deletion.
    #[must_use]
    pub fn version(&self) -> i64 {
        self.version
    }

    /// Where the record lies.
    #[must_use]
    pub fn location(&self) -> Location {
        self.location
    }
}

fn sub_mark(revision: Revision, tombstone: bool) -> u32 {
    let sub = u32::try_from(revision.sub).ok().filter(|sub| *sub < 1 << 31);
    sub.expect("a transaction has fewer than 2^31 changes") << 1 | u32::from(tombstone)
}
