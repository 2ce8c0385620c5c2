//! HTTP/1.1 as bytes: what is sent is sent as it is written, and what comes is taken apart.

use quorate_process::{PATIENCE, Server};
use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};

/// An answer as far as it must be the same on both sides.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Answer {
    /// The status line; empty if the connection was closed instead.
    pub status: String,
    /// The headers but for the date and for how the body's end is told, ascending.
    pub headers: Vec<String>,
    pub body: String,
}

/// Asks for a path and gives the answer.
pub fn ask(at: SocketAddr, method: &str, path: &str, headers: &[&str]) -> Answer {
    let mut request = format!("{method} {path} HTTP/1.1\r\nConnection: close\r\n");
    if !headers.iter().any(|header| header.starts_with("Host:")) {
        request += &format!("Host: {at}\r\n");
    }
    for header in headers {
        request += &format!("{header}\r\n");
    }
    send(at, (request + "\r\n").as_bytes(), method == "HEAD")
}

/// The body of a GET that succeeds.
pub fn get(at: SocketAddr, path: &str) -> String {
    let answer = ask(at, "GET", path, &[]);
    assert!(answer.status.contains(" 200 "), "{path}: {answer:?}");
    answer.body
}

/// Sends bytes and takes what comes for an answer.
pub fn send(at: SocketAddr, bytes: &[u8], without_body: bool) -> Answer {
    let mut stream = TcpStream::connect(at).expect("somebody listens");
    stream.set_read_timeout(Some(PATIENCE)).expect("a time is allowed");
    stream.write_all(bytes).expect("the request is taken");
    let mut read = Vec::new();
    let Some(head_end) = read_to(&mut stream, &mut read, |read| find(read, b"\r\n\r\n")) else {
        return Answer::default();
    };
    let head = String::from_utf8_lossy(&read[..head_end]).into_owned();
    let length = head.lines().find_map(|line| line.strip_prefix("Content-Length: "));
    let length: Option<usize> = length.map(|length| length.parse().expect("a length is a number"));
    // Not to the end of the connection: etcd takes its time to close one between members.
    let from = head_end + 4;
    let end = read_to(&mut stream, &mut read, |read| match length {
        _ if without_body => Some(from),
        Some(length) => (read.len() >= from + length).then_some(from + length),
        None => find(&read[from..], LAST_CHUNK).map(|end| from + end),
    });
    let end = end.expect("an answer comes as a whole");
    let body = String::from_utf8_lossy(&read[from..end]).into_owned();
    let mut lines = head.lines();
    let status = lines.next().unwrap_or_default().to_owned();
    let all: Vec<&str> = lines.collect();
    let body = if all.contains(&"Transfer-Encoding: chunked") { joined(&body) } else { body };
    let ignored = ["Date:", "Content-Length:", "Transfer-Encoding:", "Connection:"];
    let kept = all.into_iter().filter(|line| !ignored.iter().any(|name| line.starts_with(name)));
    let mut headers: Vec<String> = kept.map(str::to_owned).collect();
    headers.sort();
    Answer { status, headers, body }
}

/// How a body of chunks ends.
const LAST_CHUNK: &[u8] = b"\r\n0\r\n\r\n";

/// Reads until something is found; `None` if the connection ends before.
fn read_to(
    stream: &mut TcpStream,
    read: &mut Vec<u8>,
    find: impl Fn(&[u8]) -> Option<usize>,
) -> Option<usize> {
    loop {
        if let Some(found) = find(read) {
            return Some(found);
        }
        let mut part = [0; 64 << 10];
        match stream.read(&mut part) {
            Ok(0) => return None,
            Ok(count) => read.extend_from_slice(&part[..count]),
            // A connection may be reset by who does not like what came.
            Err(error) if error.kind() == ErrorKind::ConnectionReset => return None,
            Err(error) => panic!("nothing comes any more: {error}"),
        }
    }
}

fn find(bytes: &[u8], wanted: &[u8]) -> Option<usize> {
    bytes.windows(wanted.len()).position(|part| part == wanted)
}

/// The content of chunks.
fn joined(body: &str) -> String {
    let (mut rest, mut content) = (body, String::new());
    while let Some((size, chunk)) = rest.split_once("\r\n") {
        let size = usize::from_str_radix(size, 16).expect("a chunk has a size");
        content += &chunk[..size];
        rest = chunk[size..].strip_prefix("\r\n").unwrap_or_default();
    }
    content
}

impl Answer {
    /// The same with what differs from server to server taken out, and lines in one order: that of
    /// checks is a random one in etcd.
    pub fn masked(mut self, server: &Server) -> Self {
        for text in self.headers.iter_mut().chain([&mut self.body, &mut self.status]) {
            *text = mask(text, server);
        }
        let mut lines: Vec<&str> = self.body.split_inclusive('\n').collect();
        if self.body.starts_with('[') && self.body.contains("] ok") | self.body.contains("[+]") {
            lines.sort_unstable();
        }
        self.body = lines.concat();
        self
    }
}

/// Ids, addresses and moments replaced by words.
pub fn mask(text: &str, server: &Server) -> String {
    let text = text.replace(&server.client_address().to_string(), "CLIENT");
    let text = text.replace(&server.peer_address().to_string(), "PEER");
    let (mut masked, mut word) = (String::new(), String::new());
    for letter in text.chars().chain(['\0']) {
        if letter.is_ascii_alphanumeric() {
            word.push(letter);
            continue;
        }
        let hex = word.bytes().all(|byte| byte.is_ascii_hexdigit());
        let number = word.bytes().all(|byte| byte.is_ascii_digit());
        let is_id = (hex && word.len() >= 12) || (number && word.len() >= 15);
        masked += if is_id { "ID" } else { &word };
        word.clear();
        masked.push(letter);
    }
    masked.pop();
    match masked.split_once("\"Now\":\"") {
        Some((before, _)) => before.to_owned() + "NOW",
        None => masked,
    }
}
