//! Reading the log, also while a gateway writes it: for `gnomon explain` and for auditors.

use super::{
    chain::{self, Broken, Head, Line},
    file::{anchor, files},
    record::LogEntry,
};
use std::{
    fs::File,
    io::{self, BufRead, BufReader},
    path::{Path, PathBuf},
};

/// Where the chain does not hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Break {
    pub file: PathBuf,
    /// Counted from 1.
    pub line: u64,
    pub why: Broken,
}

/// What [`verify`] found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    pub lines: u64,
    /// Where the oldest line kept begins: after files that were removed by age or size, if not at the beginning.
    pub from: Head,
    /// Where the chain ends. Compare with a head noted elsewhere (the gateway logs it): a log cut short still verifies.
    pub head: Head,
    pub breaks: Vec<Break>,
}

impl Report {
    /// At most this many breaks are listed.
    pub const MAX_BREAKS: usize = 100;

    pub fn holds(&self) -> bool {
        self.breaks.is_empty()
    }
}

/// Every entry that can be read, oldest first. `dir` is `<data>/audit`.
pub fn read(dir: &Path, mut each: impl FnMut(Line)) -> io::Result<()> {
    for path in files(dir)? {
        lines(&path, |_, text| {
            if let Ok((line, _)) = chain::check(text, None) {
                each(line);
            }
            true
        })?;
    }
    Ok(())
}

/// The record of one call, by the id in its answer's `X-Gnomon-Call`; youngest files first.
pub fn find(dir: &Path, call: &str) -> io::Result<Option<Line>> {
    for path in files(dir)?.iter().rev() {
        let mut found = None;
        lines(path, |_, text| {
            let hit = text.contains(call).then(|| chain::check(text, None).ok()).flatten();
            found = hit.map(|(line, _)| line).filter(|l| matches!(&l.entry, LogEntry::Call(r) if r.call == call));
            found.is_none()
        })?;
        if found.is_some() {
            return Ok(found);
        }
    }
    Ok(None)
}

/// Checks every line against the one before.
pub fn verify(dir: &Path) -> io::Result<Report> {
    let from = anchor(dir);
    let mut report = Report { from: from.clone(), head: from, ..Report::default() };
    for path in files(dir)? {
        lines(&path, |number, text| {
            report.lines += 1;
            match chain::check(text, Some(&report.head)) {
                Ok((_, head)) => report.head = head,
                Err(why) => {
                    if report.breaks.len() < Report::MAX_BREAKS {
                        report.breaks.push(Break { file: path.clone(), line: number, why });
                    }
                    // Goes on from what the line says of itself, so that one break is told once.
                    let after = Head { seq: report.head.seq + 1, ..report.head.clone() };
                    report.head = chain::stated(text).unwrap_or(after);
                }
            }
            true
        })?;
    }
    Ok(report)
}

/// Calls `each` with number and text of every whole line, until it says to stop. A line that is being written is left out.
fn lines(path: &Path, mut each: impl FnMut(u64, &str) -> bool) -> io::Result<()> {
    let mut reader = BufReader::with_capacity(256 << 10, File::open(path)?);
    let mut line = Vec::new();
    for number in 1.. {
        line.clear();
        reader.read_until(b'\n', &mut line)?;
        let Some(whole) = line.strip_suffix(b"\n") else { break };
        if !each(number, &String::from_utf8_lossy(whole)) {
            break;
        }
    }
    Ok(())
}
