//! The tree beside a map, under random changes with snapshots held.

use super::node::{Child, Node};
use super::{Bulk, Index, Item, KeyRange};
use backend::{Location, Revision};
use std::collections::BTreeMap;
use std::ops::ControlFlow;

type Model = BTreeMap<Vec<u8>, Vec<Item>>;

/// SplitMix64.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % bound
    }
}

fn key(random: &mut Random, keys: u64) -> Vec<u8> {
    let number = random.below(keys);
    let mut key = format!("{:x}", number * 0x9e37 % 0x1_0000).into_bytes();
    if number.is_multiple_of(97) {
        key.resize(3000, b'k');
    }
    key
}

fn item(main: i64, tombstone: bool) -> Item {
    let revision = Revision { main, sub: 0 };
    match tombstone {
        true => Item::tombstone(revision, Location::default()),
        false => Item::put(revision, main, 1, Location::default()),
    }
}

fn at(items: &[Item], main: i64) -> Option<Item> {
    let floor = items.iter().rev().find(|item| item.main() <= main)?;
    (!floor.is_tombstone()).then_some(*floor)
}

fn prune(items: &mut Vec<Item>, main: i64) -> usize {
    let before = items.len();
    let old = items.iter().filter(|item| item.main() <= main).count();
    if let Some(last) = old.checked_sub(1) {
        let dead = items[last].is_tombstone() && items[last].main() < main;
        items.drain(..last + usize::from(dead));
    }
    before - items.len()
}

/// Everything the tree says of itself and of the model.
fn check(index: &Index, model: &Model, main: i64) {
    check_counts(&index.root);
    assert_eq!(index.len(), i64::try_from(model.len()).unwrap());
    let mut found = Vec::new();
    let _ = index.visit(KeyRange::ALL, 0, |key, history| {
        found.push((key.to_vec(), history.iter().copied().collect::<Vec<_>>()));
        ControlFlow::Continue(())
    });
    assert!(found.iter().map(|(key, items)| (key, items)).eq(model.iter()));
    let mut random = Random(main.cast_unsigned());
    for _ in 0..20 {
        let (from, end) = (key(&mut random, 4000), key(&mut random, 4000));
        let rev = main - i64::try_from(random.below(main.cast_unsigned() + 1)).unwrap() / 4;
        for range in [KeyRange::Between(&from, &end), KeyRange::From(&from), KeyRange::One(&from)] {
            let inside = |key: &&[u8]| match range {
                KeyRange::One(one) => *key == one,
                KeyRange::From(from) => *key >= from,
                KeyRange::Between(from, end) => *key >= from && *key < end,
            };
            let expected: Vec<_> = model
                .iter()
                .filter(|(key, items)| inside(&key.as_slice()) && at(items, rev).is_some())
                .map(|(key, _)| key.clone())
                .collect();
            assert_eq!(index.count(range, rev), i64::try_from(expected.len()).unwrap());
            let mut found = Vec::new();
            let _ = index.visit(range, 0, |key, history| {
                found.extend(history.at(rev).map(|_| key.to_vec()));
                ControlFlow::Continue(())
            });
            assert_eq!(found, expected, "{range:?} at {rev}");
        }
    }
}

fn check_counts(child: &Child) -> usize {
    match &child.node {
        Node::Leaf(leaf) => {
            assert_eq!(child.live, leaf.live());
            assert!(child.newest >= leaf.newest());
            1
        }
        Node::Inner(inner) => {
            let (live, children) = inner.counted();
            assert_eq!(child.live, live);
            assert!(children > 0);
            let depths: Vec<_> = inner.children().iter().map(check_counts).collect();
            assert!(depths.iter().all(|depth| *depth == depths[0]), "leaves are equally deep");
            assert!(inner.children().iter().all(|below| below.newest <= child.newest));
            depths[0] + 1
        }
    }
}

#[test]
fn it_equals_a_map_and_snapshots_stay() {
    for seed in 0..6 {
        let mut random = Random(seed);
        let (mut index, mut model) = (Index::default(), Model::new());
        let mut held: Vec<(Index, Model, i64)> = Vec::new();
        let keys = [3, 60, 700, 4000, 4000, 4000][usize::try_from(seed).unwrap()];
        for main in 1..6000 {
            let key = key(&mut random, keys);
            let live = model.get(&key).is_some_and(|items| at(items, main).is_some());
            let tombstone = live && random.below(3) == 0;
            index.push(&key, item(main, tombstone));
            model.entry(key.clone()).or_default().push(item(main, tombstone));
            if main % 1000 == 0 {
                let at = main - i64::try_from(random.below(900)).unwrap();
                compact(&mut index, &mut model, at);
                check(&index, &model, main);
            }
            if random.below(700) == 0 {
                held.push((index.clone(), model.clone(), main));
            }
            assert_eq!(index.get(&key).is_some(), model.contains_key(&key));
        }
        check(&index, &model, 6000);
        held.iter().for_each(|(index, model, main)| check(index, model, *main));
        let mut bulk = Bulk::default();
        model.iter().for_each(|(key, items)| bulk.push(key, items));
        check(&bulk.finish(), &model, 6000);

        // Everything is deleted and compacted away.
        let live: Vec<_> = model.keys().cloned().collect();
        for (main, key) in (6000..).zip(&live) {
            index.push(key, item(main, true));
            model.get_mut(key).unwrap().push(item(main, true));
        }
        compact(&mut index, &mut model, 20_000);
        assert!(index.is_empty() && model.is_empty());
        check(&index, &model, 20_000);
        index.push(b"again", item(20_001, false));
        assert_eq!(index.count(KeyRange::ALL, 20_001), 1);
    }
}

fn compact(index: &mut Index, model: &mut Model, main: i64) {
    let mut dropped = 0;
    for (key, items) in &mut *model {
        let before = dropped;
        let history = index.get(key).unwrap();
        let has_dead = history.has_dead(main);
        index.prune(key, main, &mut |_| dropped += 1);
        assert_eq!(prune(items, main), dropped - before);
        assert_eq!(has_dead, dropped > before);
    }
    model.retain(|_, items| !items.is_empty());
}

#[test]
fn keys_in_order_fill_their_leaves() {
    for bulk in [false, true] {
        let (mut index, mut builder) = (Index::default(), Bulk::default());
        for number in 0..20_000_i64 {
            let key = format!("{number:08}");
            match bulk {
                true => builder.push(key.as_bytes(), &[item(number, false)]),
                false => index.push(key.as_bytes(), item(number, false)),
            }
        }
        let index = if bulk { builder.finish() } else { index };
        assert_eq!(index.count(KeyRange::ALL, 20_000), 20_000);
        assert_eq!(index.count(KeyRange::Between(b"00000100", b"00012345"), 20_000), 12_245);
        let (mut leaves, mut inner) = (0, 0);
        walk(&index.root, &mut leaves, &mut inner);
        assert!(leaves < 20_000 / 40 && inner < leaves / 20, "{leaves} {inner}");
    }
}

fn walk(child: &Child, leaves: &mut usize, inners: &mut usize) {
    match &child.node {
        Node::Leaf(_) => *leaves += 1,
        Node::Inner(inner) => {
            *inners += 1;
            inner.children().iter().for_each(|child| walk(child, leaves, inners));
        }
    }
}

#[test]
fn equal_parts_are_skipped_by_revision() {
    let mut index = Index::default();
    for number in 0..10_000_i64 {
        index.push(format!("{number:08}").as_bytes(), item(number + 1, false));
    }
    let mut seen = 0;
    let _ = index.visit(KeyRange::ALL, 9_990, |_, _| {
        seen += 1;
        ControlFlow::Continue(())
    });
    assert!((11..100).contains(&seen), "{seen}");
    let same = index.clone();
    assert!(index.is_same(&same));
    index.push(b"x", item(10_001, false));
    assert!(!index.is_same(&same));
}
