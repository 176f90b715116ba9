//! One program for all entries of `sensor::fuzz`, so that it is built once: `FUZZ_TARGET` names the entry.
#![no_main]

use sensor::fuzz::{Entry, TARGETS};
use std::sync::OnceLock;

static ENTRY: OnceLock<Entry> = OnceLock::new();

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let entry = ENTRY.get_or_init(|| {
        let name = std::env::var("FUZZ_TARGET").unwrap_or_default();
        let found = TARGETS.iter().find(|(known, _)| *known == name);
        found.unwrap_or_else(|| panic!("FUZZ_TARGET={name:?} is none of {:?}", TARGETS.map(|(n, _)| n))).1
    });
    entry(bytes);
});
