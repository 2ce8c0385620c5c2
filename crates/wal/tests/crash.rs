//! The power fails at every operation on the disk: what was acknowledged is there afterwards,
//! what is there was written, and the log goes on.
#![allow(clippy::unwrap_used, reason = "a test may end with a panic")]

use bytes::Bytes;
use proptest::prelude::*;
use quorate_wal::stage::{Append, WalStage, spawn};
use quorate_wal::{self as wal, Contents, Error, Options, Wal};
use raftpb::wal::Snapshot;
use raftpb::{Entry, HardState};
use std::path::Path;
use std::sync::Arc;
use vfs::{Fs, MemFs};

const DIR: &str = "/member/wal";
const OPTIONS: Options = Options { segment_bytes: 1500, sync: true };

/// A save: how many entries, how far back the first goes, whether a later term votes anew.
/// Without entries and without going back, a new term is a vote alone.
#[derive(Clone, Debug)]
struct Save {
    entries: u64,
    back: u64,
    new_term: bool,
    size: usize,
    commit: bool,
}

/// What a log should say, kept beside it.
#[derive(Clone, Debug, Default)]
struct Model {
    contents: Contents,
}

impl Model {
    /// The next save as the log wants it; the model holds its outcome.
    fn apply(&mut self, save: &Save) -> (HardState, Vec<Entry>) {
        let contents = &mut self.contents;
        let mut state = contents.hard_state;
        let last = contents.entries.len() as u64;
        // Only a later term replaces, and only what is not committed.
        let back = if save.new_term { save.back.min(last - state.commit()) } else { 0 };
        state.term = Some((state.term() + u64::from(save.new_term)).max(1));
        state.vote = Some(state.term() % 3 + 1);
        let first = last - back + 1;
        contents.entries.truncate(usize::try_from(first - 1).unwrap());
        let entries: Vec<_> = (first..first + save.entries.max(u64::from(back > 0)))
            .map(|index| Entry {
                r#type: Some(0),
                term: state.term,
                index: Some(index),
                data: Some(Bytes::from(vec![u8::try_from(index % 256).unwrap(); save.size])),
            })
            .collect();
        contents.entries.extend(entries.iter().cloned());
        let commit = if save.commit { contents.entries.len() as u64 } else { state.commit() };
        state.commit = Some(commit);
        contents.hard_state = state;
        (state, entries)
    }
}

fn fs_dyn(fs: &Arc<MemFs>) -> Arc<dyn Fs> {
    Arc::clone(fs) as Arc<dyn Fs>
}

/// Opens after a crash as a member does.
fn recover(fs: &Arc<MemFs>) -> wal::Result<(Wal, Contents)> {
    let open = || Wal::open(fs_dyn(fs), Path::new(DIR), &Snapshot::default(), OPTIONS);
    match open() {
        Err(Error::Torn { .. }) => {
            wal::repair(&**fs, Path::new(DIR))?;
            open()
        }
        opened => opened,
    }
}

/// A fixed life with entries, replaced entries, commits alone and several cuts.
fn life() -> Vec<Save> {
    (0..24)
        .map(|n| Save {
            entries: [1, 3, 0, 2][n % 4],
            back: if n % 4 == 2 { 0 } else { 2 },
            new_term: n % 5 == 4 || n % 8 == 6,
            size: [10, 300, 0, 700][n % 4] + n,
            commit: n % 3 != 1,
        })
        .collect()
}

/// Whether `found` ends within the records of the save that leads from `before` to `after`, or
/// on either side. A save's entries come before its hard state, so one that is not whole has the
/// old hard state; and the first of its entries drops only those that it replaces.
fn between(before: &Contents, after: &Contents, found: &Contents) -> bool {
    if found == before || found == after {
        return true;
    }
    let pairs = before.entries.iter().zip(&after.entries);
    let kept = pairs.take_while(|(old, new)| old == new).count();
    let some_are_new = found.entries.len() > kept && after.entries.starts_with(&found.entries);
    found.hard_state == before.hard_state && some_are_new
}

/// The life up to where the power fails after `operations`; the states after each save, and how
/// many saves were acknowledged.
fn live(fs: &Arc<MemFs>, operations: u64) -> (Vec<Contents>, usize, bool) {
    fs.cut_power_after(operations);
    let mut model = Model::default();
    model.contents.metadata = Bytes::from_static(b"m");
    let mut states = vec![model.contents.clone()];
    let Ok(mut wal) = Wal::create(fs_dyn(fs), Path::new(DIR), b"m", OPTIONS) else {
        return (states, 0, false);
    };
    let mut acknowledged = 0;
    for (n, save) in life().iter().enumerate() {
        let (state, entries) = model.apply(save);
        states.push(model.contents.clone());
        if wal.save(&state, &entries).is_err() {
            return (states, acknowledged, true);
        }
        if !entries.is_empty() || save.new_term {
            acknowledged = n + 1;
        }
    }
    (states, acknowledged, true)
}

#[test]
fn the_life_has_votes_alone_and_commits_alone() {
    let alone = |save: &Save| save.entries == 0 && (save.back == 0 || !save.new_term);
    assert!(life().iter().any(|save| alone(save) && save.new_term));
    assert!(life().iter().any(|save| alone(save) && save.commit && !save.new_term));
}

#[test]
fn a_log_that_lost_an_acknowledged_entry_would_be_noticed() {
    let mut model = Model::default();
    let save = Save { entries: 2, back: 0, new_term: false, size: 1, commit: true };
    model.apply(&save);
    let before = model.contents.clone();
    model.apply(&save);
    let after = model.contents.clone();
    let ending = |entries: usize, state: &Contents| Contents {
        entries: after.entries[..entries].to_vec(),
        hard_state: state.hard_state,
        ..after.clone()
    };
    let verdicts = [(0, false), (1, false), (2, true), (3, true), (4, true)];
    for (entries, fits) in verdicts {
        assert_eq!(between(&before, &after, &ending(entries, &before)), fits, "{entries} entries");
    }
    assert!(!between(&before, &after, &ending(3, &after)), "a state without its entries");
}

#[test]
fn whatever_was_acknowledged_survives_a_power_cut_anywhere() {
    let whole = Arc::new(MemFs::new());
    live(&whole, u64::MAX / 2);
    let operations = whole.operations();
    let (mut crashes, mut torn) = (0, 0);
    for at in 0..operations {
        for seed in 0..150 {
            let fs = Arc::new(MemFs::new());
            let (states, acknowledged, created) = live(&fs, at);
            let crashed = Arc::new(fs.crash(seed ^ at << 8));
            crashes += 1;
            if !wal::exists(&*crashed, Path::new(DIR)).unwrap() {
                assert!(!created, "a log that was created is there");
                Wal::create(fs_dyn(&crashed), Path::new(DIR), b"m", OPTIONS).unwrap();
                continue;
            }
            let what = format!("power cut after {at} operations, seed {seed}");
            let read = Wal::open(fs_dyn(&crashed), Path::new(DIR), &Snapshot::default(), OPTIONS);
            torn += u32::from(matches!(read, Err(Error::Torn { .. })));
            drop(read);
            let (mut wal, found) = recover(&crashed).unwrap_or_else(|e| panic!("{what}: {e}"));
            let fits = |n: usize| {
                let after = states.get(n + 1).unwrap_or(&states[n]);
                between(&states[n], after, &found)
            };
            assert!((acknowledged..states.len()).any(fits), "{what}: {found:?}");

            // It goes on, and a second crash right after loses nothing.
            let index = found.entries.len() as u64 + 1;
            let term = Some(found.hard_state.term().max(1) + 1);
            let next = Entry { r#type: Some(0), term, index: Some(index), data: None };
            let state = HardState { term, vote: Some(1), ..found.hard_state };
            wal.save(&state, std::slice::from_ref(&next)).unwrap();
            let (_, again) = recover(&Arc::new(crashed.crash(seed))).unwrap();
            assert_eq!(again.entries.last(), Some(&next), "{what}");
            assert_eq!(again.entries.len() as u64, index, "{what}");
        }
    }
    assert!(torn > 0, "some crash tears a record");
    testkit::figures::note(
        "wal-crashes",
        format!("{crashes} at {operations} operations, {torn} tore a record"),
    );
}

#[test]
fn a_group_is_one_write_and_one_sync_and_acks_in_order() {
    let fs = Arc::new(MemFs::new());
    let options = Options::default();
    let wal = Wal::create(fs_dyn(&fs), Path::new(DIR), b"m", options).unwrap();
    let mut stage = WalStage::new(wal);
    let mut model = Model::default();
    let mut inbox: Vec<_> = (life().iter().enumerate())
        .map(|(token, save)| {
            let (hard_state, entries) = model.apply(save);
            Append { hard_state, entries, must_sync: false, token }
        })
        .collect();
    let (before, tokens) = (fs.operations(), inbox.len());
    let mut outbox = Vec::new();
    stage.step(&mut inbox, &mut outbox).unwrap();
    assert_eq!(fs.operations() - before, 2, "one write, one sync");
    assert_eq!(outbox, (0..tokens).collect::<Vec<_>>());
    assert!(inbox.is_empty());
    drop(stage);
    let read = wal::read_all(&*fs, Path::new(DIR), &Snapshot::default()).unwrap();
    assert_eq!(read.entries, model.contents.entries);
}

#[test]
fn the_shell_acks_all_in_order_and_ends_with_the_first_failure() {
    let fs = Arc::new(MemFs::new());
    let wal = Wal::create(fs_dyn(&fs), Path::new(DIR), b"m", OPTIONS).unwrap();
    let (acks, acked) = crossbeam_channel::bounded(life().len());
    let to_acks = move |tokens: &mut Vec<usize>| {
        tokens.drain(..).for_each(|token| acks.send(token).unwrap());
    };
    let (requests, shell) = spawn(WalStage::new(wal), to_acks);
    let mut model = Model::default();
    for (token, save) in life().iter().enumerate() {
        let (hard_state, entries) = model.apply(save);
        requests.send(Append { hard_state, entries, must_sync: false, token }).unwrap();
    }
    drop(requests);
    let stage = shell.join().unwrap().unwrap();
    assert_eq!(acked.iter().collect::<Vec<_>>(), (0..life().len()).collect::<Vec<_>>());

    fs.fail_nth(1);
    let (requests, shell) = spawn(stage, |_: &mut Vec<usize>| panic!("nothing is durable"));
    let (hard_state, entries) = model.apply(&life()[0]);
    requests.send(Append { hard_state, entries, must_sync: false, token: 0 }).unwrap();
    assert!(matches!(shell.join().unwrap(), Err(Error::Disk(_))));
    let hard_state = HardState::default();
    let late = Append { hard_state, entries: Vec::new(), must_sync: true, token: 1 };
    assert!(requests.send(late).is_err(), "later requests are not taken");
}

fn any_save() -> impl Strategy<Value = Save> {
    (0..5_u64, 0..6_u64, any::<bool>(), 0..900_usize, any::<bool>()).prop_map(
        |(entries, back, new_term, size, commit)| Save { entries, back, new_term, size, commit },
    )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..Default::default() })]

    #[test]
    fn reading_gives_what_the_model_holds(
        saves in prop::collection::vec((any_save(), 0..8_u8), 1..40),
    ) {
        let fs = Arc::new(MemFs::new());
        let mut wal = Wal::create(fs_dyn(&fs), Path::new(DIR), b"m", OPTIONS).unwrap();
        let mut model = Model::default();
        model.contents.metadata = Bytes::from_static(b"m");
        for (save, then) in &saves {
            let (state, entries) = model.apply(save);
            wal.save(&state, &entries).unwrap();
            match then {
                0 => wal.cut().unwrap(),
                1 => {
                    wal.close().unwrap();
                    let (reopened, contents) = recover(&fs).unwrap();
                    prop_assert_eq!(&contents, &model.contents);
                    wal = reopened;
                }
                2 => wal.prepare_segment().unwrap(),
                _ => {}
            }
        }
        drop(wal);
        prop_assert_eq!(&recover(&fs).unwrap().1, &model.contents);
    }
}
