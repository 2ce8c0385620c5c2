//! Two servers in step: each step goes to both at once, and the next one waits for both answers.

use crate::side::{Answer, Side};
use crate::{Request, Step};
use api::etcdserverpb::{HashKvRequest, PutRequest};
use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;
use tonic::transport::Channel;

/// The judge and the server under test.
#[derive(Debug)]
pub struct Pair {
    judge: Side,
    subject: Side,
    revision: i64,
    hashed: i64,
}

/// Where two servers part.
#[derive(Clone, Debug)]
pub struct Difference {
    /// The number of the step.
    pub step: usize,
    /// What kind of difference it is: a smaller program shows the same one if it is of this kind.
    pub kind: String,
    /// The fields that differ, the judge's with `-`, the subject's with `+`.
    pub fields: String,
}

/// What was compared.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    /// Steps by kind, and of these how many were refused.
    pub steps: BTreeMap<&'static str, (u64, u64)>,
    /// Hashes of the whole store.
    pub hashes: u64,
    /// What watchers were told.
    pub events: usize,
}

/// Hashes are compared each time that many revisions have passed.
const HASH_EVERY: i64 = 1000;

/// A key that only settling writes, to get past the revisions at which watchers wait to start.
const BEAT_KEY: &[u8] = b"~beat";

/// What a server tells late is waited for once before it counts as missing.
const LATE: Duration = Duration::from_millis(400);

impl Pair {
    /// Meets two servers.
    ///
    /// # Panics
    /// If one does not tell its status, or their stores are at different revisions.
    pub async fn meet(judge: Channel, subject: Channel) -> Self {
        let (judge, revision) = Side::meet(judge).await;
        let (subject, other) = Side::meet(subject).await;
        assert_eq!(revision, other, "both start on equal stores");
        Self { judge, subject, revision, hashed: revision / HASH_EVERY }
    }

    /// Runs a program up to the first difference.
    ///
    /// # Errors
    /// The difference.
    pub async fn run(&mut self, program: &[Step], tally: &mut Tally) -> Result<(), Difference> {
        for (number, step) in program.iter().enumerate() {
            if self.judge.unsettled_by(step) {
                self.step(&Step::Settle, tally).await.map_err(|d| d.at(number))?;
            }
            self.step(step, tally).await.map_err(|d| d.at(number))?;
            if self.revision / HASH_EVERY > self.hashed {
                self.hashed = self.revision / HASH_EVERY;
                let hash = Step::Unary(Request::HashKv(HashKvRequest { revision: 0 }));
                self.step(&hash, tally).await.map_err(|d| d.at(number))?;
                tally.hashes += 1;
            }
        }
        Ok(())
    }

    async fn step(&mut self, step: &Step, tally: &mut Tally) -> Result<(), Difference> {
        if *step == Step::Settle && !self.pass_starts(tally).await? {
            return Ok(());
        }
        let (mut expected, mut found) = self.ask(step).await;
        // The real etcd answers a request before it counts it as applied, and tells that in its
        // status.
        let status = matches!(step, Step::Unary(Request::Status(_)));
        if (*step == Step::Settle || status) && expected != found {
            tokio::time::sleep(LATE).await;
            (expected, found) = self.ask(step).await;
        }
        tally.count(step, &expected);
        if expected == found && !matches!(expected, Answer::Lost(_)) {
            self.revision = self.revision.max(expected.revision().unwrap_or(0));
            return Ok(());
        }
        Err(Difference::between(step, &expected, &found))
    }

    /// Writes until every watcher that waits for its start has had it. Not if writes are refused.
    async fn pass_starts(&mut self, tally: &mut Tally) -> Result<bool, Difference> {
        let key = bytes::Bytes::from_static(BEAT_KEY);
        let beat = Request::Put(PutRequest { key, ..PutRequest::default() });
        let beat = Step::Unary(beat);
        while self.judge.ahead() > self.revision {
            let before = self.revision;
            Box::pin(self.step(&beat, tally)).await?;
            if self.revision == before {
                return Ok(false);
            }
        }
        Ok(true)
    }

    async fn ask(&mut self, step: &Step) -> (Answer, Answer) {
        let revision = self.revision;
        tokio::join!(self.judge.ask(step, revision), self.subject.ask(step, revision))
    }
}

impl Difference {
    fn at(self, step: usize) -> Self {
        Self { step, ..self }
    }

    fn between(step: &Step, judged: &Answer, answered: &Answer) -> Self {
        let (expected, found) = (format!("{judged:#?}"), format!("{answered:#?}"));
        let fields = lines_that_differ(&expected, &found);
        // How a connection breaks is chance.
        if matches!(answered, Answer::Lost(_)) || matches!(judged, Answer::Lost(_)) {
            return Self { step: 0, kind: format!("{} lost", kind(step)), fields };
        }
        let name = |line: &str| line.split([':', '(']).next().unwrap_or(line).trim().to_owned();
        let first = fields.lines().find(|line| line.starts_with(['-', '+']));
        let kind = format!("{} {}", kind(step), first.map(name).unwrap_or_default());
        Self { step: 0, kind, fields }
    }
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "step {}: {} (- the real etcd, + the server under test)",
            self.step, self.kind
        )?;
        f.write_str(&self.fields)
    }
}

impl Tally {
    fn count(&mut self, step: &Step, answer: &Answer) {
        let (asked, refused) = self.steps.entry(kind(step)).or_default();
        *asked += 1;
        match answer {
            Answer::Refused(..) | Answer::Pieces(_, Some(_)) => *refused += 1,
            Answer::Settled(streams) => {
                let told = streams.values().flat_map(BTreeMap::values);
                self.events = self.events.max(told.map(Vec::len).sum());
            }
            _ => {}
        }
    }

    /// All steps.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.steps.values().map(|(asked, _)| asked).sum()
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} steps, {} hashes, all equal (", self.total(), self.hashes)?;
        for (i, (kind, (asked, refused))) in self.steps.iter().enumerate() {
            let comma = if i == 0 { "" } else { ", " };
            write!(f, "{comma}{kind} {asked}")?;
            if *refused > 0 {
                write!(f, " of which refused {refused}")?;
            }
        }
        f.write_str(")")
    }
}

/// What figures call a step.
fn kind(step: &Step) -> &'static str {
    match step {
        Step::Unary(request) => request.word(),
        Step::RangeStream(_) => "range-stream",
        Step::KeepAlive(_) => "keepalive",
        Step::Observe(_) => "observe",
        Step::Watch(..) => "watch",
        Step::Close(_) => "close",
        Step::Settle => "settle",
    }
}

/// Lines shown before a line that differs.
const CONTEXT: usize = 3;

/// Lines of a difference that are shown: it may be a list of thousands of keys.
const LINES_SHOWN: usize = 60;

/// The first lines that differ, with the lines before them, each cut to a readable width.
fn lines_that_differ(expected: &str, found: &str) -> String {
    let (expected, found): (Vec<&str>, Vec<&str>) =
        (expected.lines().collect(), found.lines().collect());
    let same = expected.iter().zip(&found).take_while(|(a, b)| a == b).count();
    let tail = expected.iter().rev().zip(found.iter().rev()).take_while(|(a, b)| a == b).count();
    let tail = tail.min(expected.len().min(found.len()) - same);
    let cut = |line: &str| line.chars().take(160).collect::<String>();
    let mut shown = String::new();
    for line in &expected[same.saturating_sub(CONTEXT)..same] {
        shown += &format!("  {}\n", cut(line));
    }
    for (sign, lines) in
        [('-', &expected[same..expected.len() - tail]), ('+', &found[same..found.len() - tail])]
    {
        for line in lines.iter().take(LINES_SHOWN / 2) {
            shown += &format!("{sign} {}\n", cut(line));
        }
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_differs_is_shown() {
        let shown = lines_that_differ("a\nb\nc: 1\nd", "a\nb\nc: 2\nd");
        assert_eq!(shown, "  a\n  b\n- c: 1\n+ c: 2\n");
        assert_eq!(lines_that_differ("a", "a\nb"), "  a\n+ b\n");
    }
}
