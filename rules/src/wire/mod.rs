//! Shapes between processes. They are separate from the nouns because sensors, collectors and enforcers upgrade on
//! different days: a noun may change in a release, a published shape may not.

pub mod v1;

/// Whoever speaks these shapes needs a time, the statements of a record, and text from a peer made printable.
pub use crate::{
    Timestamp,
    observation::{Applied, Said},
    printable::{printable, printable_bytes},
};
