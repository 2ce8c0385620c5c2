//! The JSON gateway of a real member, as far as these tests use it.
//!
//! Not a client: no retries, no endpoints, no watch. The gateway writes 64-bit numbers as strings
//! and leaves out those that are zero.

use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::time::Duration;

/// One member's gateway.
#[derive(Clone, Debug)]
pub struct Gateway {
    url: String,
    http: ureq::Agent,
}

/// Keys and their values.
pub type Pairs = BTreeMap<Vec<u8>, Vec<u8>>;

/// A member refused, or did not answer; whether it did what was asked is then unknown.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{path}: {reason}")]
pub struct Refused {
    /// What was asked.
    pub path: String,
    /// What came of it.
    pub reason: String,
}

/// What a member says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Answer {
    /// Its id.
    pub id: u64,
    /// Its leader's id, or 0.
    pub leader: u64,
    /// Index of the last entry that it committed.
    pub raft_index: u64,
    /// Index of the last entry that it applied.
    pub applied: u64,
}

impl Gateway {
    /// The gateway at `url`, with a limit to how long an answer may take.
    #[must_use]
    pub fn new(url: &str, timeout: Duration) -> Self {
        let config = ureq::Agent::config_builder()
            .timeout_global(Some(timeout))
            .http_status_as_error(false)
            .max_idle_connections_per_host(16);
        Self { url: url.to_owned(), http: config.build().into() }
    }

    /// Puts a value.
    ///
    /// # Errors
    /// [`Refused`].
    pub fn put(&self, key: &[u8], value: &[u8]) -> Result<(), Refused> {
        let request = json!({ "key": base64(key), "value": base64(value) });
        self.post("/v3/kv/put", &request).map(drop)
    }

    /// The value at a key, read linearizably.
    ///
    /// # Errors
    /// [`Refused`].
    pub fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, Refused> {
        let answer = self.post("/v3/kv/range", &json!({ "key": base64(key) }))?;
        Ok(answer["kvs"][0]["value"].as_str().map(from_base64))
    }

    /// The keys from `from` on, up to but not including `to`, with their values, as this member
    /// has them now.
    ///
    /// # Errors
    /// [`Refused`].
    pub fn range(&self, from: &[u8], to: &[u8]) -> Result<Pairs, Refused> {
        let request = json!({
            "key": base64(from), "range_end": base64(to), "serializable": true
        });
        let answer = self.post("/v3/kv/range", &request)?;
        let bytes = |of: &Value| from_base64(of.as_str().unwrap_or_default());
        let kvs = answer["kvs"].as_array().map(Vec::as_slice).unwrap_or_default();
        Ok(kvs.iter().map(|kv| (bytes(&kv["key"]), bytes(&kv["value"]))).collect())
    }

    /// The number of keys.
    ///
    /// # Errors
    /// [`Refused`].
    pub fn key_count(&self) -> Result<u64, Refused> {
        let all = base64(b"\0");
        let request = json!({ "key": all, "range_end": all, "count_only": true });
        Ok(number(&self.post("/v3/kv/range", &request)?["count"]))
    }

    /// What the member says of itself.
    ///
    /// # Errors
    /// [`Refused`].
    pub fn status(&self) -> Result<Answer, Refused> {
        let status = self.post("/v3/maintenance/status", &json!({}))?;
        Ok(Answer {
            id: number(&status["header"]["member_id"]),
            leader: number(&status["leader"]),
            raft_index: number(&status["raftIndex"]),
            applied: number(&status["raftAppliedIndex"]),
        })
    }

    /// Adds a learner that others reach at `peer_url`; gives its id.
    ///
    /// # Errors
    /// [`Refused`].
    pub fn add_learner(&self, peer_url: &str) -> Result<u64, Refused> {
        let request = json!({ "peerURLs": [peer_url], "isLearner": true });
        Ok(number(&self.post("/v3/cluster/member/add", &request)?["member"]["ID"]))
    }

    /// Makes a learner a voter.
    ///
    /// # Errors
    /// [`Refused`], also while it is too far behind.
    pub fn promote(&self, id: u64) -> Result<(), Refused> {
        self.post("/v3/cluster/member/promote", &json!({ "ID": id.to_string() })).map(drop)
    }

    /// Removes a member.
    ///
    /// # Errors
    /// [`Refused`].
    pub fn remove(&self, id: u64) -> Result<(), Refused> {
        self.post("/v3/cluster/member/remove", &json!({ "ID": id.to_string() })).map(drop)
    }

    fn post(&self, path: &str, body: &Value) -> Result<Value, Refused> {
        let refused = |reason: String| Refused { path: path.to_owned(), reason };
        let url = format!("{}{path}", self.url);
        let mut answer =
            self.http.post(&url).send_json(body).map_err(|e| refused(e.to_string()))?;
        let status = answer.status();
        let limit = answer.body_mut().with_config().limit(256 << 20);
        let value: Value = limit.read_json().map_err(|e| refused(e.to_string()))?;
        if status.is_success() { Ok(value) } else { Err(refused(format!("{status} {value}"))) }
    }
}

fn number(value: &Value) -> u64 {
    value.as_str().and_then(|text| text.parse().ok()).unwrap_or_default()
}

const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/// Standard base64, as the gateway wants bytes.
fn base64(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for group in bytes.chunks(3) {
        let mut word = [0; 3];
        word[..group.len()].copy_from_slice(group);
        let word = usize::from(word[0]) << 16 | usize::from(word[1]) << 8 | usize::from(word[2]);
        for place in 0..4 {
            let digit = char::from(DIGITS[word >> (18 - 6 * place) & 63]);
            text.push(if place > group.len() { '=' } else { digit });
        }
    }
    text
}

/// The bytes of standard base64; anything else ends them.
fn from_base64(text: &str) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(text.len() / 4 * 3);
    let (mut word, mut bits) = (0_u32, 0);
    for digit in text.bytes().map_while(|c| (0_u8..).zip(DIGITS).find(|(_, digit)| **digit == c)) {
        word = word << 6 | u32::from(digit.0);
        bits += 6;
        if bits >= 8 {
            bits -= 8;
            bytes.push((word >> bits).to_be_bytes()[3]);
            word &= (1 << bits) - 1;
        }
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_pads_and_comes_back() {
        let cases =
            [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foob", "Zm9vYg==")];
        for (bytes, text) in cases {
            assert_eq!(base64(bytes.as_bytes()), text);
            assert_eq!(from_base64(text), bytes.as_bytes());
        }
        let all: Vec<u8> = (0..=255).collect();
        assert_eq!(from_base64(&base64(&all)), all);
    }
}
