//! A restart finds what was promised: hard state, snapshot and log as acknowledged, or as further
//! writes under way left them; never anything earlier, never anything else.

use super::{Verdict, hold};
use crate::durable::{Durable, Work};

pub(crate) fn found(id: u64, promised: &Durable, on_its_way: &[Work], found: &Durable) -> Verdict {
    hold!(
        promised.leads_to(on_its_way, found),
        "{id} finds {found:?}, promised was {promised:?}, on its way {}",
        on_its_way.iter().map(describe).collect::<String>()
    );
    Ok(())
}

fn describe(work: &Work) -> String {
    let snapshot = work.snapshot.as_ref().map(|s| (s.index(), s.term(), work.own));
    let ids: Vec<_> = work.entries.iter().map(|entry| (entry.index(), entry.term())).collect();
    let state = work.hard_state;
    format!("[snapshot {snapshot:?}, entries {ids:?}, {state:?}]")
}
