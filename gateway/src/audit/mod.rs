//! One record per request, refused ones too, in a hash-chained log under `<data>/audit`.
//!
//! A request takes a [`Ticket`] before anything else happens to it, and the ticket holds a place in the writer's queue: so a
//! request that could not be recorded is turned away at the door (unless the configuration says to go on), and whichever way
//! an HTTP transaction ends, the ticket's end writes its record.
//!
//! Durability: a record is handed to the kernel within milliseconds of the end of its HTTP transaction and to the disk within
//! [`crate::config::Audit::sync_every`]. Killing the process loses the records of that moment, of HTTP transactions still open too.

pub mod chain;
mod file;
mod read;
mod record;
mod tally;
#[cfg(test)]
mod tests;
mod ticket;
mod writer;

pub use chain::{Broken, Head, Line};
pub use read::{Break, Report, find, read, verify};
pub use record::{Gap, LogEntry, Outcome, Record};
pub(crate) use ticket::Ticket;
pub(crate) use writer::{Log, Writer};
