//! A restart finds what was promised: hard state, snapshot and log as acknowledged, or as further
//! writes under way left them; never anything earlier, never anything else.

use super::{Verdict, hold};
use crate::durable::{Durable, Work};

pub(crate) fn found(id: u64, promised: &Durable, on_its_way: &[Work], found: &Durable) -> Verdict {
    hold!(
        promised.leads_to(on_its_way, found),
        "{id} finds {found:?}, promised was {promised:?}, {} writes were on their way",
        on_its_way.len()
    );
    Ok(())
}
