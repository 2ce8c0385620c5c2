//! Programs written down: one step a line, its word and its message in hexadecimal digits, with
//! the message's fields as a comment. What is printed of a difference can be run again.

use crate::{Request, Step};
use prost::Message;

/// Writes a program down.
#[must_use]
pub fn write(program: &[Step]) -> String {
    program.iter().map(|step| line(step) + "\n").collect()
}

/// Reads a program; what follows a `#` is a comment.
///
/// # Errors
/// The first line that says nothing known.
pub fn read(text: &str) -> Result<Vec<Step>, String> {
    let code = |line: &str| line.split('#').next().unwrap_or_default().trim().to_owned();
    let lines = text.lines().map(code).filter(|line| !line.is_empty());
    lines.map(|line| step(&line).ok_or_else(|| format!("not a step: {line}"))).collect()
}

/// Columns of a comment: a value may be a megabyte.
const COMMENT_MAX: usize = 240;

fn line(step: &Step) -> String {
    let (words, comment) = match step {
        Step::Unary(request) => {
            (format!("{} {}", request.word(), hex(&request.encode())), format!("{request:?}"))
        }
        Step::RangeStream(request) => message("range-stream", request),
        Step::KeepAlive(request) => message("keepalive", request),
        Step::Observe(request) => message("observe", request),
        Step::Watch(stream, request) => message(&format!("watch {stream}"), request),
        Step::Close(stream) => (format!("close {stream}"), String::new()),
        Step::Settle => ("settle".to_owned(), String::new()),
    };
    let comment: String = comment.chars().take(COMMENT_MAX).collect();
    if comment.is_empty() { words } else { format!("{words} # {comment}") }
}

fn message<M: Message + std::fmt::Debug>(words: &str, message: &M) -> (String, String) {
    (format!("{words} {}", hex(&message.encode_to_vec())), format!("{message:?}"))
}

fn step(line: &str) -> Option<Step> {
    let words: Vec<&str> = line.split_whitespace().collect();
    // An empty message has no digits.
    let bytes = |at: usize| unhex(words.get(at).copied().unwrap_or_default());
    let stream = || words.get(1)?.parse::<u8>().ok();
    Some(match *words.first()? {
        "range-stream" => Step::RangeStream(Message::decode(&*bytes(1)?).ok()?),
        "keepalive" => Step::KeepAlive(Message::decode(&*bytes(1)?).ok()?),
        "observe" => Step::Observe(Message::decode(&*bytes(1)?).ok()?),
        "watch" => Step::Watch(stream()?, Message::decode(&*bytes(2)?).ok()?),
        "close" => Step::Close(stream()?),
        "settle" => Step::Settle,
        word => Step::Unary(Request::decode(word, &bytes(1)?)?),
    })
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn unhex(digits: &str) -> Option<Vec<u8>> {
    let digits: Option<Vec<u32>> = digits.chars().map(|digit| digit.to_digit(16)).collect();
    let (pairs, rest) = digits.as_deref()?.as_chunks::<2>();
    let byte = |[high, low]: &[u32; 2]| u8::try_from(high * 16 + low).ok();
    if rest.is_empty() { pairs.iter().map(byte).collect() } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::generator::generate;

    #[test]
    fn programs_are_read_as_they_were_written() {
        for seed in 0..20 {
            let program = generate(seed, 200);
            assert_eq!(read(&write(&program)).unwrap(), program);
        }
        assert!(read("put xyz").is_err());
        assert!(read("fly 00").is_err());
        assert_eq!(read("# nothing\n\nsettle # all\n").unwrap(), [Step::Settle]);
    }
}
