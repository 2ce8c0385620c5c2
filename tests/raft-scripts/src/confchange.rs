//! Scripts about membership changes: `simple`, `enter-joint`, `leave-joint`.

use raft::confchange::Changer;
use raft::tracker::ProgressTracker;
use testkit::script::Block;

/// One script's state: the configuration so far, and a log that grows by one with each command.
pub struct Env {
    tracker: ProgressTracker,
    last_index: u64,
}

impl Env {
    /// No members.
    pub fn new() -> Env {
        Env { tracker: ProgressTracker::new(10, 0), last_index: 0 }
    }

    /// Carries out one command.
    pub fn run(&mut self, block: &Block) -> String {
        let output = self.change(block).unwrap_or_else(|error| error + "\n");
        self.last_index += 1;
        output
    }

    fn change(&mut self, block: &Block) -> Result<String, String> {
        let changes = raftpb::parse_changes(&block.input).map_err(|error| error.to_string())?;
        let changer = Changer { tracker: &self.tracker, last_index: self.last_index };
        let auto_leave = block.argument("autoleave").is_some_and(|given| given.values == ["true"]);
        let changed = match &*block.command {
            "simple" => changer.simple(&changes),
            "enter-joint" => changer.enter_joint(auto_leave, &changes),
            "leave-joint" => changer.leave_joint(),
            unknown => return Err(format!("unknown command {unknown}")),
        };
        let (config, progress) = changed.map_err(|error| error.to_string())?;
        let mut output = format!("{config}\n");
        for (id, member) in &progress {
            output += &format!("{id}: {member}\n");
        }
        (self.tracker.config, self.tracker.progress) = (config, progress);
        Ok(output)
    }
}
