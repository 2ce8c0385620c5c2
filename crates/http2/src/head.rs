//! The head of a request: what a handler decides by, and the checks before it is asked.
//!
//! - A [`Head`] borrows the decoded block: no text is copied for a fast call.
//! - Requests that RFC 9113 calls malformed never become a `Head`.
//! - What gRPC refuses is answered as grpc-go does, code and text.

use crate::hpack::fields::Fields;
use crate::hpack::name::Name;
use crate::status::{Code, Status};
use std::str;
use std::time::Duration;

/// The head of a request.
#[derive(Debug, Clone, Copy)]
pub struct Head<'a> {
    fields: &'a Fields,
    timeout: Option<Duration>,
}

impl<'a> Head<'a> {
    pub(crate) fn new(fields: &'a Fields, timeout: Option<Duration>) -> Self {
        Self { fields, timeout }
    }

    /// The method.
    #[must_use]
    pub fn method(&self) -> &'a str {
        self.text(Name::METHOD)
    }

    /// Path and query.
    #[must_use]
    pub fn path(&self) -> &'a str {
        self.text(Name::PATH)
    }

    /// The scheme that the client wrote.
    #[must_use]
    pub fn scheme(&self) -> &'a str {
        self.text(Name::SCHEME)
    }

    /// Whom the client meant to reach: `:authority`, or else `host`.
    #[must_use]
    pub fn authority(&self) -> &'a str {
        let host = if self.fields.has(Name::AUTHORITY) { Name::AUTHORITY } else { Name::HOST };
        self.text(host)
    }

    /// The media type of the body.
    #[must_use]
    pub fn content_type(&self) -> &'a str {
        self.text(Name::CONTENT_TYPE)
    }

    /// What the client calls itself.
    #[must_use]
    pub fn user_agent(&self) -> &'a str {
        self.text(Name::USER_AGENT)
    }

    /// How long the client will wait for the end of the call.
    #[must_use]
    pub fn timeout(&self) -> Option<Duration> {
        self.timeout
    }

    /// The first value of the name at `place` in [`crate::Options::names`].
    #[must_use]
    pub fn named(&self, place: usize) -> Option<&'a [u8]> {
        self.fields.value(Name::listed(place))
    }

    /// The first value of any name, in lower case. Walks through the fields.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&'a [u8]> {
        self.iter().find(|(other, _)| *other == name.as_bytes()).map(|(_, value)| value)
    }

    /// All fields but the pseudo-fields, in their order.
    pub fn iter(&self) -> impl Iterator<Item = (&'a [u8], &'a [u8])> {
        let regular = self.fields.iter().filter(|(name, _, _)| !name.is_pseudo());
        regular.map(|(_, name, value)| (name, value))
    }

    /// The value as text; empty if it is absent or no text.
    fn text(&self, name: Name) -> &'a str {
        let value = self.fields.value(name).unwrap_or_default();
        str::from_utf8(value).unwrap_or_default()
    }

    /// Whether the client speaks gRPC, and what it says of its encoding: `+proto`, for example.
    pub(crate) fn grpc_subtype(&self) -> Option<&'a str> {
        let rest = self.content_type().strip_prefix("application/grpc")?;
        (rest.is_empty() || rest.starts_with(['+', ';'])).then_some(rest)
    }
}

/// What a request that is not taken gets.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Refusal {
    /// The status code of HTTP.
    pub(crate) http: u16,
    pub(crate) status: Status,
}

/// Why these fields are not the head of a request (RFC 9113, section 8.3.1).
pub(crate) fn malformed_request(fields: &Fields) -> Option<&'static str> {
    if let Some(malformed) = fields.malformed() {
        return Some(malformed);
    }
    let present = |name| fields.value(name).is_some_and(|value| !value.is_empty());
    if !present(Name::METHOD) || !present(Name::SCHEME) || !present(Name::PATH) {
        return Some("a pseudo-field is missing");
    }
    None
}

/// What grpc-go says of a request of gRPC before any service sees it, in its order; otherwise the
/// timeout.
pub(crate) fn check_grpc(fields: &Fields) -> Result<Option<Duration>, Refusal> {
    let refuse = |http, code, text: String| Err(Refusal { http, status: Status::new(code, text) });
    if fields.has(Name::HOST) && fields.has_many(Name::HOST) {
        let hosts = fields.iter().filter(|(name, _, _)| *name == Name::HOST).count();
        let authorities = usize::from(fields.has(Name::AUTHORITY));
        let text = format!(
            "num values of :authority: {authorities}, num values of host: {hosts}, \
             both must only have 1 value as per HTTP/2 spec"
        );
        return refuse(400, Code::Internal, text);
    }
    let timeout = match fields.value(Name::GRPC_TIMEOUT).map(parse_timeout).transpose() {
        Ok(timeout) => timeout,
        Err(text) => {
            return refuse(400, Code::Internal, format!("malformed grpc-timeout: {text}"));
        }
    };
    let head = Head::new(fields, timeout);
    if head.method() != "POST" {
        let method = head.method();
        let text = format!("Received a HEADERS frame with :method {method:?} which should be POST");
        return refuse(405, Code::Internal, text);
    }
    if timeout == Some(Duration::ZERO) {
        return Err(Refusal { http: 200, status: Status::deadline_exceeded() });
    }
    let path = head.path();
    if !path.strip_prefix('/').is_some_and(|path| path.contains('/')) {
        let text = format!("malformed method name: {path:?}");
        return refuse(200, Code::Unimplemented, text);
    }
    if let Some(encoding) = fields.value(Name::GRPC_ENCODING)
        && !encoding.is_empty()
        && encoding != b"identity"
    {
        let encoding = String::from_utf8_lossy(encoding);
        let text = format!("grpc: Decompressor is not installed for grpc-encoding {encoding:?}");
        return refuse(200, Code::Unimplemented, text);
    }
    Ok(timeout)
}

/// Reads `grpc-timeout`: up to eight digits and a unit.
fn parse_timeout(value: &[u8]) -> Result<Duration, String> {
    let text = String::from_utf8_lossy(value);
    if value.len() < 2 {
        return Err(format!("transport: timeout string is too short: {text:?}"));
    }
    if value.len() > 9 {
        return Err(format!("transport: timeout string is too long: {text:?}"));
    }
    let (digits, unit) = value.split_at(value.len() - 1);
    let unit = match unit {
        b"H" => Duration::from_secs(3600),
        b"M" => Duration::from_secs(60),
        b"S" => Duration::from_secs(1),
        b"m" => Duration::from_millis(1),
        b"u" => Duration::from_micros(1),
        b"n" => Duration::from_nanos(1),
        _ => return Err(format!("transport: timeout unit is not recognized: {text:?}")),
    };
    let mut count = 0;
    for digit in digits {
        if !digit.is_ascii_digit() {
            let digits = String::from_utf8_lossy(digits);
            return Err(format!("strconv.ParseUint: parsing {digits:?}: invalid syntax"));
        }
        count = count * 10 + u32::from(digit - b'0');
    }
    // As in Go, where a duration ends after 292 years.
    Ok(unit.saturating_mul(count).min(Duration::from_nanos(i64::MAX as u64)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hpack::decode::Decoder;
    use crate::hpack::encode;

    fn fields(pairs: &[(&str, &str)]) -> Fields {
        let mut block = Vec::new();
        for (name, value) in pairs {
            encode::field(&mut block, name.as_bytes(), value.as_bytes());
        }
        let mut fields = Fields::new(1 << 16);
        Decoder::new(&[]).decode(&block, &mut fields).unwrap();
        fields
    }

    const CALL: [(&str, &str); 4] =
        [(":method", "POST"), (":scheme", "http"), (":path", "/a.B/C"), (":authority", "x:1")];

    fn with(more: &[(&str, &str)]) -> Fields {
        fields(&[&CALL[..], more].concat())
    }

    #[test]
    fn a_request_has_its_pseudo_fields() {
        assert_eq!(malformed_request(&with(&[("te", "trailers")])), None);
        for missing in 0..3 {
            let mut pairs = CALL.to_vec();
            pairs.remove(missing);
            assert!(malformed_request(&fields(&pairs)).is_some());
        }
        assert!(malformed_request(&with(&[("te", "gzip")])).is_some());
    }

    #[test]
    fn timeouts() {
        for (text, wanted) in [
            ("5S", Duration::from_secs(5)),
            ("99999999H", Duration::from_nanos(i64::MAX as u64)),
            ("4999867u", Duration::from_micros(4_999_867)),
            ("1m", Duration::from_millis(1)),
            ("2M", Duration::from_secs(120)),
            ("7n", Duration::from_nanos(7)),
        ] {
            assert_eq!(parse_timeout(text.as_bytes()), Ok(wanted), "{text}");
        }
        for text in ["", "S", "5", "123456789S", "5x", "-1S", "1.5S"] {
            assert!(parse_timeout(text.as_bytes()).is_err(), "{text}");
        }
    }

    #[test]
    fn what_grpc_refuses() {
        let refused = |more: &[(&str, &str)]| match check_grpc(&with(more)) {
            Ok(_) => None,
            Err(refusal) => Some((refusal.http, refusal.status.code)),
        };
        assert_eq!(refused(&[("content-type", "application/grpc")]), None);
        assert_eq!(refused(&[("grpc-timeout", "x")]), Some((400, Code::Internal)));
        assert_eq!(refused(&[("host", "a"), ("host", "b")]), Some((400, Code::Internal)));
        assert_eq!(refused(&[("grpc-timeout", "0S")]), Some((200, Code::DeadlineExceeded)));
        assert_eq!(refused(&[("grpc-encoding", "gzip")]), Some((200, Code::Unimplemented)));
        assert_eq!(refused(&[("grpc-encoding", "identity")]), None);
        let mut get = CALL.to_vec();
        get[0].1 = "GET";
        let refusal = check_grpc(&fields(&get)).unwrap_err();
        assert_eq!(refusal.http, 405);
        let text = "Received a HEADERS frame with :method \"GET\" which should be POST";
        assert_eq!(refusal.status.message, text);
    }

    #[test]
    fn subtypes_of_grpc() {
        let subtype = |kind: &str| {
            let fields = with(&[("content-type", kind)]);
            Head::new(&fields, None).grpc_subtype().map(str::to_owned)
        };
        assert_eq!(subtype("application/grpc").as_deref(), Some(""));
        assert_eq!(subtype("application/grpc+proto").as_deref(), Some("+proto"));
        assert_eq!(subtype("application/grpc-web"), None);
        assert_eq!(subtype("application/json"), None);
    }
}
