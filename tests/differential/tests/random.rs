//! Random programs on the real etcd and on the server under test.
//!
//! `QUORATE_DIFF_OPS` says how many steps (50,000), `QUORATE_DIFF_SEED` which programs (1), and
//! `QUORATE_DIFF_REPLAY` names a file with one that was printed.

use process::{Options, Program, Server, subject};
use quorate_differential::generator::generate;
use quorate_differential::shrink::shrink;
use quorate_differential::{Difference, Pair, Step, Tally, text};
use std::fmt::Write;
use std::time::{Duration, Instant};
use testkit::figures;

/// Steps of one program.
const PROGRAM_STEPS: usize = 500;

/// How long a difference is made smaller.
const SHRINK_MAX: Duration = Duration::from_secs(60);

/// The servers, which a run may need anew.
struct Servers {
    judge: Server,
    subject: Server,
}

impl Servers {
    fn start(judge: &Program, subject: &Program) -> Self {
        let options = || Options::without_sync().flag("--quota-backend-bytes=8589934592");
        Self { judge: Server::start(judge, options()), subject: Server::start(subject, options()) }
    }

    async fn pair(&self) -> Pair {
        Pair::meet(self.judge.channel(), self.subject.channel()).await
    }
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime starts")
}

/// What a program shows on servers that know nothing.
fn on_new_servers(judge: &Program, subject: &Program, program: &[Step]) -> Option<Difference> {
    let servers = Servers::start(judge, subject);
    let mut found = runtime().block_on(async {
        let mut pair = servers.pair().await;
        pair.run(program, &mut Tally::default()).await.err()
    })?;
    for server in [&servers.judge, &servers.subject] {
        if !found.kind.ends_with("lost") || !server.wait_ended(Duration::from_secs(2)) {
            continue;
        }
        found.fields += &last_words(server);
    }
    Some(found)
}

/// What a server said as it panicked, if it did.
fn last_words(server: &Server) -> String {
    let log = server.log();
    let dying = |line: &&str| line.starts_with("panic:") || line.contains(r#""level":"fatal""#);
    let panics = log.lines().filter(dying).map(|line| line.chars().take(400).collect::<String>());
    panics.take(2).map(|line| format!("{} said: {line}\n", server.program().name)).collect()
}

/// The program of a difference, as small as it gets.
fn smallest(
    judge: &Program,
    subject: &Program,
    past: Vec<Vec<Step>>,
    found: &Difference,
) -> Vec<Step> {
    let shows = |program: &[Step]| {
        on_new_servers(judge, subject, program).is_some_and(|other| other.kind == found.kind)
    };
    // The last program alone most often; if not, with more and more of what was before.
    let mut taken = 1;
    let whole = loop {
        let program = past[past.len() - taken..].concat();
        if taken == past.len() || shows(&program) {
            break program;
        }
        taken = (taken * 4).min(past.len());
    };
    shrink(whole, Instant::now() + SHRINK_MAX, shows)
}

fn report(
    seed: u64,
    judge: &Program,
    subject: &Program,
    past: Vec<Vec<Step>>,
    found: &Difference,
) -> String {
    let program = smallest(judge, subject, past, found);
    let again = on_new_servers(judge, subject, &program);
    let mut told = format!("{} and {} differ, seed {seed}\n{found}\n", judge.name, subject.name);
    let steps = program.len();
    writeln!(told, "smallest program, {steps} steps; run it with QUORATE_DIFF_REPLAY=<file>:")
        .expect("text grows");
    told += &text::write(&program);
    match again {
        Some(shown) => writeln!(told, "it shows: {shown}").expect("text grows"),
        None => told += "it does not show the difference on new servers\n",
    }
    told
}

/// Runs about `ops` steps of programs from `seed` on.
fn run(judge: &Program, subject: &Program, seed: u64, ops: u64) -> Result<Tally, String> {
    let servers = Servers::start(judge, subject);
    let mut tally = Tally::default();
    let mut past = Vec::new();
    let found = runtime().block_on(async {
        let mut pair = servers.pair().await;
        let mut next = seed;
        while tally.total() < ops {
            let program = generate(next, PROGRAM_STEPS);
            past.push(program);
            let program = past.last().expect("one was pushed");
            if let Err(found) = pair.run(program, &mut tally).await {
                return Some((next, found));
            }
            next += 1;
        }
        None
    });
    let Some((seed, found)) = found else { return Ok(tally) };
    past.last_mut().expect("one ran").truncate(found.step + 1);
    drop(servers);
    Err(report(seed, judge, subject, past, &found))
}

fn number(variable: &str, default: u64) -> u64 {
    let set = std::env::var(variable).ok();
    set.map_or(default, |text| text.parse().unwrap_or_else(|e| panic!("{variable}: {e}")))
}

#[test]
fn every_answer_is_the_real_etcds() {
    let (judge, subject) = (Program::newest_etcd(), subject());
    if let Some(file) = std::env::var_os("QUORATE_DIFF_REPLAY") {
        let program = text::read(&std::fs::read_to_string(file).unwrap()).unwrap();
        let shown = on_new_servers(&judge, &subject, &program);
        assert!(shown.is_none(), "{}", shown.unwrap());
        return;
    }
    let (seed, ops) = (number("QUORATE_DIFF_SEED", 1), number("QUORATE_DIFF_OPS", 50_000));
    let started = Instant::now();
    let tally = run(&judge, &subject, seed, ops).unwrap_or_else(|told| panic!("{told}"));
    let (ours, theirs) = (&subject.name, &judge.name);
    let seconds = started.elapsed().as_secs();
    figures::note("differential", format!("{ours} beside {theirs}, {seconds} s: {tally}"));
}

/// Two releases differ, and are caught at it: what finds nothing proves nothing.
#[test]
fn a_difference_is_found_and_made_small() {
    let (Some(judge), Some(other)) = (Program::etcd("3.7.1"), Program::etcd("3.5.1")) else {
        figures::note("differential-finds", "left out: there is only one release here");
        return;
    };
    let told = run(&judge, &other, 1, 50_000).expect_err("3.5.1 has no RangeStream");
    println!("{told}");
    let code = |line: &&str| !line.starts_with(['-', '+', ' ']) && text::read(line).is_ok();
    let smallest = told.split("<file>:").nth(1).expect("a program follows").lines();
    let steps = smallest.filter(|line| !line.is_empty()).take_while(code).count();
    assert!((1..=5).contains(&steps), "{steps} steps are not small:\n{told}");
    figures::note("differential-finds", format!("3.5.1 beside 3.7.1, in {steps} steps"));
}
