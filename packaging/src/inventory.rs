//! `gnomon inventory`: this host's listeners and client configurations, without a collector.

use crate::{
    failure::{Exit, Failure},
    out,
    tally::{self, Tally},
};
use clap::Args;
use launch::Global;
use rules::Timestamp;

/// Reads /proc and the configuration files of MCP clients; sends nothing, changes nothing.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  gnomon inventory
  sudo gnomon inventory --json > host.ndjson      all users' processes
  gnomon registry import host.ndjson              the first morning's audit as seed data

Exit codes: 0 no server, 1 at least one Probable or Confirmed, 2 error.")]
pub struct Options {}

pub fn run(_options: &Options, global: &Global) -> Result<Exit, Failure> {
    let report = sensor::host::inventory(Timestamp::now());
    let mut tally = Tally::new();
    report.evidence.iter().for_each(|e| drop(tally.take(e)));
    let reports = tally.reports();
    tally::print(&reports, global.json)?;
    report.off.iter().for_each(|why| out::note(format!("not seen: {}", rules::printable::printable(why, 300))));
    Ok(Exit::found(tally::any_found(&reports)))
}
