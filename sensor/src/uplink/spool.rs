//! Observations on disk between being seen and being acknowledged.
//!
//! Append-only segments, one fsync per batch, the acknowledgement in a file of its own replaced by rename. What `append` has
//! returned for survives a kill at any moment; what is read back was written whole. Losses are counted, and told as a gap.

use super::record::{self, Front};
use rules::{Timestamp, observation::Said, wire::v1::Record};
use std::{
    collections::VecDeque,
    fs::{self, File, OpenOptions},
    io::{self, Read, Seek, SeekFrom, Write},
    os::unix::fs::DirBuilderExt,
    path::{Path, PathBuf},
};

const MAGIC: &[u8; 8] = b"gnspool1";
/// Read from disk at once.
const READ_AHEAD: u64 = 2 << 20;

#[derive(Clone, Copy, Debug)]
pub struct Limits {
    pub segment_bytes: u64,
    /// In all; when full, the oldest segment goes.
    pub total_bytes: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Limits { segment_bytes: 8 << 20, total_bytes: 256 << 20 }
    }
}

/// Counted since the spool was opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Losses {
    /// Torn tails cut off: a write that a crash ended, never reported as stored.
    pub torn: u64,
    /// Records that could not be read back.
    pub corrupt: u64,
    /// Records dropped unacknowledged because the spool was full.
    pub dropped: u64,
}

#[derive(Clone, Debug)]
struct Segment {
    first: u64,
    /// Highest number in it; `first - 1` while empty.
    last: u64,
    bytes: u64,
}

#[derive(Debug)]
pub struct Spool {
    dir: PathBuf,
    limits: Limits,
    epoch: u64,
    /// Where the epoch begins: numbers on disk go on, those the collector sees are counted from here.
    base: u64,
    acked: u64,
    next: u64,
    segments: VecDeque<Segment>,
    /// The last segment, open for appending.
    tail: Option<File>,
    /// Where unacknowledged records begin: segment and offset. A hint; numbers decide.
    cursor: (u64, u64),
    losses: Losses,
}

impl Spool {
    /// Opens or makes the spool in `dir`. `fresh_epoch` numbers it when nothing of an earlier one is left; it must grow, so
    /// seconds since 1970 do.
    pub fn open(dir: &Path, limits: Limits, fresh_epoch: u64) -> io::Result<Spool> {
        // What was seen is for nobody else on this machine.
        fs::DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
        let (segments, losses) = recover(dir)?;
        let state = read_state(dir);
        let (epoch, acked, base) = match state {
            Some(state) => state,
            // The state is gone: what is left is said again, under a new epoch that begins with it.
            None => {
                let before = segments.front().map_or(0, |s| s.first.saturating_sub(1));
                (fresh_epoch, before, before)
            }
        };
        let last = segments.back().map_or(0, |s| s.last);
        let mut spool = Spool {
            dir: dir.to_owned(),
            limits,
            epoch,
            base,
            acked,
            next: last.max(acked) + 1,
            segments,
            tail: None,
            cursor: (0, 0),
            losses,
        };
        if state.is_none() {
            spool.write_state()?;
        }
        spool.forget_acked()?;
        Ok(spool)
    }

    pub fn epoch(&self) -> u64 {
        self.epoch
    }

    /// The highest number of this epoch that is settled.
    pub fn acked(&self) -> u64 {
        self.acked - self.base
    }

    /// The highest number given in this epoch.
    pub fn given(&self) -> u64 {
        self.next - 1 - self.base
    }

    pub fn losses(&self) -> Losses {
        self.losses
    }

    /// Whether something waits to be acknowledged.
    pub fn has_pending(&self) -> bool {
        self.acked + 1 < self.next
    }

    pub fn bytes(&self) -> u64 {
        self.segments.iter().map(|s| s.bytes).sum()
    }

    /// Stores all of `said` durably, or none of it. Returns the last number given in this epoch.
    pub fn append(&mut self, said: &[(Timestamp, Said)]) -> io::Result<u64> {
        let mut bytes = Vec::new();
        let mut seq = self.next;
        for (at, said) in said {
            let payload = serde_json::to_vec(&(at, said)).map_err(io::Error::other)?;
            if payload.len() > record::MAX_PAYLOAD {
                self.losses.dropped += 1;
                continue;
            }
            record::encode(seq, &payload, &mut bytes);
            seq += 1;
        }
        if bytes.is_empty() {
            return Ok(self.next - 1 - self.base);
        }
        self.make_room(bytes.len() as u64)?;
        self.write_tail(&bytes)?;
        if let Some(segment) = self.segments.back_mut() {
            segment.bytes += bytes.len() as u64;
            segment.last = seq - 1;
        }
        self.next = seq;
        Ok(seq - 1 - self.base)
    }

    /// A whole write with fsync, or the file as it was.
    fn write_tail(&mut self, bytes: &[u8]) -> io::Result<()> {
        let before = self.segments.back().map_or(0, |s| s.bytes);
        let Some(tail) = &mut self.tail else { return Err(io::Error::other("no open segment")) };
        let written = tail.seek(SeekFrom::Start(before)).and_then(|_| tail.write_all(bytes)).and_then(|()| tail.sync_data());
        if written.is_err() {
            // What did not fit is cut away; should that fail too, the next opening cuts it by its checksum.
            let _ = tail.set_len(before);
            self.tail = None;
        }
        written
    }

    fn make_room(&mut self, more: u64) -> io::Result<()> {
        let full = self.segments.back().is_none_or(|s| s.bytes + more > self.limits.segment_bytes && s.last >= s.first);
        if full {
            self.start_segment()?;
        } else if self.tail.is_none() {
            let path = self.segments.back().map(|s| self.path(s.first)).unwrap_or_default();
            self.tail = Some(OpenOptions::new().read(true).write(true).open(path)?);
        }
        while self.bytes() + more > self.limits.total_bytes && self.drop_oldest()? {}
        Ok(())
    }

    fn start_segment(&mut self) -> io::Result<()> {
        let path = self.path(self.next);
        let mut file = OpenOptions::new().create(true).truncate(true).read(true).write(true).open(&path)?;
        let made = file.write_all(MAGIC).and_then(|()| file.sync_data()).and_then(|()| sync_dir(&self.dir));
        if let Err(why) = made {
            let _ = fs::remove_file(path);
            return Err(why);
        }
        self.tail = Some(file);
        self.segments.push_back(Segment { first: self.next, last: self.next - 1, bytes: MAGIC.len() as u64 });
        Ok(())
    }

    /// Drops the oldest segment but the open one; false when there is none.
    pub fn drop_oldest(&mut self) -> io::Result<bool> {
        if self.segments.len() < 2 {
            return Ok(false);
        }
        let Some(oldest) = self.segments.pop_front() else { return Ok(false) };
        self.losses.dropped += (oldest.last + 1).saturating_sub(oldest.first.max(self.acked + 1));
        fs::remove_file(self.path(oldest.first))?;
        Ok(true)
    }

    /// The next unacknowledged records, in order, at most `max` and about `max_bytes`. Numbers that are lost come as one
    /// [`Said::Gap`] under the last number lost.
    pub fn peek(&mut self, max: usize, max_bytes: usize, now: Timestamp) -> io::Result<Vec<Record>> {
        let mut out = Vec::new();
        let mut expected = self.acked + 1;
        let mut size = 0;
        let waiting: Vec<Segment> = self.segments.iter().filter(|s| s.last > self.acked).cloned().collect();
        for segment in waiting {
            let mut at = if self.cursor.0 == segment.first { self.cursor.1 } else { MAGIC.len() as u64 };
            loop {
                let bytes = read_from(&self.path(segment.first), at)?;
                let mut rest = bytes.as_slice();
                loop {
                    if out.len() >= max || size >= max_bytes {
                        return Ok(out);
                    }
                    let (record, used) = match record::decode(rest) {
                        Front::Record { seq, payload, size } => (Some((seq, payload)), size),
                        Front::Corrupt { size } => (None, size),
                        Front::Torn | Front::End => break,
                    };
                    rest = rest.get(used..).unwrap_or_default();
                    let Some((seq, payload)) = record.filter(|(seq, _)| *seq >= expected) else { continue };
                    let Ok((at, said)) = serde_json::from_slice::<(Timestamp, Said)>(payload) else { continue };
                    if seq > expected {
                        out.push(gap(expected - self.base, seq - 1 - self.base, now));
                    }
                    size += used;
                    expected = seq + 1;
                    out.push(Record { seq: seq - self.base, at, said });
                }
                let used = (bytes.len() - rest.len()) as u64;
                at += used;
                if used == 0 || (bytes.len() as u64) < READ_AHEAD {
                    break;
                }
            }
            if expected <= segment.last {
                out.push(gap(expected - self.base, segment.last - self.base, now));
                expected = segment.last + 1;
            }
        }
        Ok(out)
    }

    /// Everything up to `seq` is the collector's now. Older or repeated acknowledgements change nothing.
    pub fn ack(&mut self, seq: u64) -> io::Result<()> {
        let seq = self.base.saturating_add(seq).min(self.next - 1);
        if seq <= self.acked {
            return Ok(());
        }
        self.acked = seq;
        self.write_state()?;
        self.forget_acked()?;
        self.move_cursor()
    }

    /// A collector that counts otherwise wants a new epoch: everything unacknowledged is said under it, from 1 on. What was
    /// acknowledged has no number in it, so that nobody takes it for lost.
    pub fn renumber(&mut self, epoch: u64) -> io::Result<()> {
        self.epoch = epoch.max(self.epoch.saturating_add(1));
        self.base = self.acked;
        self.write_state()
    }

    fn forget_acked(&mut self) -> io::Result<()> {
        while self.segments.len() > 1 && self.segments.front().is_some_and(|s| s.last <= self.acked) {
            let Some(done) = self.segments.pop_front() else { break };
            fs::remove_file(self.path(done.first))?;
        }
        Ok(())
    }

    /// Where the first unacknowledged record of the first segment begins, so that reading does not start over.
    fn move_cursor(&mut self) -> io::Result<()> {
        let Some(segment) = self.segments.front().cloned() else { return Ok(()) };
        let mut at = if self.cursor.0 == segment.first { self.cursor.1 } else { MAGIC.len() as u64 };
        loop {
            let bytes = read_from(&self.path(segment.first), at)?;
            let mut rest = bytes.as_slice();
            let begun = at;
            loop {
                let size = match record::decode(rest) {
                    Front::Record { seq, size, .. } if seq <= self.acked => size,
                    Front::Corrupt { size } => size,
                    _ => break,
                };
                rest = rest.get(size..).unwrap_or_default();
                at += size as u64;
            }
            if at == begun || !rest.is_empty() && record::decode(rest) != Front::Torn {
                break;
            }
        }
        self.cursor = (segment.first, at);
        Ok(())
    }

    fn write_state(&self) -> io::Result<()> {
        let temporary = self.dir.join("acked.new");
        let mut file = File::create(&temporary)?;
        file.write_all(format!("{} {} {}\n", self.epoch, self.acked, self.base).as_bytes())?;
        file.sync_data()?;
        fs::rename(temporary, self.dir.join("acked"))?;
        sync_dir(&self.dir)
    }

    fn path(&self, first: u64) -> PathBuf {
        segment_path(&self.dir, first)
    }
}

fn gap(from_seq: u64, to_seq: u64, at: Timestamp) -> Record {
    let reason = "dropped because the spool was full, or unreadable on disk".to_owned();
    Record { seq: to_seq, at, said: Said::Gap { from_seq, to_seq, reason } }
}

fn segment_path(dir: &Path, first: u64) -> PathBuf {
    dir.join(format!("{first:020}.segment"))
}

fn sync_dir(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()
}

fn read_from(path: &Path, offset: u64) -> io::Result<Vec<u8>> {
    let mut file = File::open(path)?;
    file.seek(SeekFrom::Start(offset))?;
    let mut bytes = Vec::new();
    file.take(READ_AHEAD).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Epoch, acknowledged number and the epoch's base (0 when it is not there); `None` when there is no readable state.
fn read_state(dir: &Path) -> Option<(u64, u64, u64)> {
    let text = fs::read_to_string(dir.join("acked")).ok()?;
    let mut numbers = text.strip_suffix('\n')?.split(' ').map(str::parse::<u64>);
    let (epoch, acked) = (numbers.next()?.ok()?, numbers.next()?.ok()?);
    let base = numbers.next().transpose().ok()?.unwrap_or(0);
    (base <= acked).then_some((epoch, acked, base))
}

/// Reads every segment once: counts what is unreadable, cuts the torn tail of the last one.
fn recover(dir: &Path) -> io::Result<(VecDeque<Segment>, Losses)> {
    let mut firsts: Vec<u64> =
        fs::read_dir(dir)?.filter_map(|entry| entry.ok()?.file_name().to_str()?.strip_suffix(".segment")?.parse().ok()).collect();
    firsts.sort_unstable();
    let mut losses = Losses::default();
    let mut segments = VecDeque::new();
    let count = firsts.len();
    for (n, first) in firsts.into_iter().enumerate() {
        let path = segment_path(dir, first);
        let is_last = n + 1 == count;
        let segment = recover_segment(&path, first, is_last, &mut losses)?;
        segments.push_back(segment);
    }
    Ok((segments, losses))
}

fn recover_segment(path: &Path, first: u64, is_last: bool, losses: &mut Losses) -> io::Result<Segment> {
    let bytes = fs::read(path)?;
    let mut segment = Segment { first, last: first.saturating_sub(1), bytes: bytes.len() as u64 };
    let Some(mut rest) = bytes.strip_prefix(MAGIC) else {
        losses.torn += 1;
        if is_last {
            fs::write(path, MAGIC)?;
            segment.bytes = MAGIC.len() as u64;
        }
        return Ok(segment);
    };
    loop {
        match record::decode(rest) {
            Front::Record { seq, size, .. } => {
                segment.last = segment.last.max(seq);
                rest = rest.get(size..).unwrap_or_default();
            }
            Front::Corrupt { size } => {
                losses.corrupt += 1;
                // It had a number, which is not given again.
                segment.last += 1;
                rest = rest.get(size..).unwrap_or_default();
            }
            Front::End => return Ok(segment),
            Front::Torn => {
                losses.torn += 1;
                if is_last {
                    segment.bytes = (bytes.len() - rest.len()) as u64;
                    OpenOptions::new().write(true).open(path)?.set_len(segment.bytes)?;
                }
                return Ok(segment);
            }
        }
    }
}

#[cfg(test)]
#[path = "spool/tests.rs"]
mod tests;
