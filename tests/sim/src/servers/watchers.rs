//! Watchers: each has a stream at some member, takes what it is told at its own pace, and comes
//! back, there or elsewhere, when the stream is gone.

use super::coverage::Point;
use super::plan::Plan;
use super::requests::draw_keys;
use super::watches::{Judge, Said};
use super::world::{Event, World};
use crate::rng::Rng;
use server::stages::Stage;
use server::{WatchHandle, WatchItem, WatchOptions, WatchOutbox};
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

pub(crate) struct Watcher {
    pub(crate) judge: Judge,
    stream: Option<Stream>,
    /// The member it was at last; 0 for none.
    last: u64,
    slow: bool,
    room: usize,
}

struct Stream {
    member: u64,
    life: u64,
    handle: WatchHandle,
    items: Items,
}

#[derive(Debug, Clone, Default)]
struct Items(Arc<Mutex<VecDeque<WatchItem>>>);

impl Items {
    fn lock(&self) -> MutexGuard<'_, VecDeque<WatchItem>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A client's room for items, as a connection has it.
struct Outbox {
    items: Items,
    room: usize,
}

impl WatchOutbox for Outbox {
    fn has_room(&self) -> bool {
        self.items.lock().len() < self.room
    }

    fn try_send(&mut self, item: WatchItem) -> Result<(), WatchItem> {
        if self.has_room() {
            self.items.lock().push_back(item);
            return Ok(());
        }
        Err(item)
    }
}

impl Watcher {
    pub(crate) fn draw(plan: &Plan, rng: &mut Rng) -> Self {
        let (key, range_end) = draw_keys(rng, plan.keys);
        let filter = rng.below(6);
        let options = WatchOptions {
            key,
            range_end,
            start_revision: rng.pick(&[0, 1, 1, 20]),
            no_put: filter == 0,
            no_delete: filter == 1,
            prev_kv: rng.coin(),
            progress_notify: rng.coin(),
            ..WatchOptions::default()
        };
        let (slow, room) = (rng.per_mille(250), rng.pick(&[1, 3, 128]));
        Self { judge: Judge::new(options), stream: None, last: 0, slow, room }
    }
}

impl World {
    pub(crate) fn watcher_acts(&mut self, at: usize) {
        let slow = self.watchers[at].slow && !self.healing;
        let delay = if slow { self.rng.between(50, 500) } else { self.rng.between(1, 40) };
        self.after(delay, Event::WatcherActs(at));
        let alive = self.watchers[at]
            .stream
            .as_ref()
            .is_some_and(|stream| self.lives(stream.member, stream.life));
        let cut = !self.healing && self.rng.per_mille(8);
        if !alive || cut {
            return self.watch_again(at);
        }
        let choice = self.rng.below(100);
        let watcher = &mut self.watchers[at];
        let Some(stream) = &watcher.stream else { return };
        let items: Vec<WatchItem> = stream.items.lock().drain(..).collect();
        self.coverage.add(Point::SlowWatchers, u64::from(items.len() >= watcher.room));
        let (n, life) = (stream.member, stream.life);
        match choice {
            0..=3 => stream.handle.commands().progress(),
            4..=7 => stream.handle.commands().tick(),
            _ => {}
        }
        for item in items {
            if self.trace.is_on() {
                self.trace.note(self.now, format_args!("watcher {at} at {n}: {item:?}"));
            }
            let judge = &mut self.watchers[at].judge;
            match judge.take(&item, &self.history.model, &mut self.coverage) {
                Ok(Said::Told) => {}
                Ok(Said::Gone) => {
                    self.watchers[at].stream = None;
                    break;
                }
                Err(text) => {
                    let text = format!("watcher {at} at {n}: {text}");
                    return self.judge("watches tell everything once and in order", Err(text));
                }
            }
        }
        // Its hub looks now and then who has room again.
        if self.places.get_mut(&n).is_some_and(|place| place.woken.insert(Stage::CatchUp)) {
            let delay = self.rng.between(1, 20);
            self.after(delay, Event::Step(n, life, Stage::CatchUp));
        }
    }

    /// Makes a new stream for a watcher, from where it was.
    fn watch_again(&mut self, at: usize) {
        let up = self.up();
        self.watchers[at].stream = None;
        if up.is_empty() {
            return;
        }
        let n = self.rng.pick(&up);
        let life = self.life_of(n);
        let watcher = &mut self.watchers[at];
        let options =
            WatchOptions { start_revision: watcher.judge.next, ..watcher.judge.options.clone() };
        let (items, room, last) = (Items::default(), watcher.room, watcher.last);
        let outbox = Box::new(Outbox { items: items.clone(), room });
        if last != 0 {
            self.coverage.hit(if last == n { Point::Resumed } else { Point::ResumedElsewhere });
        }
        self.trace.note(self.now, format_args!("watcher {at} goes to {n}: {options:?}"));
        let Some(member) = self.process(n) else { return };
        let handle = member.watch_to(outbox);
        handle.commands().create(options);
        self.watchers[at].stream = Some(Stream { member: n, life, handle, items });
        self.watchers[at].last = n;
        self.wake(n);
    }
}
