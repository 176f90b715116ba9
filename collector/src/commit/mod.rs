//! Changes: jobs in a group, one transaction, then a new image for all readers.
//!
//! A job that fails is undone alone, on the disk and in memory. The judge looks at the touched sites before the commit, in the same
//! transaction. Announcements (log lines) follow the commit.

mod announce;
mod group;
#[cfg(test)]
mod tests;
mod writer;

use crate::{image::Image, store::Records};
pub(crate) use announce::{Announcement, log};
pub(crate) use group::Hooks;
use rules::{Timestamp, endpoint::Endpoint};
use std::collections::BTreeSet;
pub(crate) use writer::Writer;

/// An error undoes the job; a refusal is a value.
pub(crate) use crate::store::Outcome;

/// The tools of a job: the open transaction, the image as of this moment in it, and the time.
pub(crate) struct Transaction<'a> {
    pub(crate) records: &'a dyn Records,
    pub(crate) image: &'a mut Image,
    pub(crate) touched: &'a mut Touched,
    pub(crate) now: Timestamp,
    announced: &'a mut Vec<Announcement>,
}

impl Transaction<'_> {
    /// For the log, once it is committed.
    pub(crate) fn announce(&mut self, announcement: Announcement) {
        self.announced.push(announcement);
    }
}

/// Changes for the judge to look at: the one thing that jobs tell it.
#[derive(Debug, Default)]
pub(crate) struct Touched {
    pub(crate) endpoints: BTreeSet<(String, Endpoint)>,
    /// Site, old key, new key.
    pub(crate) renamed: Vec<(String, String, String)>,
    /// Sites where a notice was delivered.
    pub(crate) told: BTreeSet<String>,
    /// Sites where a person changed a case or the policy.
    pub(crate) sites: BTreeSet<String>,
    /// Sites where a person said that all new blocks are meant.
    pub(crate) let_pass: BTreeSet<String>,
    /// Time has passed: look at every site.
    pub(crate) tick: bool,
    /// The registry changed: look at every site, and tell the gateways.
    pub(crate) registry: bool,
    /// Grants or keys changed: tell the gateways.
    pub(crate) access: bool,
}

impl Touched {
    /// Adds the changes of a later job.
    fn add(&mut self, later: Touched) {
        self.endpoints.extend(later.endpoints);
        self.renamed.extend(later.renamed);
        self.told.extend(later.told);
        self.sites.extend(later.sites);
        self.let_pass.extend(later.let_pass);
        self.tick |= later.tick;
        self.registry |= later.registry;
        self.access |= later.access;
    }
}
