//! Scripts about quorums: `committed` and `vote`, of one set of voters or two.
//!
//! Each decision is also reached in other ways that must agree: by the definition, with the
//! halves swapped, with an empty or an equal second half, and with the laggards further behind.

use raft::quorum::{JointConfig, MajorityConfig};
use std::collections::BTreeMap;
use std::fmt::Display;
use testkit::script::{Argument, Block};

/// Carries out one command.
pub fn run(block: &Block) -> String {
    decide(block).unwrap_or_else(|error| error + "\n")
}

fn decide(block: &Block) -> Result<String, String> {
    let data = if block.command == "vote" { "votes" } else { "idx" };
    let known = |argument: &&Argument| [data, "cfg", "cfgj"].contains(&&*argument.key);
    if let Some(other) = block.arguments.iter().find(|argument| !known(argument)) {
        return Err(format!("{} takes no {}", block.command, other.key));
    }
    let values = |key| block.argument(key).map_or(&[][..], |argument| &argument.values);
    let ids = parse_ids(values("cfg"))?;
    let joint = block.argument("cfgj").is_some();
    let outgoing = if values("cfgj") == ["zero"] { Vec::new() } else { parse_ids(values("cfgj"))? };
    let given = values(data);
    let config = JointConfig {
        incoming: ids.iter().copied().collect(),
        outgoing: outgoing.iter().copied().collect(),
    };
    let voters = config.ids();
    if voters.len() != given.len() {
        let ids: MajorityConfig = voters.into_iter().collect();
        let given = given.join(" ").replace('_', "0");
        return Ok(format!("error: mismatched input (explicit or _) for voters {ids}: [{given}]"));
    }
    // Values are given for the ids in the order they are first named.
    let mut values = BTreeMap::new();
    let mut given = given.iter();
    for id in ids.iter().chain(&outgoing) {
        if let std::collections::btree_map::Entry::Vacant(slot) = values.entry(*id) {
            slot.insert(given.next().ok_or("too few values")?.as_str());
        }
    }
    values.retain(|_, value| *value != "_");
    match &*block.command {
        "committed" => committed(&config, joint, &values),
        "vote" => vote(&config, &values),
        unknown => Err(format!("unknown command {unknown}")),
    }
}

fn parse_ids(values: &[String]) -> Result<Vec<u64>, String> {
    values.iter().map(|id| id.parse().map_err(|_| format!("{id:?} is no id"))).collect()
}

fn committed(
    config: &JointConfig,
    joint: bool,
    values: &BTreeMap<u64, &str>,
) -> Result<String, String> {
    let mut acked = BTreeMap::new();
    for (id, value) in values {
        acked.insert(*id, value.parse::<u64>().map_err(|_| format!("{value:?} is no index"))?);
    }
    let look_up = |id| acked.get(&id).copied();
    let index = config.committed_index(look_up);
    let (mut output, others) = if joint {
        (config.describe(look_up), vec![("symmetry", swapped(config).committed_index(look_up))])
    } else {
        let one = &config.incoming;
        let twice = JointConfig { incoming: one.clone(), outgoing: one.clone() };
        let mut others = vec![
            ("alternative computation", by_definition(one, &acked)),
            ("self-joint quorum", twice.committed_index(look_up)),
        ];
        for (id, own) in acked.iter().filter(|(id, own)| **own < index && one.contains(**id)) {
            for lower in [own - 1, 0] {
                let overlaid = |other| if other == *id { Some(lower) } else { look_up(other) };
                others.push(("overlay", one.committed_index(overlaid)));
            }
        }
        (one.describe(look_up), others)
    };
    for (way, _) in others.into_iter().filter(|(_, other)| *other != index) {
        output += &format!("differs via {way}\n");
    }
    // Compat: upstream prints the index that is above all others as a lying eight.
    let shown = if index == u64::MAX { "\u{221e}".to_owned() } else { index.to_string() };
    Ok(output + &shown + "\n")
}

/// The highest acknowledged index that more than half have reached.
fn by_definition(config: &MajorityConfig, acked: &BTreeMap<u64, u64>) -> u64 {
    if config.is_empty() {
        return u64::MAX;
    }
    let reached = |index: u64| {
        config.iter().filter(|id| acked.get(id).is_some_and(|own| *own >= index)).count()
    };
    let candidates = config.iter().filter_map(|id| acked.get(&id).copied());
    candidates.filter(|index| reached(*index) > config.len() / 2).max().unwrap_or(0)
}

fn vote(config: &JointConfig, values: &BTreeMap<u64, &str>) -> Result<String, String> {
    if let Some(unknown) = values.values().find(|vote| !["y", "n"].contains(vote)) {
        return Err(format!("{unknown:?} is no vote: want y, n or _"));
    }
    let look_up = |id| values.get(&id).map(|vote| *vote == "y");
    let result = config.vote_result(look_up);
    let symmetric = swapped(config).vote_result(look_up);
    let line = |result: &dyn Display, note| format!("{result}{note}\n");
    let differs =
        if symmetric == result { String::new() } else { line(&symmetric, " <-- via symmetry") };
    Ok(differs + &line(&result, ""))
}

fn swapped(config: &JointConfig) -> JointConfig {
    JointConfig { incoming: config.outgoing.clone(), outgoing: config.incoming.clone() }
}
