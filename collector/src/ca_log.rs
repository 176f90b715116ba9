//! What a CA issued, read from its log: step-ca's JSON log, Vault's audit log of a PKI mount, or CSV and JSON lines of any CA.
//!
//! Lines about something else are passed over; a line that cannot be read is told by its number and costs nothing but itself.
#![deny(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing))]

use rules::{Timestamp, certificates::Issued, printable::printable};
use serde_json::Value;
use std::{
    collections::BTreeSet,
    io::{self, BufRead, Read},
};

mod csv;
mod shapes;

/// One log, read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CaLog {
    pub issued: Vec<Issued>,
    pub lines: u64,
    /// Lines that could not be used, the first [`CaLog::MAX_TOLD`] with their number and why.
    pub unusable: u64,
    pub told: Vec<(u64, String)>,
    /// Certificates beyond [`CaLog::MAX_ISSUED`].
    pub dropped: u64,
}

impl CaLog {
    pub const MAX_ISSUED: usize = 500_000;
    pub const MAX_TOLD: usize = 10;
    /// Bytes of a line; a longer one is unusable.
    pub const MAX_LINE: u64 = 1 << 20;

    /// Reads to the end. Errors only where reading fails.
    pub fn read(mut from: impl BufRead) -> io::Result<CaLog> {
        let mut log = CaLog::default();
        let mut columns: Option<csv::Columns> = None;
        let mut line = Vec::new();
        loop {
            line.clear();
            if from.by_ref().take(CaLog::MAX_LINE).read_until(b'\n', &mut line)? == 0 {
                return Ok(log);
            }
            log.lines += 1;
            if line.last() != Some(&b'\n') && line.len() as u64 >= CaLog::MAX_LINE {
                skip_line(&mut from)?;
                log.refuse("longer than 1 MiB");
                continue;
            }
            let text = String::from_utf8_lossy(&line);
            let text = text.trim_start_matches('\u{feff}').trim();
            if text.is_empty() || text.starts_with('#') {
                continue;
            }
            let read = match (text.starts_with('{'), &columns) {
                (true, _) => json(text),
                (false, Some(columns)) => columns.read(text).map(Some),
                (false, None) => match csv::Columns::of_header(text) {
                    Some(found) => {
                        columns = Some(found);
                        continue;
                    }
                    None => Err("neither JSON nor a CSV header that names a subject and an end".to_owned()),
                },
            };
            match read {
                Ok(Some(_)) if log.issued.len() >= CaLog::MAX_ISSUED => log.dropped += 1,
                Ok(Some(issued)) => log.issued.push(issued),
                Ok(None) => {}
                Err(why) => log.refuse(&why),
            }
        }
    }

    fn refuse(&mut self, why: &str) {
        self.unusable += 1;
        if self.told.len() < CaLog::MAX_TOLD {
            self.told.push((self.lines, printable(why, 200)));
        }
    }
}

/// To the end of a line without keeping it.
fn skip_line(from: &mut impl BufRead) -> io::Result<()> {
    loop {
        let (used, done) = {
            let buffer = from.fill_buf()?;
            match buffer.iter().position(|b| *b == b'\n') {
                Some(at) => (at + 1, true),
                None => (buffer.len(), buffer.is_empty()),
            }
        };
        from.consume(used);
        if done {
            return Ok(());
        }
    }
}

/// `Ok(None)`: about something else.
fn json(text: &str) -> Result<Option<Issued>, String> {
    let value: Value = serde_json::from_str(text).map_err(|why| format!("no JSON: {why}"))?;
    shapes::read(&value)
}

/// A certificate out of its parts; names and serial bounded and printable.
fn issued(
    serial: &str,
    names: impl IntoIterator<Item = String>,
    at: Option<Timestamp>,
    expires: Option<Timestamp>,
) -> Result<Issued, String> {
    let names: BTreeSet<String> =
        names.into_iter().map(|n| printable(n.trim(), 253).to_lowercase()).filter(|n| !n.is_empty()).take(64).collect();
    if names.is_empty() {
        return Err("a certificate without a name".to_owned());
    }
    let at = at.ok_or_else(|| format!("`{}`: no time of issue that can be read", names.iter().next().map_or("", String::as_str)))?;
    Ok(Issued { serial: printable(serial, 80), names, at, expires })
}

/// RFC 3339, `2026-11-03 10:00:00` (UTC), `2026-11-03`, or seconds since 1970.
fn time(text: &str) -> Option<Timestamp> {
    let text = text.trim();
    let day = || format!("{text}T00:00:00Z").parse().ok();
    let plain = || format!("{}Z", text.replacen(' ', "T", 1)).parse().ok();
    let seconds = || text.parse::<i64>().ok().and_then(|s| Timestamp::from_second(s).ok());
    text.parse().ok().or_else(plain).or_else(day).or_else(seconds)
}

#[cfg(test)]
mod tests;
