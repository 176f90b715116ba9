//! `gnomon explain`: from the bytes that were seen to the nftables element, and why.

mod call;

use crate::{
    api::Access,
    failure::{Exit, Failure},
    out,
};
use clap::Args;
use launch::Global;
use rules::explain::Subject;

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  gnomon explain 10.0.0.5
  gnomon explain 10.0.0.5:3001
  gnomon explain F-1a2b3c4d
  gnomon explain 01a21a4c4b41c84e1f82ee9a495e471c   a call: the X-Gnomon-Call of its answer, where the gateway runs")]
pub struct Options {
    #[command(flatten)]
    pub access: Access,
    /// An address, ADDRESS:PORT, a finding, or a call through the gateway
    pub subject: String,
}

pub fn run(options: &Options, global: &Global) -> Result<Exit, Failure> {
    if call::is_id(&options.subject) {
        return call::run(&global.data(), &options.subject, global.json);
    }
    let side = crate::failure::Side::CommandLine;
    let parsed = options.subject.parse::<Subject>();
    parsed.map_err(|why| Failure::new(side, why, "`gnomon servers` and `gnomon findings` list what there is"))?;
    let lines = super::with(&options.access, global, async |api| api.explain(&options.subject).await)?;
    if global.json {
        out::object(&serde_json::json!({"subject": options.subject, "lines": lines}))?;
    } else {
        lines.iter().try_for_each(out::line)?;
    }
    Ok(Exit::Clear)
}
