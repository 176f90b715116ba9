//! Bytes read in order, big end first. Whoever asks for more than there is gets `None`.

#[derive(Clone, Copy, Debug)]
pub(super) struct Cursor<'a>(pub(super) &'a [u8]);

impl<'a> Cursor<'a> {
    pub(super) fn is_empty(self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn take(&mut self, n: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(n)?;
        self.0 = rest;
        Some(taken)
    }

    /// A number of `n` bytes, eight at most.
    pub(super) fn number(&mut self, n: usize) -> Option<u64> {
        Some(self.take(n)?.iter().fold(0, |all, byte| all << 8 | u64::from(*byte)))
    }

    pub(super) fn u8(&mut self) -> Option<u8> {
        self.take(1)?.first().copied()
    }

    pub(super) fn u16(&mut self) -> Option<u16> {
        self.take(2)?.first_chunk().map(|b| u16::from_be_bytes(*b))
    }

    /// What follows its own length, which is a number of `n` bytes.
    pub(super) fn counted(&mut self, n: usize) -> Option<Cursor<'a>> {
        let length = usize::try_from(self.number(n)?).ok()?;
        self.take(length).map(Cursor)
    }

    /// A variable-length integer (RFC 9000 §16).
    pub(super) fn varint(&mut self) -> Option<u64> {
        let first = *self.0.first()?;
        let length = 1 << (first >> 6);
        Some(self.number(length)? & (u64::MAX >> (66 - 8 * length)))
    }
}

#[cfg(test)]
mod tests {
    use super::Cursor;

    #[test]
    fn varints_as_in_rfc_9000_a_1() {
        let cases: [(&[u8], u64); 5] = [
            (&[0xc2, 0x19, 0x7c, 0x5e, 0xff, 0x14, 0xe8, 0x8c], 151_288_809_941_952_652),
            (&[0x9d, 0x7f, 0x3e, 0x7d], 494_878_333),
            (&[0x7b, 0xbd], 15_293),
            (&[0x25], 37),
            (&[0x40, 0x25], 37),
        ];
        for (bytes, number) in cases {
            assert_eq!(Cursor(bytes).varint(), Some(number));
        }
        assert_eq!(Cursor(&[0xc2, 0x19]).varint(), None);
    }
}
