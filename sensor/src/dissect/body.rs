//! The bodies of messages: undone encodings and bounded memory, for one message and for all of them together.

use super::http::Encoding;
use std::{
    io::{self, Read, Write},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

/// Bytes of one body kept to be read as a whole.
pub const MAX_BODY: usize = 256 << 10;
/// Bytes that are kept of a larger one.
const BEGINNING: usize = 32 << 10;
/// What one step of decompression may give: a bomb ends here.
const MAX_BURST: usize = 1 << 20;
/// Above this an expansion of more than [`MAX_RATIO`] is not an answer but an attack.
const FREE: u64 = 1 << 20;
const MAX_RATIO: u64 = 200;
/// RFC 8878 §3.1.1.1.2 recommends that decoders support at least this window.
const ZSTD_WINDOW: u64 = 8 << 20;

/// Memory for all bodies of a capture point.
#[derive(Clone, Debug)]
pub struct Budget {
    used: Arc<AtomicUsize>,
    limit: usize,
}

impl Budget {
    pub fn new(limit: usize) -> Budget {
        Budget { used: Arc::default(), limit }
    }

    pub fn used(&self) -> usize {
        self.used.load(Ordering::Relaxed)
    }

    fn grant(&self, bytes: usize) -> bool {
        let fits = self.used().saturating_add(bytes) <= self.limit;
        if fits {
            self.used.fetch_add(bytes, Ordering::Relaxed);
        }
        fits
    }
}

/// A body as it comes in; given back to the budget when dropped.
#[derive(Debug)]
pub struct Kept {
    bytes: Vec<u8>,
    granted: usize,
    budget: Budget,
    /// Not all of the body is here.
    pub incomplete: bool,
}

impl Kept {
    pub fn new(budget: &Budget) -> Kept {
        Kept { bytes: Vec::new(), granted: 0, budget: budget.clone(), incomplete: false }
    }

    /// False when there was no room.
    pub fn push(&mut self, more: &[u8]) -> bool {
        if self.incomplete {
            return true;
        }
        if self.bytes.len() + more.len() > MAX_BODY {
            self.keep_beginning();
            return false;
        }
        if !self.budget.grant(more.len()) {
            self.spoil();
            return false;
        }
        self.granted += more.len();
        self.bytes.extend_from_slice(more);
        true
    }

    /// As much as tells what it is.
    fn keep_beginning(&mut self) {
        self.incomplete = true;
        self.bytes.truncate(BEGINNING);
        self.bytes.shrink_to_fit();
        let given_back = self.granted.saturating_sub(self.bytes.len());
        self.granted -= given_back;
        self.budget.used.fetch_sub(given_back, Ordering::Relaxed);
    }

    /// What follows is missing; what there is stays.
    pub fn cut(&mut self) {
        self.incomplete = true;
    }

    pub fn spoil(&mut self) {
        self.incomplete = true;
        self.bytes = Vec::new();
        self.release();
    }

    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    fn release(&mut self) {
        self.budget.used.fetch_sub(std::mem::take(&mut self.granted), Ordering::Relaxed);
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        self.release();
    }
}

/// Undoes one content encoding.
pub struct Decoder {
    kind: Coding,
    taken: u64,
    given: u64,
}

enum Coding {
    Identity,
    Gzip(Box<flate2::write::MultiGzDecoder<Burst>>),
    Zlib(Box<flate2::write::ZlibDecoder<Burst>>),
    Deflate(Box<flate2::write::DeflateDecoder<Burst>>),
    /// `deflate` that has not shown yet whether it is wrapped (RFC 1950) or raw, as some servers send it.
    EitherDeflate,
    Brotli(Box<brotli_decompressor::DecompressorWriter<Burst>>),
    /// Read as a whole when the body is over.
    Zstd(Kept),
    Broken,
}

impl std::fmt::Debug for Decoder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Decoder").field("taken", &self.taken).field("given", &self.given).finish_non_exhaustive()
    }
}

/// Takes what a decompressor gives, up to a bound.
struct Burst(Vec<u8>);

impl Write for Burst {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.0.len() + bytes.len() > MAX_BURST {
            return Err(io::Error::other("expands beyond all measure"));
        }
        self.0.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The body cannot be decoded, or expands beyond all measure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Undecodable;

impl Decoder {
    pub fn new(encoding: Encoding, budget: &Budget) -> Decoder {
        let burst = || Burst(Vec::new());
        let kind = match encoding {
            Encoding::Identity => Coding::Identity,
            Encoding::Gzip => Coding::Gzip(Box::new(flate2::write::MultiGzDecoder::new(burst()))),
            Encoding::Deflate => Coding::EitherDeflate,
            Encoding::Brotli => Coding::Brotli(Box::new(brotli_decompressor::DecompressorWriter::new(burst(), 4096))),
            Encoding::Zstd => Coding::Zstd(Kept::new(budget)),
            Encoding::Unknown => Coding::Broken,
        };
        Decoder { kind, taken: 0, given: 0 }
    }

    /// Feeds encoded bytes; hands decoded ones to `out` as they come.
    pub fn feed(&mut self, bytes: &[u8], mut out: impl FnMut(&[u8])) -> Result<(), Undecodable> {
        if let (Coding::EitherDeflate, Some(first)) = (&self.kind, bytes.first()) {
            let wrapped = first & 0x0f == 8 && first >> 4 <= 7;
            self.kind = match wrapped {
                true => Coding::Zlib(Box::new(flate2::write::ZlibDecoder::new(Burst(Vec::new())))),
                false => Coding::Deflate(Box::new(flate2::write::DeflateDecoder::new(Burst(Vec::new())))),
            };
        }
        // Small steps, so that what one step can expand to stays small.
        for step in bytes.chunks(512) {
            self.taken += step.len() as u64;
            let given = match &mut self.kind {
                Coding::Identity => {
                    out(bytes);
                    return Ok(());
                }
                Coding::Gzip(d) => pass(d.write_all(step).and_then(|()| d.flush()), d.get_mut(), &mut out),
                Coding::Zlib(d) => pass(d.write_all(step).and_then(|()| d.flush()), d.get_mut(), &mut out),
                Coding::Deflate(d) => pass(d.write_all(step).and_then(|()| d.flush()), d.get_mut(), &mut out),
                Coding::Brotli(d) => {
                    let written = d.write_all(step).and_then(|()| d.flush());
                    pass(written, d.get_mut(), &mut out)
                }
                Coding::Zstd(kept) => {
                    kept.push(step);
                    Ok(0)
                }
                Coding::EitherDeflate | Coding::Broken => Err(Undecodable),
            };
            match given {
                Ok(n) => self.given += n as u64,
                Err(why) => {
                    self.kind = Coding::Broken;
                    return Err(why);
                }
            }
            if self.given > FREE && self.given / self.taken.max(1) > MAX_RATIO {
                self.kind = Coding::Broken;
                return Err(Undecodable);
            }
        }
        Ok(())
    }

    /// The body is over: what could only be decoded as a whole.
    pub fn finish(&mut self, mut out: impl FnMut(&[u8])) -> Result<(), Undecodable> {
        let Coding::Zstd(kept) = &self.kind else { return Ok(()) };
        if kept.incomplete {
            return Err(Undecodable);
        }
        let reader = ruzstd::decoding::StreamingDecoder::new_with_max_window_size(kept.bytes(), ZSTD_WINDOW).map_err(|_| Undecodable)?;
        let mut decoded = Vec::new();
        reader.take(MAX_BURST as u64).read_to_end(&mut decoded).map_err(|_| Undecodable)?;
        out(&decoded);
        Ok(())
    }
}

fn pass(result: io::Result<()>, burst: &mut Burst, out: &mut impl FnMut(&[u8])) -> Result<usize, Undecodable> {
    let given = burst.0.len();
    if given > 0 {
        out(&burst.0);
        burst.0.clear();
    }
    result.map(|()| given).map_err(|_| Undecodable)
}
