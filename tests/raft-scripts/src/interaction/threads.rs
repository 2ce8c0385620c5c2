//! `process-append-thread` and `process-apply-thread`: one piece of storage work is done, and
//! its responses go under way.

use super::ready::{apply, store};
use super::{Env, indexes};
use raft::describe_message;
use raftpb::{HardState, Message};
use testkit::script::Block;

impl Env {
    pub(super) fn process_append_threads(&mut self, block: &Block) -> Result<(), String> {
        self.process_threads(block, "append", Env::process_append_thread)
    }

    pub(super) fn process_apply_threads(&mut self, block: &Block) -> Result<(), String> {
        self.process_threads(block, "apply", Env::process_apply_thread)
    }

    fn process_threads(
        &mut self,
        block: &Block,
        name: &str,
        process: fn(&mut Env, usize) -> Result<(), String>,
    ) -> Result<(), String> {
        let places = indexes(block)?;
        for place in &places {
            if places.len() > 1 {
                self.println(&format!("> {} processing {name} thread", place + 1));
                self.indented(|env| process(env, *place))?;
            } else {
                process(self, *place)?;
            }
        }
        Ok(())
    }

    pub(super) fn process_append_thread(&mut self, place: usize) -> Result<(), String> {
        if self.nodes[place].append_work.is_empty() {
            self.print("no append work to perform");
            return Ok(());
        }
        let mut work = self.nodes[place].append_work.remove(0);
        let responses = std::mem::take(&mut work.responses);
        self.println(&format!("Processing:\n{}", describe_message(&work)));
        let state = HardState {
            term: Some(work.term()),
            vote: Some(work.vote()),
            commit: Some(work.commit()),
        };
        store(&mut self.nodes[place], Some(state), &work.entries, work.snapshot.as_ref())?;
        self.respond(responses);
        Ok(())
    }

    pub(super) fn process_apply_thread(&mut self, place: usize) -> Result<(), String> {
        if self.nodes[place].apply_work.is_empty() {
            self.print("no apply work to perform");
            return Ok(());
        }
        let mut work = self.nodes[place].apply_work.remove(0);
        let responses = std::mem::take(&mut work.responses);
        self.println(&format!("Processing:\n{}", describe_message(&work)));
        apply(&mut self.nodes[place], &work.entries)?;
        self.respond(responses);
        Ok(())
    }

    fn respond(&mut self, responses: Vec<Message>) {
        self.println("Responses:");
        for response in &responses {
            self.println(&describe_message(response));
        }
        self.messages.extend(responses);
    }
}
