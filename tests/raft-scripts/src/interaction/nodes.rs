//! `add-nodes`, ticks, and calls to one node.

use super::{Env, Node, ScriptStorage, index, indexes, text};
use raft::{Config, RawNode, ReadOnlyOption, Storage};
use raftpb::{ConfState, Snapshot, SnapshotMetadata};
use testkit::script::Block;

impl Env {
    pub(super) fn add_nodes(&mut self, block: &Block) -> Result<(), String> {
        let count = *block.numbers()?.first().ok_or("a number of nodes is wanted")?;
        let mut config = Config {
            election_tick: 3,
            heartbeat_tick: 1,
            max_size_per_msg: u64::MAX,
            max_inflight_msgs: usize::try_from(i32::MAX).expect("positive"),
            check_quorum: false,
            pre_vote: false,
            // Upstream's order, which its scripts expect.
            early_vote_requests: true,
            ..Config::default()
        };
        let mut metadata = SnapshotMetadata {
            conf_state: Some(ConfState { auto_leave: Some(false), ..ConfState::default() }),
            index: Some(0),
            term: Some(0),
        };
        let mut data = String::new();
        for argument in &block.arguments {
            for value in &argument.values {
                let conf_state = metadata.conf_state.get_or_insert_default();
                match &*argument.key {
                    "voters" => conf_state.voters.push(parse(value)?),
                    "learners" => conf_state.learners.push(parse(value)?),
                    "index" => metadata.index = Some(parse(value)?),
                    "content" => data.clone_from(value),
                    option => set_option(&mut config, option, value)?,
                }
            }
        }
        config.applied = metadata.index();
        let bootstrap = block
            .arguments
            .iter()
            .any(|argument| ["voters", "learners", "index", "content"].contains(&&*argument.key));
        if bootstrap && metadata.index() <= 1 {
            return Err("index must be specified as > 1 due to bootstrap".to_owned());
        }
        if bootstrap {
            metadata.term = Some(1);
        }
        let snapshot = Snapshot { data: Some(data.into()), metadata: Some(metadata) };
        for _ in 0..count {
            self.add_node(config.clone(), &snapshot, bootstrap)?;
        }
        Ok(())
    }

    fn add_node(
        &mut self,
        mut config: Config,
        snapshot: &Snapshot,
        bootstrap: bool,
    ) -> Result<(), String> {
        config.id = self.nodes.len() as u64 + 1;
        let mut storage = ScriptStorage::default();
        if bootstrap {
            storage.memory.apply_snapshot(snapshot.clone()).map_err(text)?;
        }
        storage.history.push(snapshot.clone());
        let raw = RawNode::new(config.clone(), storage).map_err(text)?;
        self.nodes.push(Node { raw, config, append_work: Vec::new(), apply_work: Vec::new() });
        Ok(())
    }

    pub(super) fn tick(
        &mut self,
        block: &Block,
        ticks: impl Fn(&Config) -> u32,
    ) -> Result<(), String> {
        let node = self.node(block)?;
        for _ in 0..ticks(&node.config) {
            node.raw.tick();
        }
        Ok(())
    }

    pub(super) fn propose(&mut self, block: &Block) -> Result<(), String> {
        let data = block.arguments.get(1).ok_or("data is wanted")?.key.clone();
        self.node(block)?.raw.propose(data.into()).map_err(text)
    }

    /// Ours alone: upstream has no verb for reads.
    pub(super) fn read_index(&mut self, block: &Block) -> Result<(), String> {
        let context = block.arguments.get(1).ok_or("bytes to know the read by are wanted")?;
        self.node(block)?.raw.read_index(context.key.clone().into());
        Ok(())
    }

    pub(super) fn compact(&mut self, block: &Block) -> Result<(), String> {
        let index_to = *block.numbers()?.get(1).ok_or("an index is wanted")?;
        let node = self.node(block)?;
        node.raw.storage_mut().memory.compact(index_to).map_err(text)?;
        self.raft_log(index(block)?)
    }

    pub(super) fn report_unreachable(&mut self, block: &Block) -> Result<(), String> {
        let [on, about] = indexes(block)?[..] else {
            return Err("two nodes are wanted: who reports, and whom".to_owned());
        };
        self.nodes[on].raw.report_unreachable(about as u64 + 1);
        Ok(())
    }

    pub(super) fn set_randomized_election_timeout(&mut self, block: &Block) -> Result<(), String> {
        let ticks = block.argument("timeout").ok_or("a timeout is wanted")?.values.join("");
        let ticks = u32::try_from(parse(&ticks)?).map_err(text)?;
        self.node(block)?.raw.set_randomized_election_timeout(ticks);
        Ok(())
    }

    pub(super) fn transfer_leadership(&mut self, block: &Block) -> Result<(), String> {
        let id = |key| parse(&block.argument(key).ok_or("from and to are wanted")?.values.join(""));
        let (from, to) = (id("from")?, id("to")?);
        let from = usize::try_from(from - 1).map_err(text)?;
        self.nodes[from].raw.transfer_leader(to);
        Ok(())
    }

    pub(super) fn raft_log(&mut self, index: usize) -> Result<(), String> {
        let memory = &self.nodes[index].raw.storage().memory;
        let first = memory.first_index().map_err(text)?;
        let last = memory.last_index().map_err(text)?;
        let output = if last < first {
            format!("log is empty: first index={first}, last index={last}")
        } else {
            raft::describe_entries(&memory.entries(first, last + 1, u64::MAX).map_err(text)?)
        };
        self.print(&output);
        Ok(())
    }
}

fn set_option(config: &mut Config, option: &str, value: &str) -> Result<(), String> {
    let flag = || value.parse::<bool>().map_err(text);
    match option {
        "inflight" => config.max_inflight_msgs = value.parse().map_err(text)?,
        "async-storage-writes" => config.async_storage_writes = flag()?,
        "apply-unstable" => config.apply_unstable = flag()?,
        "early-vote-requests" => config.early_vote_requests = flag()?,
        "prevote" => config.pre_vote = flag()?,
        "checkquorum" => config.check_quorum = flag()?,
        "max-committed-size-per-ready" => config.max_committed_size_per_ready = parse(value)?,
        "disable-conf-change-validation" => config.disable_conf_change_validation = flag()?,
        "step-down-on-removal" => config.step_down_on_removal = flag()?,
        "read-only" => {
            config.read_only_option = match value {
                "safe" => ReadOnlyOption::Safe,
                "lease-based" => ReadOnlyOption::LeaseBased,
                _ => return Err(format!("invalid read-only option {value:?}")),
            }
        }
        _ => return Err(format!("unknown option {option}")),
    }
    Ok(())
}

fn parse(value: &str) -> Result<u64, String> {
    value.parse().map_err(|_| format!("{value:?} is no number"))
}
