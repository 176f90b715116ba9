//! Frames out of a pcap or pcapng file, read in large pieces and lent from there: no copy and no allocation per frame.
//!
//! Written here and not left to libpcap, since a capture file is a stranger's bytes, and since libpcap reads it 4 KiB at a time.
//! Formats: draft-ietf-opsawg-pcap, draft-ietf-opsawg-pcapng.

#![deny(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use crate::moment::Moment;
use std::io::{ErrorKind, Read};

/// A record longer than this is not one: no frame is.
const MAX_RECORD: usize = 1 << 20;
/// Read at once.
const PIECE: usize = 1 << 20;
/// Interfaces in one section of a pcapng file.
const MAX_INTERFACES: usize = 4096;

#[derive(Debug, thiserror::Error)]
pub enum Broken {
    #[error("is neither pcap nor pcapng")]
    Foreign,
    #[error("ends in the middle of a record")]
    Cut,
    #[error("a record contradicts itself: {0}")]
    Nonsense(&'static str),
    #[error("{0}")]
    Unreadable(std::io::Error),
}

/// One record, as the file has it.
#[derive(Clone, Copy, Debug)]
pub struct Record<'a> {
    /// `LINKTYPE_` of the interface it was captured on.
    pub link: u16,
    pub bytes: &'a [u8],
    /// Bytes on the wire, of which `bytes` were captured.
    pub wire_length: usize,
    pub at: Moment,
}

#[derive(Debug)]
pub struct Reader<R> {
    input: Window<R>,
    format: Format,
    /// What the capturing host said it lost.
    pub dropped: u64,
}

#[derive(Debug)]
enum Format {
    Pcap { big: bool, nanoseconds: bool, link: u16 },
    Pcapng { big: bool, interfaces: Vec<Interface>, last: Moment },
}

#[derive(Clone, Copy, Debug)]
struct Interface {
    link: u16,
    snap_length: u32,
    /// Units of time in a second.
    per_second: u64,
    offset: i64,
    dropped: u64,
}

/// Where the bytes of one record are in the window, and what is told beside.
struct RecordPlace {
    link: u16,
    from: usize,
    captured: usize,
    wire_length: usize,
    at: Moment,
    whole: usize,
}

impl<R: Read> Reader<R> {
    pub fn new(input: R) -> Result<Reader<R>, Broken> {
        let mut input = Window::new(input);
        let start = input.peek(24)?;
        let magic = start.first_chunk::<4>().copied().ok_or(Broken::Foreign)?;
        let format = match magic {
            [0x0a, 0x0d, 0x0d, 0x0a] => Format::Pcapng { big: false, interfaces: Vec::new(), last: Moment::default() },
            [0xa1, 0xb2, 0xc3, 0xd4] | [0xd4, 0xc3, 0xb2, 0xa1] | [0xa1, 0xb2, 0x3c, 0x4d] | [0x4d, 0x3c, 0xb2, 0xa1] => {
                let big = magic.starts_with(&[0xa1]);
                // The upper bits say how long a frame check sequence is; IP says how long a packet is.
                let link = Fields { bytes: start, big }.u32(20).ok_or(Broken::Cut)? & 0xffff;
                let nanoseconds = magic.contains(&0x3c);
                input.take(24);
                Format::Pcap { big, nanoseconds, link: link as u16 }
            }
            _ => return Err(Broken::Foreign),
        };
        Ok(Reader { input, format, dropped: 0 })
    }

    /// The next frame; `None` at the end of the file.
    pub fn next_record(&mut self) -> Result<Option<Record<'_>>, Broken> {
        let found = match &mut self.format {
            Format::Pcap { big, nanoseconds, link } => next_pcap(&mut self.input, *big, *nanoseconds, *link)?,
            Format::Pcapng { big, interfaces, last } => next_pcapng(&mut self.input, big, interfaces, last, &mut self.dropped)?,
        };
        let Some(RecordPlace { link, from, captured, wire_length, at, whole }) = found else { return Ok(None) };
        let record = self.input.take(whole);
        let bytes = record.get(from..).and_then(|r| r.get(..captured)).ok_or(Broken::Nonsense("more was captured than it holds"))?;
        Ok(Some(Record { link, bytes, wire_length, at }))
    }
}

fn next_pcap<R: Read>(input: &mut Window<R>, big: bool, nanoseconds: bool, link: u16) -> Result<Option<RecordPlace>, Broken> {
    let head = input.peek(16)?;
    if head.is_empty() {
        return Ok(None);
    }
    let fields = Fields { bytes: head, big };
    let number = |at| fields.u32(at).ok_or(Broken::Cut);
    let (seconds, fraction, captured, wire_length) = (number(0)?, number(4)?, number(8)? as usize, number(12)? as usize);
    if captured > MAX_RECORD {
        return Err(Broken::Nonsense("a frame longer than any"));
    }
    let whole = 16 + captured;
    if input.peek(whole)?.len() < whole {
        return Err(Broken::Cut);
    }
    let fraction = i64::from(fraction) * if nanoseconds { 1 } else { 1000 };
    Ok(Some(RecordPlace { link, from: 16, captured, wire_length, at: Moment::new(i64::from(seconds), fraction), whole }))
}

fn next_pcapng<R: Read>(
    input: &mut Window<R>,
    big: &mut bool,
    interfaces: &mut Vec<Interface>,
    last: &mut Moment,
    dropped: &mut u64,
) -> Result<Option<RecordPlace>, Broken> {
    loop {
        let head = input.peek(12)?;
        if head.is_empty() {
            return Ok(None);
        }
        let section = head.starts_with(&[0x0a, 0x0d, 0x0d, 0x0a]);
        if section {
            *big = match head.get(8..12) {
                Some([0x1a, 0x2b, 0x3c, 0x4d]) => true,
                Some([0x4d, 0x3c, 0x2b, 0x1a]) => false,
                _ => return Err(Broken::Nonsense("a section without byte order")),
            };
            interfaces.clear();
        }
        let fields = Fields { bytes: head, big: *big };
        let kind = fields.u32(0).ok_or(Broken::Cut)?;
        let whole = fields.u32(4).ok_or(Broken::Cut)? as usize;
        if whole < 12 || !whole.is_multiple_of(4) {
            return Err(Broken::Nonsense("a block of impossible length"));
        }
        if !matches!(kind, 1 | 2 | 3 | 5 | 6) {
            input.skip(whole)?;
            continue;
        }
        if whole > MAX_RECORD {
            return Err(Broken::Nonsense("a frame longer than any"));
        }
        let block = input.peek(whole)?;
        if block.len() < whole {
            return Err(Broken::Cut);
        }
        let fields = Fields { bytes: block.get(..whole - 4).unwrap_or_default(), big: *big };
        match kind {
            1 if interfaces.len() >= MAX_INTERFACES => return Err(Broken::Nonsense("thousands of interfaces")),
            1 => interfaces.push(fields.interface().ok_or(Broken::Nonsense("an interface without link type"))?),
            5 => {
                let of = fields.u32(8).and_then(|n| interfaces.get_mut(n as usize)).ok_or(Broken::Nonsense("an unknown interface"))?;
                // The newest count of an interface replaces the older one.
                let now = fields.statistics().unwrap_or(of.dropped);
                *dropped += now.saturating_sub(of.dropped);
                of.dropped = of.dropped.max(now);
            }
            _ => {
                let found =
                    fields.packet(kind, whole, interfaces, *last).ok_or(Broken::Nonsense("a frame of no interface, or too short"))?;
                *last = found.at;
                return Ok(Some(found));
            }
        }
        input.take(whole);
    }
}

/// Numbers in the byte order of the file.
#[derive(Clone, Copy)]
struct Fields<'a> {
    bytes: &'a [u8],
    big: bool,
}

impl<'a> Fields<'a> {
    fn u16(self, at: usize) -> Option<u16> {
        let bytes = *self.bytes.get(at..)?.first_chunk()?;
        Some(if self.big { u16::from_be_bytes(bytes) } else { u16::from_le_bytes(bytes) })
    }

    fn u32(self, at: usize) -> Option<u32> {
        let bytes = *self.bytes.get(at..)?.first_chunk()?;
        Some(if self.big { u32::from_be_bytes(bytes) } else { u32::from_le_bytes(bytes) })
    }

    fn u64(self, at: usize) -> Option<u64> {
        let bytes = *self.bytes.get(at..)?.first_chunk()?;
        Some(if self.big { u64::from_be_bytes(bytes) } else { u64::from_le_bytes(bytes) })
    }

    /// Options from `at` on: their number and value (pcapng §3.5).
    fn options(self, mut at: usize) -> impl Iterator<Item = (u16, Fields<'a>)> {
        std::iter::from_fn(move || {
            let (number, length) = (self.u16(at)?, usize::from(self.u16(at + 2)?));
            let value = self.bytes.get(at + 4..)?.get(..length)?;
            at += 4 + length.next_multiple_of(4);
            (number != 0).then_some((number, Fields { bytes: value, big: self.big }))
        })
    }

    fn interface(self) -> Option<Interface> {
        let mut interface = Interface { link: self.u16(8)?, snap_length: self.u32(12)?, per_second: 1_000_000, offset: 0, dropped: 0 };
        for (number, value) in self.options(16) {
            match (number, value.bytes) {
                // if_tsresol: a power of ten, or of two when the first bit is set.
                (9, [power, ..]) if power & 0x80 == 0 => interface.per_second = 10u64.checked_pow(u32::from(*power))?,
                (9, [power, ..]) => interface.per_second = 1u64.checked_shl(u32::from(power & 0x7f))?,
                (14, _) => interface.offset = value.u64(0)?.cast_signed(),
                _ => {}
            }
        }
        Some(interface)
    }

    /// Frames the interface or the system dropped (isb_ifdrop, isb_osdrop).
    fn statistics(self) -> Option<u64> {
        let counts = self.options(20).filter(|(number, _)| matches!(number, 5 | 7)).filter_map(|(_, value)| value.u64(0));
        counts.reduce(u64::saturating_add)
    }

    fn packet(self, kind: u32, whole: usize, interfaces: &[Interface], last: Moment) -> Option<RecordPlace> {
        if kind == 3 {
            // A simple packet block has no time, and is of the first interface.
            let (of, wire_length) = (interfaces.first()?, self.u32(8)? as usize);
            let limit = if of.snap_length == 0 { usize::MAX } else { of.snap_length as usize };
            let captured = wire_length.min(limit).min(whole.checked_sub(16)?);
            return Some(RecordPlace { link: of.link, from: 12, captured, wire_length, at: last, whole });
        }
        let number = if kind == 6 { self.u32(8)? as usize } else { usize::from(self.u16(8)?) };
        let of = interfaces.get(number)?;
        let (captured, wire_length) = (self.u32(20)? as usize, self.u32(24)? as usize);
        if captured > whole.checked_sub(32)? {
            return None;
        }
        let units = u64::from(self.u32(12)?) << 32 | u64::from(self.u32(16)?);
        let seconds = i64::try_from(units / of.per_second).ok()?.saturating_add(of.offset);
        let nanoseconds = u128::from(units % of.per_second) * 1_000_000_000 / u128::from(of.per_second);
        Some(RecordPlace { link: of.link, from: 28, captured, wire_length, at: Moment::new(seconds, nanoseconds as i64), whole })
    }
}

/// A part of the input in memory, and the rest of it.
#[derive(Debug)]
struct Window<R> {
    input: R,
    bytes: Vec<u8>,
    from: usize,
    to: usize,
    over: bool,
}

impl<R: Read> Window<R> {
    fn new(input: R) -> Window<R> {
        Window { input, bytes: vec![0; PIECE + MAX_RECORD], from: 0, to: 0, over: false }
    }

    /// The next `n` bytes, at most [`MAX_RECORD`] and a bit, or as many as there are.
    fn peek(&mut self, n: usize) -> Result<&[u8], Broken> {
        while self.to - self.from < n && !self.over {
            self.bytes.copy_within(self.from..self.to, 0);
            (self.from, self.to) = (0, self.to - self.from);
            match self.input.read(self.bytes.get_mut(self.to..).unwrap_or_default()) {
                Ok(0) => self.over = true,
                Ok(read) => self.to += read,
                Err(why) if why.kind() == ErrorKind::Interrupted => {}
                Err(why) => return Err(Broken::Unreadable(why)),
            }
        }
        let end = self.to.min(self.from.saturating_add(n));
        Ok(self.bytes.get(self.from..end).unwrap_or_default())
    }

    /// The next `n` bytes, which were peeked at.
    fn take(&mut self, n: usize) -> &[u8] {
        let (from, end) = (self.from, self.to.min(self.from.saturating_add(n)));
        self.from = end;
        self.bytes.get(from..end).unwrap_or_default()
    }

    fn skip(&mut self, mut n: usize) -> Result<(), Broken> {
        while n > 0 {
            let there = self.peek(n.min(PIECE))?.len();
            if there == 0 {
                return Err(Broken::Cut);
            }
            self.take(there);
            n -= there;
        }
        Ok(())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing)]
mod tests {
    use super::*;

    type Seen = (u16, String, usize, Moment);

    /// Link, bytes and lengths of what can be read, and how it ended.
    fn read(file: &[u8]) -> (Vec<Seen>, Option<String>) {
        let mut reader = match Reader::new(file) {
            Ok(reader) => reader,
            Err(why) => return (Vec::new(), Some(why.to_string())),
        };
        let mut all = Vec::new();
        loop {
            match reader.next_record() {
                Ok(Some(r)) => all.push((r.link, String::from_utf8_lossy(r.bytes).into_owned(), r.wire_length, r.at)),
                Ok(None) => return (all, None),
                Err(why) => return (all, Some(why.to_string())),
            }
        }
    }

    fn block(kind: u32, body: &[u8]) -> Vec<u8> {
        let padded = body.len().next_multiple_of(4);
        let whole = (12 + padded) as u32;
        [&kind.to_le_bytes()[..], &whole.to_le_bytes(), body, &vec![0; padded - body.len()], &whole.to_le_bytes()].concat()
    }

    fn words(words: &[u32]) -> Vec<u8> {
        words.iter().flat_map(|w| w.to_le_bytes()).collect()
    }

    fn section() -> Vec<u8> {
        block(0x0a0d_0d0a, &words(&[0x1a2b_3c4d, 1, u32::MAX, u32::MAX]))
    }

    #[test]
    fn pcap_in_either_byte_order_and_resolution() {
        for (magic, fraction) in [(0xa1b2_c3d4u32, 7), (0xa1b2_3c4d, 7000)] {
            let little = [words(&[magic, 0x0004_0002, 0, 0, 99, 1, 5, fraction, 3, 9]), b"abc".to_vec()].concat();
            let swapped = little[..40].chunks(4).flat_map(|w| w.iter().rev().copied()).chain(*b"abc").collect::<Vec<_>>();
            for file in [little, swapped] {
                assert_eq!(read(&file), (vec![(1, "abc".to_owned(), 9, Moment::new(5, 7000))], None));
                assert_eq!(read(&file[..42]).1.as_deref(), Some("ends in the middle of a record"));
            }
        }
    }

    #[test]
    fn pcapng_with_interfaces_of_different_links_and_clocks() {
        let nanoseconds = [words(&[101, 0]), words(&[0x0001_0009, 9, 0])].concat();
        let file = [
            section(),
            block(1, &words(&[1, 2])),
            block(1, &nanoseconds),
            block(0x0bad, &[0; 64]),
            block(6, &[words(&[1, 0, 1_500_000_000, 3, 8]), b"abc".to_vec()].concat()),
            block(3, &[words(&[9]), b"de".to_vec()].concat()),
            block(5, &[words(&[0, 0, 0]), words(&[0x0008_0005, 4, 0])].concat()),
        ]
        .concat();
        let at = Moment::new(1, 500_000_000);
        assert_eq!(read(&file), (vec![(101, "abc".to_owned(), 8, at), (1, "de".to_owned(), 9, at)], None));
        let mut reader = Reader::new(file.as_slice()).unwrap();
        while reader.next_record().unwrap().is_some() {}
        assert_eq!(reader.dropped, 4);
        for end in 0..file.len() {
            read(&file[..end]);
        }
    }

    #[test]
    fn what_contradicts_itself_ends_the_reading_and_is_said() {
        let with = |more: Vec<u8>| read(&[section(), block(1, &words(&[1, 0])), more].concat()).1.unwrap();
        assert!(with(block(6, &words(&[0, 0, 0, 77, 77]))).contains("too short"));
        assert!(with(block(6, &words(&[9, 0, 0, 0, 0]))).contains("no interface"));
        assert!(with(words(&[6, 8, 0])).contains("impossible length"));
        assert!(with(words(&[6, 0xffff_fff0, 0])).contains("longer than any"));
        assert!(with(words(&[77, 0xffff_fff0, 0])).contains("in the middle"));
        assert!(read(b"GIF89a and so on, and so forth").1.unwrap().contains("neither"));
        assert!(read(&words(&[0xa1b2_c3d4, 4, 0, 0, 99, 1, 5, 5, u32::MAX, 3])).1.unwrap().contains("longer than any"));
    }
}
