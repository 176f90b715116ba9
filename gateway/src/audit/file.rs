//! The log on disk: `gateway-<number of the first line>.jsonl`, one directory, one writer.

use super::{
    chain::{self, Head},
    record::{Gap, LogEntry},
};
use crate::config::Audit;
use rules::Timestamp;
use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read, Seek, SeekFrom, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

/// Longer than any line: every text in a record is cut.
const LAST: u64 = 256 << 10;

/// Continued by the next line after the oldest files were removed.
pub(crate) const ANCHOR: &str = "anchor.json";

#[derive(Debug)]
pub(crate) struct LogFile {
    dir: PathBuf,
    config: Audit,
    head: Head,
    file: File,
    len: u64,
    day: i64,
    unsynced: bool,
    /// DirectoryLock while this process writes here.
    _lock: File,
}

impl LogFile {
    /// Continues the log in `dir`, after repairing a line that a crash left half-written (it is kept in a `.torn` file).
    pub(crate) fn open(dir: &Path, config: Audit, now: Timestamp) -> io::Result<LogFile> {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
        let lock = private().write(true).create(true).truncate(false).open(dir.join("lock"))?;
        lock.try_lock().map_err(|e| io::Error::other(format!("another gateway writes here ({e})")))?;
        let mut head = anchor(dir);
        let mut torn = 0;
        if let Some(last) = files(dir)?.pop() {
            torn = cut_torn(&last)?;
            head = last_head(dir)?.unwrap_or(head);
        }
        let (file, len) = create(dir, &head)?;
        let mut log = LogFile { dir: dir.to_owned(), config, head, file, len, day: day(now), unsynced: false, _lock: lock };
        if torn > 0 {
            tracing::error!(bytes = torn, "the audit log ended in a half-written record; it was set aside");
            log.append(&[LogEntry::Gap(Gap { at: now, torn, ..Gap::default() })], now)?;
        }
        log.retain(now)?;
        tracing::info!(seq = log.head.seq, hash = %log.head.hash, "the audit log goes on from here");
        Ok(log)
    }

    /// All or nothing: after an error the file ends where it ended before.
    pub(crate) fn append(&mut self, entries: &[LogEntry], now: Timestamp) -> io::Result<()> {
        if self.len > 0 && (self.len >= self.config.file_bytes || day(now) != self.day) {
            self.rotate(now)?;
        }
        let mut head = self.head.clone();
        let mut text = String::new();
        for entry in entries {
            text.push_str(&head.seal(entry)?);
        }
        if let Err(why) = self.file.write_all(text.as_bytes()) {
            // What was half written would break the chain for whoever reads it.
            self.file.set_len(self.len)?;
            return Err(why);
        }
        self.len += text.len() as u64;
        self.head = head;
        self.unsynced = true;
        Ok(())
    }

    pub(crate) fn sync(&mut self) -> io::Result<()> {
        if self.unsynced {
            self.file.sync_data()?;
            self.unsynced = false;
        }
        Ok(())
    }

    fn rotate(&mut self, now: Timestamp) -> io::Result<()> {
        self.file.sync_all()?;
        (self.file, self.len) = create(&self.dir, &self.head)?;
        self.day = day(now);
        tracing::info!(seq = self.head.seq, hash = %self.head.hash, "the audit log has a new file");
        self.retain(now)
    }

    /// Removes whole files, oldest first, and remembers where the chain of the rest begins.
    fn retain(&self, now: Timestamp) -> io::Result<()> {
        let mut kept = files(&self.dir)?;
        kept.pop();
        let sizes: Vec<_> = kept.into_iter().map(|p| (fs::metadata(&p).map(|m| m.len()).unwrap_or(0), p)).collect();
        let mut total: u64 = self.len + sizes.iter().map(|(n, _)| n).sum::<u64>();
        let oldest = self.config.keep.before(now);
        for (size, path) in sizes {
            let end = last_line(&path)?.and_then(|l| chain::check(&l, None).ok());
            let written = end.as_ref().map(|(line, _)| line.entry.at());
            if total <= self.config.keep_bytes && written.is_none_or(|at| at >= oldest) {
                break;
            }
            if let Some((_, head)) = end {
                let mut file = private().write(true).create(true).truncate(true).open(self.dir.join(ANCHOR))?;
                file.write_all(&serde_json::to_vec(&head)?)?;
                file.sync_all()?;
            }
            fs::remove_file(&path)?;
            total = total.saturating_sub(size);
            tracing::info!(file = %path.display(), "an old audit file was removed");
        }
        Ok(())
    }
}

impl LogEntry {
    pub(crate) fn at(&self) -> Timestamp {
        match self {
            LogEntry::Call(record) => record.at,
            LogEntry::Gap(gap) => gap.at,
        }
    }
}

/// Oldest first: the names are numbers of one width.
pub(crate) fn files(dir: &Path) -> io::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir)? {
        let name = entry?.file_name();
        let name = name.to_string_lossy();
        if name.starts_with("gateway-") && name.ends_with(".jsonl") {
            found.push(dir.join(name.as_ref()));
        }
    }
    found.sort();
    Ok(found)
}

/// What the first line of the oldest file continues.
pub(crate) fn anchor(dir: &Path) -> Head {
    fs::read(dir.join(ANCHOR)).ok().and_then(|b| serde_json::from_slice(&b).ok()).unwrap_or_default()
}

fn private() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.mode(0o600);
    options
}

/// The file for the line after `head`: after a restart without lines in between it is there already.
fn create(dir: &Path, head: &Head) -> io::Result<(File, u64)> {
    let path = dir.join(format!("gateway-{:020}.jsonl", head.seq + 1));
    let file = private().append(true).create(true).open(path)?;
    File::open(dir)?.sync_all()?;
    let len = file.metadata()?.len();
    Ok((file, len))
}

fn day(at: Timestamp) -> i64 {
    at.as_second().div_euclid(86_400)
}

/// Where the chain stands at its end: in the youngest file that has a line.
fn last_head(dir: &Path) -> io::Result<Option<Head>> {
    for path in files(dir)?.iter().rev() {
        let Some(line) = last_line(path)? else { continue };
        return match chain::check(&line, None) {
            Ok((_, head)) => Ok(Some(head)),
            Err(why) => {
                tracing::error!(file = %path.display(), "the last audit record {why}: somebody wrote to the log. A new chain begins");
                let seq = path.file_stem().and_then(|s| s.to_str()).and_then(|s| s.rsplit('-').next()).and_then(|n| n.parse::<u64>().ok());
                let lines = fs::read(path)?.iter().filter(|b| **b == b'\n').count() as u64;
                Ok(Some(Head { seq: seq.unwrap_or(1).saturating_sub(1) + lines, ..Head::default() }))
            }
        };
    }
    Ok(None)
}

fn last_line(path: &Path) -> io::Result<Option<String>> {
    let tail = tail(path)?;
    let text = String::from_utf8_lossy(&tail);
    Ok(text.trim_end_matches('\n').rsplit('\n').next().filter(|l| !l.is_empty()).map(str::to_owned))
}

fn tail(path: &Path) -> io::Result<Vec<u8>> {
    let mut file = File::open(path)?;
    let len = file.metadata()?.len();
    file.seek(SeekFrom::Start(len.saturating_sub(LAST)))?;
    let mut tail = Vec::new();
    file.take(LAST).read_to_end(&mut tail)?;
    Ok(tail)
}

/// Sets aside what follows the last line end.
fn cut_torn(path: &Path) -> io::Result<u64> {
    let tail = tail(path)?;
    let torn = tail.rsplit(|b| *b == b'\n').next().unwrap_or_default();
    if !torn.is_empty() {
        private().write(true).create(true).truncate(true).open(path.with_extension("torn"))?.write_all(torn)?;
        let file = OpenOptions::new().write(true).open(path)?;
        file.set_len(file.metadata()?.len().saturating_sub(torn.len() as u64))?;
        file.sync_all()?;
    }
    Ok(torn.len() as u64)
}
