//! Paths and queries as Go's mux and URL package take them.

use super::respond;
use axum::body::Body;
use axum::http::{HeaderValue, Method, StatusCode, header};
use axum::response::Response;

/// The path without double slashes and dots, where the mux redirects to.
pub(super) fn clean(path: &str) -> String {
    let mut kept: Vec<&str> = Vec::new();
    for segment in path.split('/') {
        match segment {
            "" | "." => {}
            ".." => drop(kept.pop()),
            segment => kept.push(segment),
        }
    }
    let slash = if path.ends_with('/') && !kept.is_empty() { "/" } else { "" };
    format!("/{}{slash}", kept.join("/"))
}

/// The segments of a clean path, each unescaped by itself.
pub(super) fn segments(path: &str) -> Vec<String> {
    let path = path.strip_prefix('/').unwrap_or(path);
    path.split('/').map(|segment| unescape(segment, false).unwrap_or_default()).collect()
}

/// To where a path is clean. Compat: only a GET is told in words.
pub(super) fn redirect(method: &Method, path: &str, query: Option<&str>) -> Response {
    // Compat: what was escaped is escaped once more.
    let mut location = path.replace('%', "%25");
    if let Some(query) = query {
        location = format!("{location}?{query}");
    }
    let body = match *method {
        Method::GET => {
            let escaped = location.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
            let escaped = escaped.replace('"', "&#34;").replace('\'', "&#39;");
            Body::from(format!("<a href=\"{escaped}\">Temporary Redirect</a>.\n\n"))
        }
        _ => Body::empty(),
    };
    let mut response = respond(StatusCode::TEMPORARY_REDIRECT, "text/html; charset=utf-8", body);
    if !matches!(*method, Method::GET | Method::HEAD) {
        response.headers_mut().remove(header::CONTENT_TYPE);
    }
    // A request's path and query are visible ASCII, or the parser has refused them.
    if let Ok(location) = HeaderValue::from_str(&location) {
        response.headers_mut().insert(header::LOCATION, location);
    }
    response
}

/// All values of a key in a query; what is malformed is passed over.
pub(super) fn values(query: &str, key: &str) -> Vec<String> {
    let pairs = query.split('&').filter(|pair| !pair.is_empty() && !pair.contains(';'));
    let found = pairs.filter_map(|pair| {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        let name = unescape(name, true)?;
        let value = unescape(value, true)?;
        (name == key).then_some(value)
    });
    found.collect()
}

fn unescape(text: &str, in_query: bool) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'%' => {
                let mut digit = || char::from(rest.next()?).to_digit(16);
                let (high, low) = (digit()?, digit()?);
                u8::try_from(high * 16 + low).ok()?
            }
            b'+' if in_query => b' ',
            byte => byte,
        });
    }
    Some(String::from_utf8_lossy(&bytes).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_cleaned_as_go_does() {
        let check = |path: &str, want: &str| assert_eq!(clean(path), want, "{path}");
        check("/", "/");
        check("", "/");
        check("//a", "/a");
        check("/a/", "/a/");
        check("/a/.", "/a");
        check("/a/..", "/");
        check("/../a", "/a");
        check("/a//b/../c/", "/a/c/");
    }

    #[test]
    fn segments_are_unescaped_one_by_one() {
        assert_eq!(segments("/%76ersion"), ["version"]);
        assert_eq!(segments("/a%2fb"), ["a/b"]);
        assert_eq!(segments("/a/"), ["a", ""]);
    }

    #[test]
    fn queries() {
        let check = |query: &str, want: &[&str]| assert_eq!(values(query, "x"), want, "{query}");
        check("x=1&y=2&x=a%20b+c", &["1", "a b c"]);
        check("x", &[""]);
        check("x=1;y=2&x=%s", &[]);
        check("", &[]);
    }
}
