//! `propose-conf-change`.

use super::{Env, text};
use raftpb::{ConfChange, ConfChangeTransition, ConfChangeV2};
use testkit::script::Block;

impl Env {
    pub(super) fn propose_conf_change(&mut self, block: &Block) -> Result<(), String> {
        let value = |key| block.argument(key).map(|argument| argument.values.join(""));
        let version_1 = value("v1").is_some_and(|value| value == "true");
        let transition = match value("transition").as_deref() {
            None | Some("auto") => ConfChangeTransition::Auto,
            Some("implicit") => ConfChangeTransition::JointImplicit,
            Some("explicit") => ConfChangeTransition::JointExplicit,
            Some(unknown) => return Err(format!("unknown transition {unknown}")),
        };
        let changes = raftpb::parse_changes(&block.input).map_err(text)?;
        let raw = &mut self.node(block)?.raw;
        if !version_1 {
            let transition = Some(transition.into());
            let change = ConfChangeV2 { transition, changes, context: None };
            return raw.propose_conf_change(&change).map_err(text);
        }
        let [change] = &changes[..] else {
            return Err("v1 conf change can only have one operation and no transition".to_owned());
        };
        let change =
            ConfChange { r#type: change.r#type, node_id: change.node_id, ..ConfChange::default() };
        raw.propose_conf_change(&change).map_err(text)
    }
}
