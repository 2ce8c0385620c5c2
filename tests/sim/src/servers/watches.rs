//! What etcd promises of watches, judged by the model: events come in the order of revisions, none
//! twice, none left out, those of a revision together; who comes back with the next revision goes
//! on there; progress is told only of what was told before; filters and previous values are as
//! asked for.

use super::coverage::{Coverage, Point};
use super::model::{Happened, Model};
use api::mvccpb::KeyValue;
use apply::decode_record;
use server::{WatchEvent, WatchItem, WatchOptions};

/// What one watcher was told, across its streams.
#[derive(Debug)]
pub(crate) struct Judge {
    pub(crate) options: WatchOptions,
    /// The first revision it was not told of; 0 until that is known.
    pub(crate) next: i64,
    /// The revision when its stream was made.
    created: i64,
}

/// What an item means for its watcher.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Said {
    Told,
    /// Its stream is of no more use; it may come again.
    Gone,
}

impl Judge {
    /// `options.start_revision` is where it begins.
    pub(crate) fn new(options: WatchOptions) -> Self {
        Self { next: options.start_revision, options, created: 0 }
    }

    pub(crate) fn take(
        &mut self,
        item: &WatchItem,
        model: &Model,
        coverage: &mut Coverage,
    ) -> Result<Said, String> {
        match item {
            WatchItem::Created { revision, .. } => {
                self.created = *revision;
                if self.next == 0 {
                    self.next = revision + 1;
                }
                if *revision > model.revision {
                    return Err(format!("created at {revision} of {}", model.revision));
                }
            }
            WatchItem::Events { revision, events, .. } => {
                self.take_events(events.list(), model, coverage)?;
                if *revision < self.next - 1 || *revision > model.revision {
                    return Err(format!("events up to {} come at {revision}", self.next - 1));
                }
            }
            WatchItem::Progress { revision, .. } => {
                if let Some(left_out) = self.due(model, *revision).next() {
                    return Err(format!("progress at {revision} before events of {left_out}"));
                }
                if *revision > model.revision {
                    return Err(format!("progress at {revision} of {}", model.revision));
                }
                self.next = self.next.max(revision + 1);
                coverage.hit(Point::Progress);
            }
            WatchItem::Canceled { compact_revision, .. } => {
                if self.next >= *compact_revision || *compact_revision > model.compacted {
                    let compacted = model.compacted;
                    return Err(format!(
                        "at {} it ends for {compact_revision}, compacted {compacted}",
                        self.next
                    ));
                }
                self.next = *compact_revision;
                coverage.hit(Point::WatchCompacted);
                return Ok(Said::Gone);
            }
            WatchItem::Refused { reason, .. } => return Err(format!("refused: {reason}")),
        }
        Ok(Said::Told)
    }

    fn take_events(
        &mut self,
        mut events: &[WatchEvent],
        model: &Model,
        coverage: &mut Coverage,
    ) -> Result<(), String> {
        if events.is_empty() {
            return Err("events without any".to_owned());
        }
        while let Some(first) = events.first() {
            let main = decode_record(first.record.clone()).mod_revision;
            if main < self.next {
                return Err(format!("events of {main} where {} is next", self.next));
            }
            if let Some(left_out) = self.due(model, main - 1).next() {
                return Err(format!("events of {main} before those of {left_out}"));
            }
            let all = model.events.get(&main).map_or(&[][..], Vec::as_slice);
            let range = (&self.options.key[..], &self.options.range_end[..]);
            let inside =
                |event: &&Happened| super::model::is_inside(&event.kv.key, range.0, range.1);
            let (wanted, filtered): (Vec<&Happened>, Vec<_>) =
                all.iter().filter(inside).partition(|event| self.wants(event));
            if wanted.is_empty() || wanted.len() > events.len() {
                return Err(format!("{} events of {main} for {wanted:?}", events.len()));
            }
            let (these, rest) = events.split_at(wanted.len());
            for (told, wanted) in these.iter().zip(&wanted) {
                self.compare(told, wanted, main, model, coverage)?;
            }
            coverage.add(Point::Events, these.len() as u64);
            coverage.add(Point::Filtered, u64::from(!filtered.is_empty()));
            coverage.add(Point::CaughtUp, u64::from(main <= self.created));
            (events, self.next) = (rest, main + 1);
        }
        Ok(())
    }

    fn compare(
        &self,
        told: &WatchEvent,
        wanted: &Happened,
        main: i64,
        model: &Model,
        coverage: &mut Coverage,
    ) -> Result<(), String> {
        let kv = decode_record(told.record.clone());
        let previous: Option<KeyValue> = told.previous.clone().map(decode_record);
        let same = told.tombstone == wanted.tombstone && kv == wanted.kv;
        let asked = self.options.prev_kv;
        // What was compacted meanwhile may be left out.
        let left_out = previous.is_none() && (!asked || main <= model.compacted);
        if !same || !(left_out || (asked && previous == wanted.previous)) {
            return Err(format!("{kv:?} with {previous:?} for {wanted:?}"));
        }
        coverage.add(Point::Previous, u64::from(previous.is_some()));
        Ok(())
    }

    fn wants(&self, event: &Happened) -> bool {
        if event.tombstone { !self.options.no_delete } else { !self.options.no_put }
    }

    /// Revisions up to `to` that it has yet to be told of.
    pub(crate) fn due<'a>(&'a self, model: &'a Model, to: i64) -> impl Iterator<Item = i64> + 'a {
        let range = (&self.options.key[..], &self.options.range_end[..]);
        let history = model.history(range, self.next).take_while(move |(main, _)| *main <= to);
        let due = history.filter(|(_, events)| events.iter().any(|event| self.wants(event)));
        due.map(|(main, _)| main)
    }
}
