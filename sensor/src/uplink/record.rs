//! One record of the spool: `length u32 | crc u32 | seq u64 | payload`, little endian. Pure.
//!
//! The checksum (CRC-32, IEEE 802.3) covers seq and payload. `length` is the payload's.

pub(super) const HEADER: usize = 16;
/// A longer payload is not written, and not believed when read.
pub(super) const MAX_PAYLOAD: usize = 1 << 20;

/// Appends one record to `out`.
pub(super) fn encode(seq: u64, payload: &[u8], out: &mut Vec<u8>) {
    let length = u32::try_from(payload.len()).unwrap_or(u32::MAX);
    out.extend(length.to_le_bytes());
    out.extend(checksum(seq, payload).to_le_bytes());
    out.extend(seq.to_le_bytes());
    out.extend_from_slice(payload);
}

/// What stands at the front of some bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Front<'a> {
    /// A sound record, and how long it is.
    Record {
        seq: u64,
        payload: &'a [u8],
        size: usize,
    },
    /// Bytes that are no record; a sound one, or the end, follows after `size` of them.
    Corrupt {
        size: usize,
    },
    /// The bytes end inside a record.
    Torn,
    End,
}

pub(crate) fn decode(bytes: &[u8]) -> Front<'_> {
    match sound(bytes) {
        Sound::End => Front::End,
        Sound::Yes { seq, payload, size } => Front::Record { seq, payload, size },
        // A length gone bad must not take the records behind it with it.
        no => match (1..bytes.len()).find(|at| matches!(sound(bytes.get(*at..).unwrap_or_default()), Sound::Yes { .. })) {
            Some(size) => Front::Corrupt { size },
            None if matches!(no, Sound::Whole) => Front::Corrupt { size: bytes.len() },
            None => Front::Torn,
        },
    }
}

enum Sound<'a> {
    Yes {
        seq: u64,
        payload: &'a [u8],
        size: usize,
    },
    /// As long as it says, to the last byte, and its checksum wrong.
    Whole,
    No,
    End,
}

fn sound(bytes: &[u8]) -> Sound<'_> {
    if bytes.is_empty() {
        return Sound::End;
    }
    let (Some(length), Some(crc), Some(seq)) = (u32_at(bytes, 0), u32_at(bytes, 4), u64_at(bytes, 8)) else { return Sound::No };
    let length = usize::try_from(length).unwrap_or(usize::MAX);
    if length > MAX_PAYLOAD {
        return Sound::No;
    }
    let size = HEADER + length;
    match bytes.get(HEADER..size) {
        None => Sound::No,
        Some(payload) if checksum(seq, payload) == crc => Sound::Yes { seq, payload, size },
        Some(_) if size == bytes.len() => Sound::Whole,
        Some(_) => Sound::No,
    }
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..at + 4)?.try_into().ok().map(u32::from_le_bytes)
}

fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    bytes.get(at..at + 8)?.try_into().ok().map(u64::from_le_bytes)
}

fn checksum(seq: u64, payload: &[u8]) -> u32 {
    let step =
        |crc: u32, byte: &u8| (0..8).fold(crc ^ u32::from(*byte), |crc, _| if crc & 1 == 1 { (crc >> 1) ^ 0xedb8_8320 } else { crc >> 1 });
    !seq.to_le_bytes().iter().chain(payload).fold(u32::MAX, step)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_reads_back_and_no_flipped_bit_passes() {
        let mut bytes = Vec::new();
        encode(7, b"payload", &mut bytes);
        assert_eq!(decode(&bytes), Front::Record { seq: 7, payload: b"payload", size: 23 });
        for bit in 0..bytes.len() * 8 {
            let mut flipped = bytes.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert!(!matches!(decode(&flipped), Front::Record { .. }), "bit {bit}");
        }
        for cut in 1..bytes.len() {
            assert_eq!(decode(&bytes[..cut]), Front::Torn, "cut at {cut}");
        }
    }

    #[test]
    fn the_checksum_is_the_usual_one() {
        // CRC-32/ISO-HDLC of eight zero bytes and "123456789" computed apart: zlib.crc32.
        assert_eq!(checksum(0, b"123456789"), 0xe412_dc35);
    }
}
