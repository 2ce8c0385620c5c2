//! Scripts about whole nodes: a few of them, their storage, and the messages under way, in an
//! order that the script decides.

mod membership;
mod messages;
mod nodes;
mod ready;
mod show;
mod stabilize;
mod storage;
mod threads;

pub use storage::ScriptStorage;

use raft::RawNode;
use raftpb::Message;
use testkit::script::Block;

/// One node under test.
pub struct Node {
    /// The node.
    pub raw: RawNode<ScriptStorage>,
    config: raft::Config,
    /// Storage work handed out and not done, with asynchronous storage writes.
    append_work: Vec<Message>,
    /// Apply work likewise.
    apply_work: Vec<Message>,
}

/// One script's nodes and messages.
#[derive(Default)]
pub struct Env {
    nodes: Vec<Node>,
    messages: Vec<Message>,
    output: String,
    /// Log lines are not printed at all, but level `none` also silences the commands.
    quiet: bool,
}

impl Env {
    /// No nodes.
    pub fn new() -> Env {
        Env::default()
    }

    /// Carries out one command.
    pub fn run(&mut self, block: &Block) -> String {
        self.output.clear();
        let result = self.handle(block);
        if self.quiet {
            self.output.clear();
        }
        if let Err(error) = result {
            self.output.push_str(&error);
        }
        if self.output.is_empty() { "ok".to_owned() } else { std::mem::take(&mut self.output) }
    }

    fn handle(&mut self, block: &Block) -> Result<(), String> {
        match &*block.command {
            "add-nodes" => self.add_nodes(block),
            "campaign" => self.node(block)?.raw.campaign().map_err(text),
            "compact" => self.compact(block),
            "deliver-msgs" => self.deliver_messages(block),
            "forget-leader" => {
                self.node(block)?.raw.forget_leader();
                Ok(())
            }
            "log-level" => self.log_level(block),
            "process-append-thread" => self.process_append_threads(block),
            "process-apply-thread" => self.process_apply_threads(block),
            "process-ready" => self.process_readies(block),
            "propose" => self.propose(block),
            "propose-conf-change" => self.propose_conf_change(block),
            "raft-log" => self.raft_log(index(block)?),
            "raft-state" => self.raft_state(),
            "report-unreachable" => self.report_unreachable(block),
            "send-snapshot" => self.send_snapshot(block),
            "set-randomized-election-timeout" => self.set_randomized_election_timeout(block),
            "stabilize" => self.stabilize(block),
            "status" => self.status(index(block)?),
            "tick-election" => self.tick(block, |config| config.election_tick),
            "tick-heartbeat" => self.tick(block, |config| config.heartbeat_tick),
            "transfer-leadership" => self.transfer_leadership(block),
            _ => Err("unknown command".to_owned()),
        }
    }

    /// The node that the command's first argument names.
    fn node(&mut self, block: &Block) -> Result<&mut Node, String> {
        let index = index(block)?;
        self.nodes.get_mut(index).ok_or_else(|| format!("there is no node {}", index + 1))
    }

    fn print(&mut self, text: &str) {
        self.output.push_str(text);
    }

    fn println(&mut self, text: &str) {
        self.output.push_str(text);
        self.output.push('\n');
    }

    /// Runs `body` and indents all that it printed.
    fn indented<T>(&mut self, body: impl FnOnce(&mut Env) -> T) -> T {
        let outer = std::mem::take(&mut self.output);
        let result = body(self);
        let inner = std::mem::replace(&mut self.output, outer);
        for line in inner.lines() {
            self.output.push_str(&format!("  {line}\n"));
        }
        result
    }

    fn log_level(&mut self, block: &Block) -> Result<(), String> {
        let level = block.arguments.first().ok_or("a level is wanted")?;
        self.quiet = is_quiet(&level.key)?;
        Ok(())
    }
}

/// Whether a level silences everything.
fn is_quiet(level: &str) -> Result<bool, String> {
    match &*level.to_ascii_lowercase() {
        "none" => Ok(true),
        "debug" | "info" | "warn" | "error" | "fatal" => Ok(false),
        _ => Err(format!("{level:?} is no log level")),
    }
}

/// The place of the node that the command's first argument names.
fn index(block: &Block) -> Result<usize, String> {
    let first = block.arguments.first().ok_or("a node is wanted")?;
    place(first.key.parse().map_err(|_| format!("{:?} is no node", first.key))?)
}

/// The places of the nodes that the command's bare arguments name.
fn indexes(block: &Block) -> Result<Vec<usize>, String> {
    block.numbers()?.into_iter().map(place).collect()
}

fn place(id: u64) -> Result<usize, String> {
    let place = usize::try_from(id).ok().and_then(|id| id.checked_sub(1));
    place.ok_or_else(|| "nodes count from 1".to_owned())
}

fn text(error: impl std::fmt::Display) -> String {
    error.to_string()
}
