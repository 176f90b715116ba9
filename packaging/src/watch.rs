//! `gnomon watch`: servers on the wire, or in a capture, without a collector.

use crate::{
    failure::{Exit, Failure, Side},
    out, stop,
    tally::{self, Tally},
};
use clap::Args;
use launch::Global;
use rules::observation::{Coverage, Said};
use sensor::capture::{Threads, live, replay};
use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

/// Only listens: it sends nothing. Live, it prints servers as they are found and a summary when it ends (Ctrl-C).
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  gnomon watch --pcap morning.pcapng
  gnomon watch --pcap morning.pcapng --json | jq 'select(.confidence == \"confirmed\")'
  sudo gnomon watch --interface eth0

Exit codes: 0 no server, 1 at least one Probable or Confirmed, 2 error.")]
pub struct Options {
    /// Read this pcap or pcapng file; no privilege needed. May be given more than once
    #[arg(long, value_name = "FILE", conflicts_with = "interface")]
    pub pcap: Vec<PathBuf>,
    /// Watch this interface; may be given more than once [default: all that are up]
    #[arg(long, value_name = "NAME")]
    pub interface: Vec<String>,
    /// Threads per interface, 1 to 16: for links that one core does not keep up with (`kernel-drop`)
    #[arg(long, value_name = "N", default_value_t = Threads::default(), conflicts_with = "pcap")]
    pub threads: Threads,
    /// Lay the signature packs of this directory over the shipped one, as `packs` in [collector] does
    #[arg(long, value_name = "DIR")]
    pub packs: Option<PathBuf>,
}

pub fn run(options: &Options, global: &Global) -> Result<Exit, Failure> {
    let mut tally = Tally::weighing_by(options.packs.as_deref())?;
    if options.pcap.is_empty() {
        launch::block_on(live(options, &mut tally, global.json))?;
    } else {
        for file in &options.pcap {
            let coverage = replay(file, &mut tally)?;
            remark(&coverage);
        }
    }
    let reports = tally.reports();
    tally::print(&reports, global.json)?;
    Ok(Exit::found(tally::any_found(&reports)))
}

fn replay(file: &Path, tally: &mut Tally) -> Result<Coverage, Failure> {
    replay::watch_file(file, &mut |evidence| drop(tally.take(&evidence))).map_err(|why| {
        Failure::new(Side::Input, why, "check that it is a pcap or pcapng file, whole and readable: `file` and `capinfos` tell more")
    })
}

async fn live(options: &Options, tally: &mut Tally, json: bool) -> Result<(), Failure> {
    let shutdown = CancellationToken::new();
    stop::on_signal(shutdown.clone())?;
    let config = sensor::capture::Config { interfaces: options.interface.clone(), threads: options.threads, ..Default::default() };
    let (voice, mut said) = mpsc::channel(4096);
    let watching = tokio::spawn(live::watch(config, voice, shutdown));
    if !json {
        out::line("watching; Ctrl-C ends it with a summary")?;
    }
    let mut seen = BTreeMap::<String, Lives>::new();
    while let Some((_, word)) = said.recv().await {
        match word {
            Said::Evidence(evidence) => {
                for report in tally.take(&evidence) {
                    if !json {
                        out::line(tally::one_line(&report))?;
                    }
                }
            }
            Said::Coverage(now) => seen.entry(now.interface.clone()).or_default().take(now),
            Said::Applied(_) | Said::Probed(_) | Said::Gap { .. } => {}
        }
    }
    for (interface, lives) in seen {
        remark(&Coverage { interface, ..lives.all() });
    }
    match watching.await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(why)) => {
            Err(Failure::new(Side::Machine, why, "`gnomon doctor sensor` says what is missing; a capture needs no privilege: --pcap FILE"))
        }
        Err(why) => Err(Failure::new(Side::Gnomon, format!("the capture stopped: {why}"), "please report this")),
    }
}

/// An interface may go away and come back, and is then counted anew.
#[derive(Debug, Default)]
struct Lives {
    over: Coverage,
    now: Coverage,
}

impl Lives {
    fn take(&mut self, now: Coverage) {
        self.now = now;
        if self.now.lost.contains_key("interface-gone") {
            self.over.add(std::mem::take(&mut self.now));
        }
    }

    fn all(mut self) -> Coverage {
        self.over.add(self.now);
        self.over
    }
}

/// How much was seen is part of the answer: nothing found in nothing seen means nothing.
fn remark(coverage: &Coverage) {
    let lost = coverage.lost.iter().filter(|(_, n)| **n > 0).map(|(why, n)| format!("{n} {why}")).collect::<Vec<_>>();
    let lost = if lost.is_empty() { String::new() } else { format!("; not understood or lost: {}", lost.join(", ")) };
    let shunted = if coverage.shunted == 0 {
        String::new()
    } else {
        format!("; left in the kernel after their handshake: {} heavy TLS connections", coverage.shunted)
    };
    out::note(format!("{}: {} frames{shunted}{lost}", rules::printable::printable(&coverage.interface, 120), coverage.frames));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_interface_that_comes_back_is_counted_on() {
        let told = |frames, gone: u64| {
            let lost = [("interface-gone".to_owned(), gone), ("gap".to_owned(), frames)].into_iter().filter(|(_, n)| *n > 0);
            Coverage { frames, lost: lost.collect(), ..Coverage::default() }
        };
        let mut lives = Lives::default();
        // Of each life the last word counts.
        [told(3, 0), told(5, 0), told(7, 1), told(0, 0), told(2, 0), told(4, 0)].into_iter().for_each(|c| lives.take(c));
        let all = lives.all();
        assert_eq!((all.frames, all.lost["gap"], all.lost["interface-gone"]), (11, 11, 1));
    }
}
