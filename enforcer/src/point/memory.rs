//! What the kernel held when it was read: as long as nobody commits anything to our table, there is no need to read 100,000 elements
//! again.

use super::{Error, Point};
use crate::{netlink::Commit, present::Present};
use std::time::{Duration, Instant};

#[derive(Debug)]
pub(super) struct KernelSnapshot {
    /// The generation of the ruleset at which it is true; `None`: it may be no longer.
    pub(super) generation: Option<u32>,
    pub(super) read_at: Instant,
    pub(super) present: Option<Present>,
}

impl KernelSnapshot {
    pub(super) fn age(&self) -> Duration {
        self.read_at.elapsed()
    }
}

impl Point {
    /// The number of the kernel's newest transaction.
    pub fn generation(&self) -> Option<u32> {
        self.monitor.as_ref()?.generation().ok()
    }

    /// Somebody committed something. What does not name our table leaves what we know of it true; `None` (commits were missed) does not.
    pub fn heard(&mut self, commit: Option<&Commit>) {
        let Some(memory) = &mut self.memory else { return };
        match commit {
            None => memory.generation = None,
            Some(c) if !c.ours && memory.generation.map(|g| g.wrapping_add(1)) == Some(c.generation) => {
                memory.generation = Some(c.generation)
            }
            Some(_) => {}
        }
    }

    /// Looks at the kernel, unless nothing changed since.
    pub(super) async fn look(&mut self) -> Result<(), Error> {
        let remembered = self.memory.as_ref().and_then(|m| m.generation);
        if remembered.is_some() && remembered == self.generation() {
            return Ok(());
        }
        self.read().await
    }

    pub(super) async fn read(&mut self) -> Result<(), Error> {
        self.memory = None;
        let (before, read_at) = (self.generation(), Instant::now());
        let present = match &self.monitor {
            Some(kernel) => kernel.table().map_err(|why| Error::Unavailable(format!("reading our table: {why}")))?,
            None => self.nft.list().await?,
        };
        let generation = before.filter(|g| self.generation() == Some(*g));
        self.memory = Some(KernelSnapshot { generation, read_at, present });
        Ok(())
    }
}
