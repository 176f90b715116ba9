//! `gnomon report`: what a month looked like, for those who must show it.

use crate::{
    api::Access,
    failure::{Exit, Failure, Side},
    out, spreadsheet,
    table::{Table, word},
};
use clap::{Args, Subcommand};
use collector::ca_log::CaLog;
use launch::Global;
use rules::certificates::{Issued, Month, Standing, standings};
use std::{
    fs::File,
    io::BufReader,
    path::{Path, PathBuf},
};

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  gnomon report certificates --month 2026-11 --ca-log /var/log/step-ca.json
  gnomon report certificates --month 2026-11 --ca-log vault-audit.jsonl --ca-log other-ca.csv --csv > november.csv

Exit codes: 0 no gap, 1 at least one, 2 error.")]
pub struct Options {
    #[command(flatten)]
    pub access: Access,
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Which tool servers insist on client certificates, and what the CA issued to them and to their clients
    Certificates {
        /// The month, in UTC
        #[arg(long, value_name = "YYYY-MM")]
        month: Month,
        /// What the CA issued: step-ca's JSON log, Vault's audit log, or CSV or JSON lines with subject, names, serial,
        /// not_before, not_after
        #[arg(long = "ca-log", value_name = "FILE", required = true)]
        ca_logs: Vec<PathBuf>,
        /// Comma-separated values instead of a table
        #[arg(long)]
        csv: bool,
    },
}

pub fn run(options: &Options, global: &Global) -> Result<Exit, Failure> {
    let Command::Certificates { month, ca_logs, csv } = &options.command;
    let mut issued = Vec::new();
    for file in ca_logs {
        issued.extend(read(file)?);
    }
    let servers = super::with(&options.access, global, async |api| api.servers(None).await)?;
    let standings = standings(*month, &servers, &issued);
    match (global.json, csv) {
        (true, _) => standings.iter().try_for_each(out::object)?,
        (false, true) => comma_separated(&standings)?,
        (false, false) => table(&standings)?,
    }
    Ok(Exit::found(standings.iter().any(|s| !s.gaps.is_empty())))
}

fn read(file: &Path) -> Result<Vec<Issued>, Failure> {
    let name = rules::printable::printable(&file.display().to_string(), 200);
    let unreadable =
        |why: std::io::Error| Failure::new(Side::Input, format!("cannot read {name}: {why}"), "name a log of the CA: --ca-log FILE");
    let log = CaLog::read(BufReader::new(File::open(file).map_err(unreadable)?)).map_err(unreadable)?;
    for (line, why) in &log.told {
        out::note(format!("{name}:{line}: {why}"));
    }
    if log.unusable > log.told.len() as u64 {
        out::note(format!("{name}: {} lines in all could not be used", log.unusable));
    }
    if log.dropped > 0 {
        out::note(format!("{name}: {} certificates more than {} were left out", log.dropped, CaLog::MAX_ISSUED));
    }
    if log.issued.is_empty() {
        let what = format!("{name} names no certificate that was issued ({} lines)", log.lines);
        return Err(Failure::new(Side::Input, what, "give step-ca's JSON log, Vault's audit log, or CSV with a header"));
    }
    Ok(log.issued)
}

const HEAD: [&str; 9] =
    ["SERVER", "REGISTERED", "ASKS", "REFUSES WITHOUT", "ISSUED TO IT", "EXPIRES", "ISSUED TO CLIENTS", "SHOWN AT", "GAPS"];

fn cells(s: &Standing) -> [String; 9] {
    let yes = |known: Option<bool>| known.map_or("unknown", |y| if y { "yes" } else { "no" }).to_owned();
    let asking = s.asking.map(|a| word(&a));
    [
        s.server.clone(),
        s.registered_as.clone().unwrap_or_default(),
        yes(asking.as_deref().map(|a| a != "not-asked")),
        yes(asking.as_deref().map(|a| a == "required")),
        s.issued_to_it.to_string(),
        s.expires.map(|t| t.to_string()).unwrap_or_default(),
        format!("{} of {} clients", s.issued_to_clients, s.clients),
        s.shown_at.map(|t| t.to_string()).unwrap_or_default(),
        s.gaps.join("; "),
    ]
}

fn table(standings: &[Standing]) -> Result<(), Failure> {
    let mut table = Table::new(&HEAD);
    standings.iter().for_each(|s| table.row(cells(s)));
    table.print("no tool server was seen in that month")
}

fn comma_separated(standings: &[Standing]) -> Result<(), Failure> {
    let head = HEAD.map(|h| h.to_lowercase().replace(' ', "_"));
    spreadsheet::print(head.iter().map(String::as_str))?;
    standings.iter().try_for_each(|s| spreadsheet::print(cells(s).iter().map(String::as_str)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_that_names_nothing_is_an_error_that_says_so() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("ca.log");
        std::fs::write(&file, "{\"hello\":1}\n").unwrap();
        let why = read(&file).unwrap_err().to_string();
        assert!(why.contains("names no certificate"), "{why}");
    }
}
