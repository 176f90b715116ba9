//! Keys of the flow table, and a quick keyed hash for them.

use super::{Both, End};
use rules::endpoint::Endpoint;
use std::{
    collections::hash_map::RandomState,
    hash::{BuildHasher, Hasher},
};

/// Both ends of a connection, the lower first: one key for both directions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Key(Endpoint, Endpoint);

impl Key {
    /// The key, and which end is the sender.
    pub(super) fn new(source: Endpoint, destination: Endpoint) -> (Key, End) {
        if source <= destination { (Key(source, destination), End::Low) } else { (Key(destination, source), End::High) }
    }

    pub(super) fn ends(self) -> Both<Endpoint> {
        Both { low: self.0, high: self.1 }
    }
}

/// Seeded per process, so that strangers cannot choose addresses that collide.
#[derive(Clone, Debug)]
pub(crate) struct Seeded(u64, u64);

impl Default for Seeded {
    fn default() -> Seeded {
        Seeded(RandomState::new().hash_one(0u8), RandomState::new().hash_one(1u8) | 1)
    }
}

impl BuildHasher for Seeded {
    type Hasher = Folded;

    fn build_hasher(&self) -> Folded {
        Folded { state: self.0, secret: self.1 }
    }
}

/// Multiplication folded to half its width, eight bytes at a time.
#[derive(Debug)]
pub(crate) struct Folded {
    state: u64,
    secret: u64,
}

impl Folded {
    fn mix(&mut self, word: u64) {
        let product = u128::from(self.state ^ word) * u128::from(self.secret);
        let (high, low) = ((product >> 64) as u64, product as u64);
        self.state = (high ^ low).rotate_left(23) ^ word;
    }
}

impl Hasher for Folded {
    fn write(&mut self, bytes: &[u8]) {
        for chunk in bytes.chunks(8) {
            let word = chunk.iter().fold(0u64, |word, byte| word << 8 | u64::from(*byte));
            self.mix(word ^ (chunk.len() as u64) << 56);
        }
    }

    fn write_u16(&mut self, n: u16) {
        self.mix(u64::from(n));
    }

    fn write_u32(&mut self, n: u32) {
        self.mix(u64::from(n));
    }

    fn write_u64(&mut self, n: u64) {
        self.mix(n);
    }

    fn write_usize(&mut self, n: usize) {
        self.mix(n as u64);
    }

    fn write_isize(&mut self, n: isize) {
        self.mix(n as u64);
    }

    fn finish(&self) -> u64 {
        let product = u128::from(self.state) * u128::from(self.secret);
        (product >> 64) as u64 ^ product as u64
    }
}
