//! Reading back what a commit of ours changed: by key, since a look at 100,000 elements costs the kernel more than changing them.
//!
//! What was not changed is as it was when it was read, as long as the kernel's generation has moved by our own commits alone. Else, or
//! where anything is not as it was asked for, all of it is read again.

use super::{Error, Point, memory::KernelSnapshot};
use crate::{
    netlink::Monitor,
    present::{KernelBlock, Present},
    render::{Change, Transaction},
};
use rules::{decision::Action, endpoint::Endpoint};
use std::{collections::BTreeMap, time::Duration};

/// Asking for what is gone takes a message each: beyond this many a whole look is shorter.
const MANY_GONE: usize = 8_192;

impl Point {
    /// `generation`: the kernel's, if nobody but us committed since `memory`.
    pub(super) async fn read_back(
        &mut self,
        memory: Option<KernelSnapshot>,
        transaction: &Transaction,
        generation: Option<u32>,
    ) -> Result<(), Error> {
        let known = self.monitor.as_ref().zip(memory).zip(generation);
        if let Some(memory) = known.and_then(|((kernel, memory), generation)| changed(kernel, memory, transaction, generation)) {
            self.memory = Some(memory);
            return Ok(());
        }
        self.read().await
    }
}

fn changed(kernel: &Monitor, memory: KernelSnapshot, transaction: &Transaction, generation: u32) -> Option<KernelSnapshot> {
    let still = || kernel.generation().is_ok_and(|now| now == generation);
    let (age, before) = (memory.age(), memory.present.unwrap_or_default());
    let gone: Vec<(Endpoint, Action)> = transaction.changes.iter().filter_map(gone).collect();
    if !still() || !before.foreign.is_empty() || gone.len() > MANY_GONE {
        return None;
    }
    let mut present = kernel.frame().ok()??;
    // As of the time of `memory`, like all of it.
    present.agents_left = present.agents_left.saturating_add(age);
    present.blocks = blocks(kernel, before, transaction, &gone, age)?;
    still().then_some(KernelSnapshot { generation: Some(generation), read_at: memory.read_at, present: Some(present) })
}

fn blocks(
    kernel: &Monitor,
    before: Present,
    transaction: &Transaction,
    gone: &[(Endpoint, Action)],
    age: Duration,
) -> Option<BTreeMap<Endpoint, KernelBlock>> {
    let mut blocks = before.blocks;
    // What lapsed meanwhile, lapsed unheard.
    blocks.retain(|_, held| held.left > age);
    for action in [Action::Block, Action::Shadow] {
        let there = gone.iter().filter(|(_, was)| *was == action).map(|(at, _)| *at);
        let mut stayed = false;
        kernel
            .held(action, &there.collect::<Vec<_>>(), |at, held| {
                stayed |= held.is_some();
                blocks.remove(&at);
            })
            .ok()?;
        if stayed {
            return None;
        }
    }
    for action in [Action::Block, Action::Shadow] {
        let asked: Vec<Endpoint> = transaction.changes.iter().filter_map(|c| leased(c, action)).collect();
        kernel
            .held(action, &asked, |at, held| match held {
                Some(held) => drop(blocks.insert(at, KernelBlock { left: held.left.saturating_add(age), ..held })),
                None => drop(blocks.remove(&at)),
            })
            .ok()?;
    }
    Some(blocks)
}

fn gone(change: &Change) -> Option<(Endpoint, Action)> {
    match change {
        Change::Lift { endpoint, was } => Some((*endpoint, *was)),
        Change::Lease { endpoint, block, was: Some(was), .. } if block.action != *was => Some((*endpoint, *was)),
        _ => None,
    }
}

fn leased(change: &Change, action: Action) -> Option<Endpoint> {
    match change {
        Change::Lease { endpoint, block, .. } if block.action == action => Some(*endpoint),
        _ => None,
    }
}
