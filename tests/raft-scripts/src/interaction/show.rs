//! `raft-state` and `status`.

use super::Env;

impl Env {
    pub(super) fn raft_state(&mut self) -> Result<(), String> {
        let mut output = String::new();
        for node in &self.nodes {
            let status = node.raw.status();
            let basic = &status.basic;
            let voter = status.config.voters.contains(basic.id);
            let voter = if voter { "(Voter)" } else { "(Non-Voter)" };
            output += &format!(
                "{}: {} {voter} Term:{} Lead:{}\n",
                basic.id,
                basic.soft_state.state,
                basic.hard_state.term(),
                basic.soft_state.lead
            );
        }
        self.print(&output);
        Ok(())
    }

    pub(super) fn status(&mut self, place: usize) -> Result<(), String> {
        let progress = self.nodes[place].raw.status().progress;
        for (id, member) in &progress {
            self.println(&format!("{id}: {member}"));
        }
        Ok(())
    }
}
