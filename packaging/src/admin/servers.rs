//! `gnomon servers`: the inventory.

use crate::{
    api::Access,
    failure::{Exit, Failure},
    tally,
};
use clap::Args;
use launch::Global;
use rules::confidence::Confidence;

/// Every MCP server the collector knows, with its confidence and who said so.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  gnomon servers
  gnomon servers --confidence confirmed --unregistered
  gnomon servers --json | jq -r 'select(.auth == \"none\") | .key'")]
pub struct Options {
    #[command(flatten)]
    pub access: Access,
    /// Only this site
    #[arg(long, value_name = "NAME")]
    pub site: Option<String>,
    /// At least this sure
    #[arg(long, value_name = "LEVEL", value_parser = ["candidate", "probable", "confirmed"])]
    pub confidence: Option<String>,
    /// Only those that no registration covers
    #[arg(long)]
    pub unregistered: bool,
}

pub fn run(options: &Options, global: &Global) -> Result<Exit, Failure> {
    let least = match options.confidence.as_deref() {
        Some("confirmed") => Confidence::Confirmed,
        Some("probable") => Confidence::Probable,
        _ => Confidence::Candidate,
    };
    let mut reports = super::with(&options.access, global, async |api| api.servers(options.site.as_deref()).await)?;
    reports.retain(|r| r.confidence >= least && !(options.unregistered && r.registered_as.is_some()));
    reports.sort_by_key(|r| std::cmp::Reverse(r.confidence));
    tally::print(&reports, global.json)?;
    Ok(Exit::Clear)
}
