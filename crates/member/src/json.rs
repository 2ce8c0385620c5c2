//! JSON as Go writes and reads it (`encoding/json`), for the few shapes here.
//!
//! Writing: no spaces, and `<`, `>`, `&` and the two line separators of Unicode escaped, so that
//! the bytes in the log and on disk are those of Go members. Reading: names of fields in any
//! case, unknown ones skipped, null for "not given".

use serde::Deserializer;
use serde::de::{IgnoredAny, MapAccess, Visitor};
use std::fmt;

/// Writes a string, quoted.
pub(crate) fn push_string(out: &mut String, text: &str) {
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\u{8}' => out.push_str("\\b"),
            '\u{c}' => out.push_str("\\f"),
            '<' | '>' | '&' | '\u{2028}' | '\u{2029}' | '\0'..='\x1f' => {
                out.push_str(&format!("\\u{:04x}", u32::from(c)));
            }
            c => out.push(c),
        }
    }
    out.push('"');
}

/// Writes a list.
pub(crate) fn push_list<T>(
    out: &mut String,
    items: impl IntoIterator<Item = T>,
    mut push: impl FnMut(&mut String, T),
) {
    out.push('[');
    for (place, item) in items.into_iter().enumerate() {
        if place > 0 {
            out.push(',');
        }
        push(out, item);
    }
    out.push(']');
}

/// Writes a list of strings. Go's nil list is null, and that is what it has where we have an
/// empty one: none of these comes out of Go empty and not nil.
pub(crate) fn push_strings(out: &mut String, strings: &[String]) {
    if strings.is_empty() {
        return out.push_str("null");
    }
    push_list(out, strings, |out, text| push_string(out, text));
}

/// What a reader does with a field: takes its value from the map, or leaves it by giving false.
pub(crate) trait Fields<'de>: Default {
    /// Takes the value of the field with this lower-case name, if there is such a field.
    fn take<A: MapAccess<'de>>(&mut self, name: &str, map: &mut A) -> Result<bool, A::Error>;
}

/// Reads an object; null reads as one without fields.
pub(crate) fn read_object<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Fields<'de>,
{
    deserializer.deserialize_any(Object(std::marker::PhantomData))
}

struct Object<T>(std::marker::PhantomData<T>);

impl<'de, T: Fields<'de>> Visitor<'de> for Object<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_unit<E>(self) -> Result<T, E> {
        Ok(T::default())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<T, A::Error> {
        let mut fields = T::default();
        while let Some(name) = map.next_key::<String>()? {
            if !fields.take(&name.to_ascii_lowercase(), &mut map)? {
                map.next_value::<IgnoredAny>()?;
            }
        }
        Ok(fields)
    }
}

/// Takes a value, and leaves what was there where it is null.
pub(crate) fn take_value<'de, A, T>(map: &mut A, field: &mut T) -> Result<bool, A::Error>
where
    A: MapAccess<'de>,
    T: serde::Deserialize<'de>,
{
    if let Some(value) = map.next_value::<Option<T>>()? {
        *field = value;
    }
    Ok(true)
}

/// Takes a list of strings; null empties it, and a null within it is an empty string.
pub(crate) fn take_strings<'de, A: MapAccess<'de>>(
    map: &mut A,
    field: &mut Vec<String>,
) -> Result<bool, A::Error> {
    let strings = map.next_value::<Option<Vec<Option<String>>>>()?.unwrap_or_default();
    *field = strings.into_iter().map(Option::unwrap_or_default).collect();
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strings_are_escaped_as_go_does() {
        let mut out = String::new();
        push_string(&mut out, "a<b>&\"\\\n\r\t\u{8}\u{c}\0\u{1f}\u{7f}\u{2028}\u{2029}\u{e9}/'");
        let expected = concat!(
            r#""a\u003cb\u003e\u0026\"\\\n\r\t\b\f\u0000\u001f"#,
            "\u{7f}",
            r"\u2028\u2029",
            "\u{e9}/'\""
        );
        assert_eq!(out, expected);
    }
}
