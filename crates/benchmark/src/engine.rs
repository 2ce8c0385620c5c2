//! Runs loads: who asks when, what is recorded, and what it cost.
//!
//! A [`Group`] of clients asks what its [`Load`] says. Without a rate the group is **closed**: each
//! client asks again as soon as it is answered, which finds the throughput. With a rate it is
//! **open**: requests are due at fixed times whether or not earlier ones are answered, and a
//! latency counts from when its request was due, sent or not. So a server that stalls for a second
//! is charged with every request of that second (coordinated omission).
//!
//! Invariants: an operation is recorded once, by what became of it; all that were due while
//! measuring are waited for.

use crate::meter::{Cost, Meter};
use crate::report::Recorder;
use crate::wire::{Events, Failure, Method, Pool, StreamRef, What};
use anyhow::Result;
use api::Code;
use std::time::{Duration, Instant};

/// What the clients of a group ask.
pub(crate) trait Load {
    /// Writes a request into `message`.
    fn request(&mut self, turn: Turn, message: &mut Vec<u8>) -> Ask;

    /// Takes an answer of `slot`. A further request of the same operation is written to `message`.
    fn answer(&mut self, slot: usize, answer: &[u8], message: &mut Vec<u8>) -> Step {
        let _ = (slot, answer, message);
        Step::Done
    }

    /// Takes the length of an answer that was only counted.
    fn counted(&mut self, slot: usize, bytes: u64) -> Step {
        let _ = (slot, bytes);
        Step::Done
    }

    /// The operation of `slot` failed.
    fn failed(&mut self, slot: usize) {
        let _ = slot;
    }

    /// Takes a message of a stream that the load opened itself.
    fn side(&mut self, side: Side<'_>, reports: &mut [Recorder]) {
        let _ = (side, reports);
    }

    /// Whether nothing more is expected of such streams.
    fn is_done(&self) -> bool {
        true
    }
}

/// Whose turn it is to ask.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Turn {
    /// The one who asks, and has nothing else under way.
    pub(crate) slot: usize,
    /// Counts the group's requests.
    pub(crate) number: u64,
    pub(crate) due: Instant,
}

/// A message of a load's own stream.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Side<'a> {
    /// The stream's token, less [`SIDE`].
    pub(crate) stream: usize,
    pub(crate) message: &'a [u8],
    pub(crate) at: Instant,
    pub(crate) window: Window,
}

/// When is measured.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Window {
    begin: Instant,
    end: Option<Instant>,
}

impl Window {
    pub(crate) fn has(&self, moment: Instant) -> bool {
        moment >= self.begin && self.end.is_none_or(|end| moment < end)
    }
}

/// A request.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ask {
    pub(crate) method: Method,
    /// Which recorder it belongs to.
    pub(crate) report: usize,
    pub(crate) way: Way,
}

/// How a request is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    /// A call with one message and one answer, or several that the load looks at one by one.
    Call,
    /// The same, its answers counted and dropped.
    Counted,
    /// A stream of its own, ended after the first answer.
    Once,
    /// The client's stream, which stays open.
    Stream,
}

impl Ask {
    pub(crate) fn call(method: Method, report: usize) -> Self {
        Self { method, report, way: Way::Call }
    }
}

/// What comes after an answer.
pub(crate) enum Step {
    Done,
    /// The operation goes on.
    Again(Ask),
    /// The answer is wrong: the operation failed.
    Wrong(&'static str),
}

/// Clients that do the same.
pub(crate) struct Group<'a> {
    pub(crate) load: &'a mut dyn Load,
    /// How many, while it is closed.
    pub(crate) clients: usize,
    /// Requests a second; makes it open.
    pub(crate) rate: Option<f64>,
    /// Requests altogether.
    pub(crate) total: Option<u64>,
    /// Begins when measuring does, not before.
    pub(crate) late: bool,
}

/// How long it is run.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Span {
    /// Not measured, at the beginning.
    pub(crate) warmup: Duration,
    pub(crate) length: Length,
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum Length {
    Time(Duration),
    /// Until every group's total is answered.
    Totals,
    /// Until the total of this group is answered; the others stop then.
    Group(usize),
}

/// What came of a run.
#[derive(Debug)]
pub(crate) struct Outcome {
    /// Seconds measured.
    pub(crate) seconds: f64,
    pub(crate) cost: Cost,
    /// Operations that ended well while it was measured, whenever they were due: a server that
    /// does not keep up with an open load ends fewer than were due.
    pub(crate) in_time: u64,
    /// Whether connections were lost.
    pub(crate) lost: Option<Failure>,
}

/// Tokens from here on belong to streams that loads opened themselves, group 0's.
pub(crate) const SIDE: u32 = 1 << 31;

/// How long answers are waited for once nothing is asked any more.
const PATIENCE: Duration = Duration::from_secs(60);

/// How often the server's memory is looked at.
const SAMPLE: Duration = Duration::from_millis(100);

/// Runs the groups. `count` tells, from all recorders, by how many operations costs are divided.
pub(crate) fn run(
    pool: &mut Pool,
    groups: &mut [Group<'_>],
    span: Span,
    reports: &mut [Recorder],
    meter: &mut Meter,
    count: impl Fn(&[Recorder]) -> u64,
) -> Result<Outcome> {
    let now = Instant::now();
    let begin = now + span.warmup;
    let end = match span.length {
        Length::Time(length) => Some(begin + length),
        Length::Totals | Length::Group(_) => None,
    };
    let states = groups.iter().map(|group| State::new(group, if group.late { begin } else { now }));
    let states = states.collect();
    let message = Vec::new();
    let window = Window { begin, end };
    let slots = Vec::new();
    let mut run = Run { pool, groups, reports, states, slots, message, window, in_time: 0 };
    let mut events = Events::default();
    let (mut from, mut to, mut next_sample, mut heard) = (None, None, now + SAMPLE, now);
    loop {
        let now = Instant::now();
        if from.is_none() && now >= begin {
            from = Some(meter.read()?);
        }
        // Somebody who never answers ends it as well.
        let is_stuck = now.saturating_duration_since(heard) >= PATIENCE;
        if run.window.end.is_none() && (is_stuck || run.is_reached(span.length)) {
            run.window.end = Some(now);
        }
        let ended = run.window.end.is_some_and(|end| now >= end);
        if ended && to.is_none() {
            to = Some((meter.read()?, count(run.reports)));
        }
        if ended && (run.is_idle() || run.window.end.is_some_and(|end| now >= end + PATIENCE)) {
            break;
        }
        if !ended {
            run.ask_due(now);
        }
        run.pool.flush();
        if now >= next_sample {
            next_sample = now + SAMPLE;
            meter.sample()?;
        }
        let mut wake = run.next_due(ended).unwrap_or(next_sample).min(next_sample);
        if from.is_none() {
            wake = wake.min(begin);
        }
        if let Some(end) = run.window.end.filter(|_| !ended) {
            wake = wake.min(end);
        }
        let ready = run.pool.wait(Some(wake.saturating_duration_since(Instant::now())))?;
        if ready > 0 {
            heard = Instant::now();
        }
        for nth in 0..ready {
            run.pool.receive(nth, &mut events);
            run.take(&events);
            run.pool.flush();
        }
    }
    run.give_up();
    let end = run.window.end.unwrap_or(now);
    let seconds = end.saturating_duration_since(begin).as_secs_f64();
    let from = from.map_or_else(|| meter.read(), Ok)?;
    let (to, operations) = match to {
        Some(to) => to,
        None => (meter.read()?, 0),
    };
    let cost = meter.cost(from, to, operations)?;
    Ok(Outcome { seconds, cost, in_time: run.in_time, lost: run.pool.lost().cloned() })
}

struct Run<'a, 'b> {
    pool: &'a mut Pool,
    groups: &'a mut [Group<'b>],
    reports: &'a mut [Recorder],
    states: Vec<State>,
    /// By token.
    slots: Vec<Slot>,
    message: Vec<u8>,
    window: Window,
    in_time: u64,
}

/// Where a group is.
struct State {
    /// When the next request is due; none while the group is closed.
    next: Option<Instant>,
    period: Duration,
    /// Whether the clients of a closed group have begun.
    begun: bool,
    begins: Instant,
    asked: u64,
    answered: u64,
    /// Tokens of this group's slots, in the order of the slots' numbers.
    tokens: Vec<u32>,
    idle: Vec<u32>,
}

/// Somebody who asks one thing at a time.
struct Slot {
    group: usize,
    number: usize,
    conn: usize,
    busy: bool,
    due: Instant,
    ask: Ask,
    /// The stream of [`Way::Once`] and [`Way::Stream`].
    stream: Option<StreamRef>,
    /// What comes once the call has ended, and a further request.
    next: Option<(Step, Vec<u8>)>,
}

impl State {
    fn new(group: &Group<'_>, begins: Instant) -> Self {
        let period = group.rate.map(|rate| Duration::from_secs_f64(1.0 / rate));
        Self {
            next: period.map(|_| begins),
            period: period.unwrap_or_default(),
            begun: false,
            begins,
            asked: 0,
            answered: 0,
            tokens: Vec::new(),
            idle: Vec::new(),
        }
    }
}

impl Run<'_, '_> {
    /// Whether the run is over but for answers under way, where answers decide it.
    fn is_reached(&self, length: Length) -> bool {
        let answered = |index: usize| {
            let (group, state) = (&self.groups[index], &self.states[index]);
            group.total.is_none_or(|total| state.answered >= total) && group.load.is_done()
        };
        let over = match length {
            Length::Time(_) => false,
            Length::Totals => (0..self.groups.len()).all(answered),
            Length::Group(index) => answered(index),
        };
        // Nobody is left who could ask.
        over || (0..self.pool.len()).all(|conn| !self.pool.is_alive(conn))
    }

    fn is_idle(&self) -> bool {
        !self.slots.iter().any(|slot| slot.busy)
            && self.groups.iter().all(|group| group.load.is_done())
    }

    /// Asks whatever is due by now.
    fn ask_due(&mut self, now: Instant) {
        for group in 0..self.groups.len() {
            if now < self.states[group].begins {
                continue;
            }
            if self.groups[group].rate.is_none() {
                if !std::mem::replace(&mut self.states[group].begun, true) {
                    for _ in 0..self.groups[group].clients {
                        let token = self.slot(group);
                        self.ask(token, now);
                    }
                }
                continue;
            }
            while let Some(due) = self.states[group].next.filter(|due| *due <= now) {
                if self.is_all_asked(group) || self.window.end.is_some_and(|end| due >= end) {
                    self.states[group].next = None;
                    break;
                }
                let token = self.states[group].idle.pop();
                let token = token.unwrap_or_else(|| self.slot(group));
                let state = &mut self.states[group];
                state.next = Some(due + state.period);
                let number = usize::try_from(state.asked).unwrap_or_default();
                let slot = &mut self.slots[token as usize];
                if slot.stream.is_none() {
                    slot.conn = number % self.pool.len();
                }
                self.ask(token, due);
            }
        }
    }

    /// When something is due next.
    fn next_due(&self, ended: bool) -> Option<Instant> {
        self.states.iter().filter_map(|state| state.next).min().filter(|_| !ended)
    }

    fn is_all_asked(&self, group: usize) -> bool {
        self.groups[group].total.is_some_and(|total| self.states[group].asked >= total)
    }

    /// A new slot of a group, by its token.
    fn slot(&mut self, group: usize) -> u32 {
        let state = &mut self.states[group];
        let token = u32::try_from(self.slots.len()).expect("memory ends before");
        assert!(token < SIDE, "memory ends before");
        let number = state.tokens.len();
        state.tokens.push(token);
        let ask = Ask::call(Method::Status, 0);
        let (conn, due) = (number % self.pool.len(), self.window.begin);
        self.slots.push(Slot {
            group,
            number,
            conn,
            busy: false,
            due,
            ask,
            stream: None,
            next: None,
        });
        token
    }

    /// Lets a slot ask the group's next request, unless there is none any more.
    fn ask(&mut self, token: u32, due: Instant) {
        let group = self.slots[token as usize].group;
        if self.is_all_asked(group) {
            return;
        }
        let state = &mut self.states[group];
        let number = state.asked;
        state.asked += 1;
        self.message.clear();
        let slot = &mut self.slots[token as usize];
        let turn = Turn { slot: slot.number, number, due };
        let ask = self.groups[group].load.request(turn, &mut self.message);
        (slot.ask, slot.due, slot.busy) = (ask, due, true);
        self.send(token);
    }

    /// Sends what is in `message`.
    fn send(&mut self, token: u32) {
        let slot = &mut self.slots[token as usize];
        let (conn, method) = (slot.conn, slot.ask.method);
        match (slot.ask.way, slot.stream) {
            (Way::Call, _) => self.pool.start(conn, token, method, &self.message, false),
            (Way::Counted, _) => self.pool.start(conn, token, method, &self.message, true),
            (Way::Stream, Some(stream)) => self.pool.send(stream, &self.message),
            (Way::Once | Way::Stream, _) => {
                slot.stream = self.pool.open(conn, token, method, &self.message);
            }
        }
    }

    fn take(&mut self, events: &Events) {
        for event in events.list() {
            let (token, at) = (event.token, event.at);
            if token >= SIDE {
                if let What::Message(from, to) = event.what {
                    let (stream, window) = ((token - SIDE) as usize, self.window);
                    let side = Side { stream, message: events.message(from, to), at, window };
                    self.groups[0].load.side(side, self.reports);
                }
                continue;
            }
            match &event.what {
                What::Message(from, to) => self.answer(token, at, events.message(*from, *to)),
                What::Counted(bytes) => {
                    let slot = &mut self.slots[token as usize];
                    let step = self.groups[slot.group].load.counted(slot.number, *bytes);
                    slot.next = Some((step, Vec::new()));
                }
                What::Ended(outcome) => self.end_call(token, at, outcome),
            }
        }
    }

    fn answer(&mut self, token: u32, at: Instant, answer: &[u8]) {
        let slot = &mut self.slots[token as usize];
        if !slot.busy {
            return;
        }
        self.message.clear();
        let load = &mut *self.groups[slot.group].load;
        let step = load.answer(slot.number, answer, &mut self.message);
        match slot.ask.way {
            // The end of the call comes behind it.
            Way::Call | Way::Counted => {
                let again = matches!(step, Step::Again(_));
                slot.next = Some((step, if again { self.message.clone() } else { Vec::new() }));
            }
            Way::Once => {
                if let Some(stream) = slot.stream.take() {
                    self.pool.cancel(stream);
                }
                self.step(token, at, step);
            }
            Way::Stream => self.step(token, at, step),
        }
    }

    fn end_call(&mut self, token: u32, at: Instant, outcome: &Result<(), Failure>) {
        let slot = &mut self.slots[token as usize];
        slot.stream = None;
        if !slot.busy {
            return;
        }
        let next = slot.next.take();
        if let Err(why) = outcome {
            return self.end_operation(token, at, Err(why));
        }
        match next {
            Some((step, message)) => {
                if matches!(step, Step::Again(_)) {
                    self.message = message;
                }
                self.step(token, at, step);
            }
            None => self.step(token, at, Step::Wrong("the call ended without an answer")),
        }
    }

    /// Goes on with an operation; a further request is in `message`.
    fn step(&mut self, token: u32, at: Instant, step: Step) {
        match step {
            Step::Done => self.end_operation(token, at, Ok(())),
            Step::Again(ask) => {
                self.slots[token as usize].ask = ask;
                self.send(token);
            }
            Step::Wrong(text) => {
                let why = Failure::new(Code::Internal, text);
                self.end_operation(token, at, Err(&why));
            }
        }
    }

    fn end_operation(&mut self, token: u32, at: Instant, outcome: Result<(), &Failure>) {
        let slot = &mut self.slots[token as usize];
        slot.busy = false;
        let (group, due, conn) = (slot.group, slot.due, slot.conn);
        let report = &mut self.reports[slot.ask.report];
        let is_open = self.groups[group].rate.is_some();
        let counts = if is_open { due } else { at };
        self.in_time += u64::from(outcome.is_ok() && self.window.has(at));
        if self.window.has(counts) {
            self.states[group].answered += 1;
            match outcome {
                Ok(()) => report.succeeded(due, at),
                Err(why) => report.failed(why),
            }
        }
        if outcome.is_err() {
            self.groups[group].load.failed(slot.number);
        }
        if is_open {
            self.states[group].idle.push(token);
        } else if self.pool.is_alive(conn) && self.window.end.is_none_or(|end| at < end) {
            self.ask(token, at);
        }
    }

    /// Counts what was never answered, and closes the clients' streams.
    fn give_up(&mut self) {
        let why = Failure::new(Code::DeadlineExceeded, "no answer until the end");
        for slot in &mut self.slots {
            if std::mem::take(&mut slot.busy) {
                self.reports[slot.ask.report].failed(&why);
            }
            if let Some(stream) = slot.stream.take() {
                self.pool.cancel(stream);
            }
        }
        self.pool.flush();
    }
}
