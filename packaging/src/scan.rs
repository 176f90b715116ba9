//! `gnomon scan`: asks the addresses that were named, and no other.

use crate::{
    cli::Global,
    failure::{Exit, Failure, Side},
    out::{self, Progress},
    stop,
    tally::{self, Tally},
};
use clap::Args;
use ipnet::IpNet;
use sensor::probe::{self, ScanConfig, ScanReport};
use std::{str::FromStr, time::Instant};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

/// A probe leaves nothing behind: it names itself, calls no tool, sends no credential, and ends each session that it caused.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  gnomon scan 10.0.0.5
  gnomon scan 10.0.0.0/24 fd00::10 --ports 3000,8000-8100
  gnomon scan 10.0.0.0/16 --exclude 10.0.9.0/24 --rate 50 --contact https://wiki.corp.example/scanning
  gnomon scan 10.0.0.0/24 --dry-run          what would be asked

Exit codes: 0 no server, 1 at least one Probable or Confirmed, 2 error.")]
pub struct Options {
    /// Addresses, networks (10.0.0.0/24), ranges (10.0.0.5-10.0.0.9) or names
    #[arg(required = true, value_name = "TARGET")]
    pub targets: Vec<String>,
    /// Ports and ranges of ports [default: those that MCP servers commonly use]
    #[arg(long, value_name = "PORT[-PORT]", value_delimiter = ',')]
    pub ports: Vec<Ports>,
    /// Request paths to ask, instead of the usual ones
    #[arg(long, value_name = "PATH", value_delimiter = ',')]
    pub paths: Vec<String>,
    /// Never ask these
    #[arg(long, value_name = "CIDR", value_delimiter = ',')]
    pub exclude: Vec<IpNet>,
    /// Questions per second, in all
    #[arg(long, value_name = "N")]
    pub rate: Option<u32>,
    /// Questions per second to one host
    #[arg(long, value_name = "N")]
    pub per_host_rate: Option<u32>,
    /// Ask addresses that are not private
    #[arg(long)]
    pub allow_public: bool,
    /// Refuse to begin when more addresses than this are named
    #[arg(long, value_name = "N")]
    pub max_addresses: Option<u64>,
    /// Where those asked may ask back: a URL or an address, sent along
    #[arg(long, value_name = "TEXT", env = "GNOMON_CONTACT", hide_env_values = true)]
    pub contact: Option<String>,
    /// Say what would be asked, and ask nothing
    #[arg(long)]
    pub dry_run: bool,
}

/// `8000` or `8000-8100`.
#[derive(Clone, Debug)]
pub struct Ports(std::ops::RangeInclusive<u16>);

impl FromStr for Ports {
    type Err = String;

    fn from_str(text: &str) -> Result<Ports, String> {
        let (first, last) = text.split_once('-').unwrap_or((text, text));
        match (first.trim().parse::<u16>(), last.trim().parse::<u16>()) {
            (Ok(first), Ok(last)) if 0 < first && first <= last => Ok(Ports(first..=last)),
            _ => Err("a port is 1 to 65535, a range is FIRST-LAST".to_owned()),
        }
    }
}

impl Options {
    fn config(&self) -> ScanConfig {
        let usual = ScanConfig::default();
        let or = |given: &[String], usual: Vec<String>| if given.is_empty() { usual } else { given.to_vec() };
        ScanConfig {
            targets: self.targets.clone(),
            ports: if self.ports.is_empty() { usual.ports } else { self.ports.iter().flat_map(|p| p.0.clone()).collect() },
            paths: or(&self.paths, usual.paths),
            exclude: self.exclude.clone(),
            rate: self.rate.unwrap_or(usual.rate),
            per_host_rate: self.per_host_rate.unwrap_or(usual.per_host_rate),
            max_addresses: self.max_addresses.unwrap_or(usual.max_addresses),
            allow_public: self.allow_public,
            contact: self.contact.clone().unwrap_or(usual.contact),
            dry_run: self.dry_run,
            ..usual
        }
    }
}

pub fn run(options: &Options, global: &Global) -> Result<Exit, Failure> {
    let mut tally = Tally::new();
    let report = crate::async_main(ask(options.config(), &mut tally))?;
    if options.dry_run {
        return dry_run(&report, global.json);
    }
    let reports = tally.reports();
    tally::print(&reports, global.json)?;
    if !global.json {
        remark(&report);
    }
    Ok(Exit::found(tally::any_found(&reports)))
}

async fn ask(config: ScanConfig, tally: &mut Tally) -> Result<ScanReport, Failure> {
    let shutdown = CancellationToken::new();
    stop::on_signal(shutdown.clone())?;
    let (out, mut found) = mpsc::channel(256);
    let begun = Instant::now();
    let scan = tokio::spawn(probe::scan(config, out, shutdown));
    let mut progress = Progress::new();
    let mut tick = tokio::time::interval(std::time::Duration::from_millis(250));
    let mut servers = 0;
    loop {
        tokio::select! {
            evidence = found.recv() => match evidence {
                Some(evidence) => servers += tally.take(&evidence).iter().filter(|r| tally::any_found(std::slice::from_ref(r))).count(),
                None => break,
            },
            _ = tick.tick() => progress.show(format!("asking … {}s, {servers} found so far (Ctrl-C ends it with what there is)", begun.elapsed().as_secs())),
        }
    }
    drop(progress);
    match scan.await {
        Ok(done) => done.map_err(|why| Failure::new(Side::CommandLine, why, "`gnomon scan --help` shows how targets are written")),
        Err(why) => Err(Failure::new(Side::Gnomon, format!("the scan stopped: {why}"), "please report this")),
    }
}

fn dry_run(report: &ScanReport, json: bool) -> Result<Exit, Failure> {
    if json {
        out::object(report)?;
    } else {
        report.would_ask.iter().try_for_each(|q| out::line(rules::printable::printable(q, 300)))?;
        out::line(format!("{} addresses, {} endpoints; nothing was asked", report.addresses, report.endpoints))?;
    }
    Ok(Exit::Clear)
}

fn remark(r: &ScanReport) {
    let seconds = r.elapsed_ms as f64 / 1000.0;
    let ended = if r.stopped { "; stopped before the end" } else { "" };
    out::note(format!(
        "asked {} of {} endpoints at {} addresses in {seconds:.1}s: {} connections, {} requests, {} reached{ended}",
        r.finished, r.endpoints, r.addresses, r.connections, r.requests, r.reached
    ));
    if r.sessions_minted > 0 {
        out::note(format!("{} sessions were opened by servers, {} ended again", r.sessions_minted, r.sessions_ended));
    }
    if !r.unresolved.is_empty() {
        out::note(format!("not resolved: {}", rules::printable::printable(&r.unresolved.join(", "), 300)));
    }
}
