//! `stabilize`: everything that can happen does, in a fixed order, until nothing is left to do.

use super::{Env, indexes, is_quiet};
use testkit::script::Block;

impl Env {
    pub(super) fn stabilize(&mut self, block: &Block) -> Result<(), String> {
        let mut places = indexes(block)?;
        if places.is_empty() {
            places = (0..self.nodes.len()).collect();
        }
        let quiet = match block.argument("log-level") {
            Some(level) => is_quiet(&level.values.join(""))?,
            None => self.quiet,
        };
        let result = self.stabilize_nodes(&places);
        if quiet {
            self.output.clear();
        }
        result
    }

    fn stabilize_nodes(&mut self, places: &[usize]) -> Result<(), String> {
        loop {
            let mut done = true;
            for &place in places {
                if self.nodes[place].raw.has_ready() {
                    self.println(&format!("> {} handling Ready", place + 1));
                    self.indented(|env| env.process_ready(place))?;
                    done = false;
                }
            }
            for &place in places {
                let id = place as u64 + 1;
                if self.has_messages_for(id) {
                    self.println(&format!("> {id} receiving messages"));
                    self.indented(|env| env.deliver_to(id, None, false));
                    done = false;
                }
            }
            for &place in places {
                if !self.nodes[place].append_work.is_empty() {
                    self.println(&format!("> {} processing append thread", place + 1));
                    while !self.nodes[place].append_work.is_empty() {
                        self.indented(|env| env.process_append_thread(place))?;
                    }
                    done = false;
                }
            }
            for &place in places {
                if !self.nodes[place].apply_work.is_empty() {
                    self.println(&format!("> {} processing apply thread", place + 1));
                    while !self.nodes[place].apply_work.is_empty() {
                        self.indented(|env| env.process_apply_thread(place))?;
                    }
                    done = false;
                }
            }
            if done {
                return Ok(());
            }
        }
    }
}
