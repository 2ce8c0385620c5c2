//! Feature gates: what etcd lets be switched on and off, and which of it there is here.
//!
//! A gate that asks for what this server does anyway is taken; one that asks for something else
//! is refused, by name and with what it waits for.
//!
//! Source: etcd `server/features/etcd_features.go`, `pkg/featuregate/feature_gate.go`.

use super::go;
use std::collections::BTreeMap;

/// Which gates were set, by name, those among them that `AllAlpha` and `AllBeta` set.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Gates {
    set: BTreeMap<&'static str, bool>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Alpha,
    Beta,
}

struct Gate {
    name: &'static str,
    stage: Stage,
    /// What etcd does if nothing is said, and what this server does.
    default: bool,
    /// What the other value waits for.
    waits_for: &'static str,
}

const fn gate(name: &'static str, stage: Stage, default: bool, waits_for: &'static str) -> Gate {
    Gate { name, stage, default, waits_for }
}

const GATES: [Gate; 9] = [
    gate("CompactHashCheck", Stage::Alpha, false, "corruption checks"),
    gate("FastLeaseKeepAlive", Stage::Beta, true, "nothing: a renewal never waits here"),
    gate("InitialCorruptCheck", Stage::Alpha, false, "corruption checks"),
    gate("LeaseCheckpoint", Stage::Alpha, false, "checkpoints of leases"),
    gate("LeaseCheckpointPersist", Stage::Alpha, false, "checkpoints of leases"),
    gate("PriorityRequest", Stage::Alpha, false, "priorities of requests"),
    gate("SetMemberLocalAddr", Stage::Alpha, false, "local addresses between members"),
    gate(
        "StopGRPCServiceOnDefrag",
        Stage::Alpha,
        false,
        "nothing: defragmenting takes no time here",
    ),
    gate(
        "TxnModeWriteWithSharedBuffer",
        Stage::Beta,
        true,
        "nothing: a transaction copies no buffer here",
    ),
];

impl Gates {
    /// Reads `A=true,B=false`.
    ///
    /// # Errors
    /// etcd's words for what is wrong.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut given = BTreeMap::new();
        for item in text.split(',').filter(|item| !item.is_empty()) {
            let (name, value) = match item.split_once('=') {
                Some((name, value)) => (name.trim(), value.trim()),
                None => return Err(format!("missing bool value for {}", item.trim())),
            };
            let Some(is_on) = go::parse_bool(value) else {
                return Err(format!(
                    "invalid value of {name}={value}, err: strconv.ParseBool: parsing {value:?}: \
                     invalid syntax"
                ));
            };
            given.insert(name, is_on);
        }
        let mut gates = Self::default();
        for (name, is_on) in &given {
            let known = GATES.iter().find(|gate| gate.name == *name);
            let name = match (known, *name) {
                (Some(gate), _) => gate.name,
                (None, "AllAlpha") => "AllAlpha",
                (None, "AllBeta") => "AllBeta",
                (None, name) => return Err(format!("unrecognized feature gate: {name}")),
            };
            gates.set.insert(name, *is_on);
        }
        // What is said of one gate counts more than what is said of all.
        for (all, stage) in [("AllAlpha", Stage::Alpha), ("AllBeta", Stage::Beta)] {
            let Some(is_on) = gates.set.get(all).copied() else { continue };
            for gate in GATES.iter().filter(|gate| gate.stage == stage) {
                gates.set.entry(gate.name).or_insert(is_on);
            }
        }
        Ok(gates)
    }

    /// Whether a gate is on.
    #[must_use]
    pub fn is_on(&self, name: &str) -> bool {
        let default = GATES.iter().any(|gate| gate.name == name && gate.default);
        self.set.get(name).copied().unwrap_or(default)
    }

    /// Looks whether the gates fit together, and whether there is here what they ask for.
    ///
    /// # Errors
    /// What does not, or what it waits for.
    pub fn check(&self) -> Result<(), String> {
        if self.is_on("LeaseCheckpointPersist") && !self.is_on("LeaseCheckpoint") {
            // Compat: etcd's words.
            return Err("enabling feature gate LeaseCheckpointPersist requires enabling feature \
                        gate LeaseCheckpoint"
                .to_owned());
        }
        for gate in &GATES {
            let asked = self.is_on(gate.name);
            if asked != gate.default {
                return Err(format!(
                    "feature gate {}={asked} cannot be taken yet: it waits for {}; leave it out",
                    gate.name, gate.waits_for
                ));
            }
        }
        Ok(())
    }
}

impl std::fmt::Display for Gates {
    /// Those that were set, as etcd logs them.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (index, (name, is_on)) in self.set.iter().enumerate() {
            let comma = if index == 0 { "" } else { "," };
            write!(f, "{comma}{name}={is_on}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gates_are_set_one_by_one_or_all_of_a_stage() {
        let gates = Gates::parse("AllBeta=false,FastLeaseKeepAlive=true, InitialCorruptCheck = F,");
        let gates = gates.expect("gates that there are");
        assert_eq!(
            gates.to_string(),
            "AllBeta=false,FastLeaseKeepAlive=true,InitialCorruptCheck=false,\
             TxnModeWriteWithSharedBuffer=false"
        );
        assert!(gates.is_on("FastLeaseKeepAlive"));
        assert!(!gates.is_on("TxnModeWriteWithSharedBuffer"));
        assert!(Gates::default().is_on("TxnModeWriteWithSharedBuffer"));
    }

    #[test]
    fn what_is_wrong_is_said_in_etcds_words() {
        let check = |text: &str, want: &str| assert_eq!(Gates::parse(text), Err(want.to_owned()));
        check("Foo=true", "unrecognized feature gate: Foo");
        check("LeaseCheckpoint", "missing bool value for LeaseCheckpoint");
        check(
            "LeaseCheckpoint=x",
            "invalid value of LeaseCheckpoint=x, err: strconv.ParseBool: parsing \"x\": invalid \
             syntax",
        );
    }

    #[test]
    fn a_gate_that_asks_for_something_else_is_refused_by_name() {
        let check = |text: &str| Gates::parse(text).expect("known gates").check();
        for gate in &GATES {
            assert_eq!(check(&format!("{}={}", gate.name, gate.default)), Ok(()), "{}", gate.name);
            let refused = check(&format!("{}={}", gate.name, !gate.default));
            assert!(refused.is_err_and(|reason| reason.contains(gate.name)), "{}", gate.name);
        }
        let refused = check("LeaseCheckpointPersist=true").expect_err("it needs the other one");
        assert!(refused.ends_with("requires enabling feature gate LeaseCheckpoint"));
        assert_eq!(check("AllAlpha=false,AllBeta=true"), Ok(()));
        assert!(check("AllAlpha=true").is_err());
    }
}
