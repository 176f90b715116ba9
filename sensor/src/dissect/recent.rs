//! A bounded map that forgets what was not written longest, by halves: cheap, and good enough for what is only a hint.

use std::collections::HashMap;

#[derive(Debug)]
pub(super) struct Recent<V> {
    young: HashMap<u64, V>,
    old: HashMap<u64, V>,
    half: usize,
}

impl<V> Recent<V> {
    pub(super) fn new(capacity: usize) -> Recent<V> {
        Recent { young: HashMap::new(), old: HashMap::new(), half: capacity / 2 }
    }

    /// Gives what had to go to make room, on the rare call that needs room.
    pub(super) fn insert(&mut self, key: u64, value: V) -> Option<HashMap<u64, V>> {
        let full = self.young.len() >= self.half;
        let gone = full.then(|| std::mem::replace(&mut self.old, std::mem::take(&mut self.young)));
        self.young.insert(key, value);
        gone
    }

    pub(super) fn get(&self, key: u64) -> Option<&V> {
        self.young.get(&key).or_else(|| self.old.get(&key))
    }

    pub(super) fn take(&mut self, key: u64) -> Option<V> {
        let old = self.old.remove(&key);
        self.young.remove(&key).or(old)
    }
}
