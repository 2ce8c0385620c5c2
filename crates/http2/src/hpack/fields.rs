//! The fields of one decoded block: their texts in one buffer that is used again for the next.
//!
//! - What makes a request malformed (RFC 9113, section 8) is found while fields come in.
//! - Beyond the limit fields are counted and not kept.

use super::FIELD_OVERHEAD;
use super::name::{NAMES, Name};

/// The fields of one block.
#[derive(Debug)]
pub(crate) struct Fields {
    texts: Vec<u8>,
    list: Vec<Field>,
    /// Of each name the place in the list of its first field.
    first: [u16; NAMES],
    /// As SETTINGS_MAX_HEADER_LIST_SIZE counts.
    size: usize,
    size_max: usize,
    malformed: Option<&'static str>,
    regular_seen: bool,
}

/// Where a field's texts are.
#[derive(Debug, Clone, Copy)]
struct Field {
    name: Name,
    start: usize,
    name_len: usize,
    value_len: usize,
}

impl Fields {
    pub(crate) fn new(size_max: u32) -> Self {
        Self {
            texts: Vec::new(),
            list: Vec::new(),
            first: [NONE; NAMES],
            size: 0,
            size_max: SIZE_MAX.min(size_max as usize),
            malformed: None,
            regular_seen: false,
        }
    }

    pub(super) fn clear(&mut self) {
        self.texts.clear();
        // One large request does not make the connection large for ever.
        self.texts.shrink_to(TEXTS_KEPT_BYTES_MAX);
        self.list.clear();
        self.first = [NONE; NAMES];
        self.size = 0;
        self.malformed = None;
        self.regular_seen = false;
    }

    /// Adds a field. Texts are the caller's.
    pub(super) fn push(&mut self, name: Name, legal: bool, name_text: &[u8], value: &[u8]) {
        self.size = self.size.saturating_add(name_text.len() + value.len() + FIELD_OVERHEAD);
        self.check(name, legal, value);
        if self.is_too_large() {
            return;
        }
        let start = self.texts.len();
        self.texts.extend_from_slice(name_text);
        self.texts.extend_from_slice(value);
        let first = &mut self.first[usize::from(name.0)];
        if *first == NONE {
            *first = u16::try_from(self.list.len()).expect("the limit allows no more fields");
        }
        let (name_len, value_len) = (name_text.len(), value.len());
        self.list.push(Field { name, start, name_len, value_len });
    }

    fn check(&mut self, name: Name, legal: bool, value: &[u8]) {
        let broken = if !legal {
            Some("a field's value has impossible characters")
        } else if name.is_pseudo() {
            if self.regular_seen {
                Some("a pseudo-field comes after others")
            } else if self.has(name) {
                Some("a pseudo-field comes twice")
            } else {
                None
            }
        } else {
            self.regular_seen = true;
            if name == Name::ILLEGAL {
                Some("a field has no place in a request of HTTP/2")
            } else if name == Name::TE && value != b"trailers" {
                Some("te says something else than trailers")
            } else {
                None
            }
        };
        self.malformed = self.malformed.or(broken);
    }

    /// Whether there were more fields than the limit allows.
    pub(crate) fn is_too_large(&self) -> bool {
        self.size > self.size_max
    }

    /// Why the block is none of a request or its trailers.
    pub(crate) fn malformed(&self) -> Option<&'static str> {
        self.malformed
    }

    pub(crate) fn has(&self, name: Name) -> bool {
        self.first[usize::from(name.0)] != NONE
    }

    /// Whether the name comes more than once.
    pub(crate) fn has_many(&self, name: Name) -> bool {
        self.list.iter().filter(|field| field.name == name).count() > 1
    }

    /// The first value of a name.
    pub(crate) fn value(&self, name: Name) -> Option<&[u8]> {
        let place = self.first[usize::from(name.0)];
        let field = self.list.get(usize::from(place))?;
        Some(self.value_of(field))
    }

    /// All fields in their order, pseudo-fields too.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (Name, &[u8], &[u8])> {
        self.list.iter().map(|field| {
            let name = &self.texts[field.start..][..field.name_len];
            (field.name, name, self.value_of(field))
        })
    }

    fn value_of(&self, field: &Field) -> &[u8] {
        &self.texts[field.start + field.name_len..][..field.value_len]
    }
}

const NONE: u16 = u16::MAX;

/// Fields are counted with sixteen bits, and each takes as much of the limit at least.
const SIZE_MAX: usize = (NONE as usize - 1) * FIELD_OVERHEAD;

const TEXTS_KEPT_BYTES_MAX: usize = 16 << 10;
