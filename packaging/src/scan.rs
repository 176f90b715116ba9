//! `gnomon scan`: asks the addresses that were named, and no other.

mod csv;
pub mod halt;
mod sarif;
mod show;

use crate::{
    failure::{Exit, Failure, Side},
    out::Progress,
    stop,
    tally::{self, Tally},
};
use clap::Args;
use ipnet::IpNet;
use launch::Global;
use sensor::probe::{self, ScanConfig, ScanReport, TargetHint, TestIdentity, Window};
use std::{path::PathBuf, str::FromStr, sync::Arc, time::Duration};
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

/// A probe leaves nothing behind: it names itself, calls no tool, sends no credential, and ends each session that it caused.
/// Many endpoints are looked at with bare SYNs first, where raw sockets are allowed (root, or CAP_NET_RAW).
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  gnomon scan 10.0.0.5
  gnomon scan 10.0.0.0/24 fd00::10 --ports 3000,8000-8100
  gnomon scan @hosts.txt --window 'Mon-Fri 20:00-06:00' --csv > servers.csv
  gnomon scan 10.0.0.0/16 --exclude 10.0.9.0/24 --rate 50 --contact https://wiki.corp.example/scanning
  gnomon scan 10.0.0.0/16 --resume /var/tmp/lab.position    goes on after a crash or Ctrl-C
  gnomon scan 10.0.0.5 --hint http://10.0.0.5:6274/finance/mcp --evidence kept
  gnomon scan 10.0.0.0/24 --dry-run          what would be asked
  gnomon scan --stop                         ends every scan with this --data, until --go

Exit codes: 0 no server, 1 at least one Probable or Confirmed, 2 error, or stopped by --stop.")]
pub struct Options {
    /// Addresses, networks (10.0.0.0/24), ranges (10.0.0.5-10.0.0.9), names, or a file of them (@FILE)
    #[arg(required_unless_present_any = ["neighbours", "stop", "go"], value_name = "TARGET")]
    pub targets: Vec<String>,
    /// Also ask the IPv6 neighbours this machine knows
    #[arg(long)]
    pub neighbours: bool,
    /// Ports and ranges of ports [default: those that MCP servers commonly use]
    #[arg(long, value_name = "PORT[-PORT]", value_delimiter = ',')]
    pub ports: Vec<Ports>,
    /// Request paths to ask, instead of the usual ones
    #[arg(long, value_name = "PATH", value_delimiter = ',')]
    pub paths: Vec<String>,
    /// Refuse targets outside these
    #[arg(long, value_name = "CIDR", value_delimiter = ',')]
    pub allow: Vec<IpNet>,
    /// Never ask these; ports of printers and industrial control are never asked anyway
    #[arg(long, value_name = "CIDR", value_delimiter = ',')]
    pub exclude: Vec<IpNet>,
    /// Never ask these ports
    #[arg(long, value_name = "PORT[-PORT]", value_delimiter = ',')]
    pub exclude_ports: Vec<Ports>,
    /// Never ask neighbours whose MAC address begins so, beside the usual makers of printers and controllers
    #[arg(long, value_name = "MAC-PREFIX", value_delimiter = ',')]
    pub exclude_vendor: Vec<String>,
    /// Packets and questions per second, in all
    #[arg(long, value_name = "N")]
    pub rate: Option<u32>,
    /// The same to one host
    #[arg(long, value_name = "N")]
    pub per_host_rate: Option<u32>,
    /// The same to one subnet (/24, /64)
    #[arg(long, value_name = "N")]
    pub per_subnet_rate: Option<u32>,
    /// Open connections instead of sending bare SYNs
    #[arg(long)]
    pub connect: bool,
    /// Begin nobody new outside this time, in UTC: '22:00-05:00', 'Mon-Fri 20:00-06:00'; may be given more than once
    #[arg(long = "window", value_name = "WINDOW")]
    pub windows: Vec<Window>,
    /// Note the position in this file, and go on from it when it is there
    #[arg(long, value_name = "FILE")]
    pub resume: Option<PathBuf>,
    /// The order of asking; the same number is the same order [default: another one each time]
    #[arg(long, value_name = "N")]
    pub seed: Option<u64>,
    /// Ask addresses that are not private
    #[arg(long)]
    pub allow_public: bool,
    /// Refuse to begin when more addresses than this are named
    #[arg(long, value_name = "N")]
    pub max_addresses: Option<u64>,
    /// Where those asked may ask back: a URL or an address, sent along
    #[arg(long, value_name = "TEXT", env = "GNOMON_CONTACT", hide_env_values = true)]
    pub contact: Option<String>,
    /// Open no event stream (transport of 2024-11-05): a very old server may not survive one that hangs up. Then only those servers of
    /// that transport are found whose routes or refusals tell, not those behind another path, a proxy or CORS
    #[arg(long)]
    pub no_legacy_get: bool,
    /// Do not learn whether servers take requests for any Host
    #[arg(long)]
    pub no_foreign_host: bool,
    /// Also try newline-delimited JSON-RPC over bare TCP on ports that speak no HTTP
    #[arg(long)]
    pub raw: bool,
    /// A client certificate made for asking (PEM), shown only to servers that serve nobody without one
    #[arg(long, value_name = "FILE", requires = "key")]
    pub certificate: Option<PathBuf>,
    /// The key of --certificate (PEM)
    #[arg(long, value_name = "FILE", requires = "certificate")]
    pub key: Option<PathBuf>,
    /// A server that is known to be there: its URL with the address, and before an @ the name it goes by
    #[arg(long = "hint", value_name = "URL", value_parser = hint)]
    pub hints: Vec<TargetHint>,
    /// Keep what was said and heard, redacted, one file per server
    #[arg(long, value_name = "DIR")]
    pub evidence: Option<PathBuf>,
    /// Lay the signature packs of this directory over the shipped one, as `packs` in [collector] does
    #[arg(long, value_name = "DIR")]
    pub packs: Option<PathBuf>,
    /// Say what would be asked and how long it takes, and ask nothing
    #[arg(long)]
    pub dry_run: bool,
    /// Servers as comma-separated values
    #[arg(long, group = "form")]
    pub csv: bool,
    /// Servers as SARIF 2.1.0
    #[arg(long, group = "form")]
    pub sarif: bool,
    /// End every scan that runs with this --data within a second (also its sensor's), and let none begin
    #[arg(long, conflicts_with_all = ["targets", "dry_run", "go"])]
    pub stop: bool,
    /// Take --stop back
    #[arg(long, conflicts_with_all = ["targets", "dry_run"])]
    pub go: bool,
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

/// `http://10.0.0.5:6274/finance/mcp`, `https://tools.corp.example@10.0.0.5/mcp`.
fn hint(text: &str) -> Result<TargetHint, String> {
    let wrong = |_| "a hint is http[s]://[NAME@]ADDRESS[:PORT]/PATH".to_owned();
    let url = url::Url::parse(text).map_err(|e| wrong(e.to_string()))?;
    let tls = match url.scheme() {
        "http" => false,
        "https" => true,
        other => return Err(wrong(other.to_owned())),
    };
    let address = url.host_str().unwrap_or_default().trim_matches(['[', ']']).to_owned();
    address.parse::<std::net::IpAddr>().map_err(|e| wrong(e.to_string()))?;
    let host = (!url.username().is_empty()).then(|| url.username().to_owned());
    Ok(TargetHint { address, port: url.port_or_known_default(), host, paths: vec![url.path().to_owned()], tls: Some(tls) })
}

impl Options {
    fn config(&self, global: &Global) -> ScanConfig {
        let usual = ScanConfig::default();
        let or = |given: &[String], usual: Vec<String>| if given.is_empty() { usual } else { given.to_vec() };
        ScanConfig {
            targets: self.targets.clone(),
            neighbours: self.neighbours,
            ports: if self.ports.is_empty() { usual.ports } else { ports(&self.ports) },
            paths: or(&self.paths, usual.paths),
            allow: self.allow.clone(),
            exclude: self.exclude.clone(),
            exclude_ports: ports(&self.exclude_ports),
            exclude_vendors: usual.exclude_vendors.into_iter().chain(self.exclude_vendor.iter().cloned()).collect(),
            rate: self.rate.unwrap_or(usual.rate),
            per_host_rate: self.per_host_rate.unwrap_or(usual.per_host_rate),
            per_subnet_rate: self.per_subnet_rate.unwrap_or(usual.per_subnet_rate),
            port_stage: !self.connect,
            windows: self.windows.clone(),
            resume: self.resume.clone(),
            stop_file: Some(halt::file(&global.data())),
            seed: self.seed,
            max_addresses: self.max_addresses.unwrap_or(usual.max_addresses),
            allow_public: self.allow_public,
            contact: self.contact.clone().unwrap_or(usual.contact),
            dry_run: self.dry_run,
            legacy_get: !self.no_legacy_get,
            foreign_host: !self.no_foreign_host,
            raw: self.raw,
            test_identity: self.certificate.clone().zip(self.key.clone()).map(|(certificate, key)| TestIdentity { certificate, key }),
            hints: self.hints.clone(),
            evidence: self.evidence.clone(),
            ..usual
        }
    }
}

fn ports(given: &[Ports]) -> Vec<u16> {
    given.iter().flat_map(|p| p.0.clone()).collect()
}

pub fn run(options: &Options, global: &Global) -> Result<Exit, Failure> {
    if options.stop || options.go {
        return halt::turn(&global.data(), options.stop, global.json);
    }
    let mut tally = Tally::weighing_by(options.packs.as_deref())?;
    let report = launch::block_on(ask(options.config(global), &mut tally))?;
    if options.dry_run {
        return show::dry_run(&report, global.json);
    }
    let reports = tally.reports();
    match (options.csv, options.sarif) {
        (true, _) => csv::print(&reports)?,
        (_, true) => sarif::print(&reports, &report)?,
        _ => tally::print(&reports, global.json)?,
    }
    show::remark(&report);
    if report.stopped && halt::file(&global.data()).exists() {
        return Err(Failure::new(
            Side::Machine,
            "the scan was stopped by `gnomon scan --stop`",
            "what was found is above; `gnomon scan --go` allows scans again",
        ));
    }
    Ok(Exit::found(tally::any_found(&reports)))
}

async fn ask(config: ScanConfig, tally: &mut Tally) -> Result<ScanReport, Failure> {
    let shutdown = CancellationToken::new();
    stop::on_signal(shutdown.clone())?;
    let (out, mut found) = mpsc::channel(256);
    let (seen, report) = watch::channel(ScanReport::default());
    let scan = tokio::spawn(probe::scan_with(config, Arc::default(), out, seen, shutdown));
    let mut progress = Progress::new();
    let mut tick = tokio::time::interval(Duration::from_millis(250));
    let (mut servers, mut speed) = (0, show::Speed::default());
    loop {
        tokio::select! {
            evidence = found.recv() => match evidence {
                Some(evidence) => servers += tally.take(&evidence).iter().filter(|r| tally::any_found(std::slice::from_ref(r))).count(),
                None => break,
            },
            _ = tick.tick() => progress.show(speed.line(&report.borrow(), servers)),
        }
    }
    drop(progress);
    match scan.await {
        Ok(done) => done.map_err(|why| Failure::new(Side::CommandLine, why, "`gnomon scan --help` shows how targets are written")),
        Err(why) => Err(Failure::new(Side::Gnomon, format!("the scan stopped: {why}"), "please report this")),
    }
}

#[cfg(test)]
mod tests {
    use super::hint;

    #[test]
    fn a_hint_is_an_address_a_path_and_perhaps_a_name() {
        let known = hint("https://tools.corp.example@10.0.0.5/finance/mcp").unwrap();
        assert_eq!((known.address.as_str(), known.port, known.tls), ("10.0.0.5", Some(443), Some(true)));
        assert_eq!((known.host.as_deref(), known.paths), (Some("tools.corp.example"), vec!["/finance/mcp".to_owned()]));
        assert_eq!(hint("http://[fd00::5]:6274/mcp").unwrap().address, "fd00::5");
        for wrong in ["10.0.0.5/mcp", "http://tools.corp.example/mcp", "ftp://10.0.0.5/"] {
            assert!(hint(wrong).is_err(), "{wrong}");
        }
    }
}
