//! Names of header fields that somebody asks for, told apart once, where they enter a table.
//!
//! A name of a request that is seen again is an index of the table by then: which field it is
//! costs nothing from then on, nor does whether it is a legal one.

/// Which name it is. Also an index of [`super::fields::Fields`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Name(pub(super) u8);

impl Name {
    /// A legal name that nobody asked for.
    pub(crate) const OTHER: Self = Self(0);
    pub(crate) const AUTHORITY: Self = Self(1);
    pub(crate) const METHOD: Self = Self(2);
    pub(crate) const PATH: Self = Self(3);
    pub(crate) const SCHEME: Self = Self(4);
    pub(crate) const CONTENT_TYPE: Self = Self(5);
    pub(crate) const TE: Self = Self(6);
    pub(crate) const GRPC_TIMEOUT: Self = Self(7);
    pub(crate) const GRPC_ENCODING: Self = Self(8);
    pub(crate) const USER_AGENT: Self = Self(9);
    pub(crate) const CONTENT_LENGTH: Self = Self(10);
    pub(crate) const HOST: Self = Self(11);
    /// Illegal in HTTP/2: the fields of a connection, pseudo-fields that are not a request's,
    /// names with impossible characters.
    pub(crate) const ILLEGAL: Self = Self(12);
    /// The first of those that the user of this crate lists.
    const LISTED: Self = Self(16);

    /// The name at `place` in the user's list.
    pub(crate) fn listed(place: usize) -> Self {
        let place = u8::try_from(place).ok().filter(|place| *place < LISTED_MAX);
        Self(Self::LISTED.0 + place.expect("the list has at most eight names"))
    }

    /// Whether it is one of the fields that begin with a colon.
    pub(crate) fn is_pseudo(self) -> bool {
        (Self::AUTHORITY.0..=Self::SCHEME.0).contains(&self.0)
    }

    /// Tells which name `text` is.
    pub(super) fn of(text: &[u8], listed: &[&str]) -> Self {
        match text {
            b":authority" => Self::AUTHORITY,
            b":method" => Self::METHOD,
            b":path" => Self::PATH,
            b":scheme" => Self::SCHEME,
            b"content-type" => Self::CONTENT_TYPE,
            b"te" => Self::TE,
            b"grpc-timeout" => Self::GRPC_TIMEOUT,
            b"grpc-encoding" => Self::GRPC_ENCODING,
            b"user-agent" => Self::USER_AGENT,
            b"content-length" => Self::CONTENT_LENGTH,
            b"host" => Self::HOST,
            b"connection" | b"proxy-connection" | b"keep-alive" | b"transfer-encoding"
            | b"upgrade" => Self::ILLEGAL,
            _ => {
                if let Some(place) = listed.iter().position(|name| name.as_bytes() == text) {
                    return Self::listed(place);
                }
                let legal = !text.is_empty() && text.iter().all(|byte| is_name_byte(*byte));
                if legal { Self::OTHER } else { Self::ILLEGAL }
            }
        }
    }
}

/// Whether a value has none of the bytes that RFC 9110 forbids.
pub(super) fn is_legal_value(value: &[u8]) -> bool {
    value.iter().all(|byte| (*byte >= b' ' && *byte != 0x7f) || *byte == b'\t')
}

/// A token of RFC 9110, without upper case.
fn is_name_byte(byte: u8) -> bool {
    matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'!' | b'#'..=b'\'' | b'*' | b'+' | b'-' | b'.'
        | b'^'..=b'`' | b'|' | b'~')
}

/// How many names there can be.
pub(crate) const NAMES: usize = (Name::LISTED.0 + LISTED_MAX) as usize;

/// How many a user may list.
const LISTED_MAX: u8 = 8;
