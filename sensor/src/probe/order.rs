//! Every index once, in an order that looks random: no host and no subnet is asked in a burst. Pure, seeded, resumable.

/// A permutation of `0..len` by a four-round Feistel network with cycle walking.
#[derive(Clone, Debug)]
pub struct Permutation {
    len: u64,
    half: u32,
    seed: u64,
}

impl Permutation {
    pub fn new(len: u64, seed: u64) -> Permutation {
        let bits = 64 - len.saturating_sub(1).leading_zeros();
        Permutation { len, half: bits.div_ceil(2).max(1), seed }
    }

    pub fn len(&self) -> u64 {
        self.len
    }

    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The element at `index`; `None` past the end.
    pub fn at(&self, index: u64) -> Option<u64> {
        if index >= self.len {
            return None;
        }
        let mut value = index;
        // The domain is at most four times `len`, so a walk is short; it ends because the network is a bijection.
        loop {
            value = self.shuffle(value);
            if value < self.len {
                return Some(value);
            }
        }
    }

    fn shuffle(&self, value: u64) -> u64 {
        let mask = (1u64 << self.half) - 1;
        let (mut left, mut right) = (value >> self.half & mask, value & mask);
        for round in 0..4u64 {
            let mixed = mix(right ^ self.seed.rotate_left(round as u32 * 13) ^ (round << 56)) & mask;
            (left, right) = (right, left ^ mixed);
        }
        left << self.half | right
    }
}

/// The finaliser of SplitMix64.
fn mix(value: u64) -> u64 {
    let a = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let b = (a ^ (a >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    b ^ (b >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn every_index_comes_once() {
        for len in [0u64, 1, 2, 3, 17, 256, 1000, 4097] {
            let order = Permutation::new(len, 42);
            let all: BTreeSet<u64> = (0..len).filter_map(|i| order.at(i)).collect();
            assert_eq!(all.len() as u64, len);
            assert_eq!(order.at(len), None);
        }
    }

    #[test]
    fn another_seed_is_another_order_and_neighbours_part() {
        let (a, b) = (Permutation::new(65536, 1), Permutation::new(65536, 2));
        assert_ne!((0..64).map(|i| a.at(i)).collect::<Vec<_>>(), (0..64).map(|i| b.at(i)).collect::<Vec<_>>());
        let same_subnet = (0..1000).filter(|i| a.at(*i).unwrap() / 256 == a.at(i + 1).unwrap() / 256).count();
        assert!(same_subnet < 40, "{same_subnet}");
    }
}
