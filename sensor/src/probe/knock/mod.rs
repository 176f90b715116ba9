//! The port stage: who takes a connection at all. A SYN each, no state per target, nothing completed.
//!
//! `plan` (pure) says whom to knock at and when, `packet` (pure) makes a SYN and recognises its answer by a keyed number that the
//! peer must send back (as SYN cookies, masscan and ZMap do), `raw` (IO) moves both. A peer's SYN-ACK finds no socket here, so the
//! kernel itself answers it with a reset: the peer's half-open connection is gone at once. The kernel routes and resolves
//! neighbours. Where raw sockets are not allowed, there is no such stage: the first question opens a connection instead.

pub mod packet;
pub mod plan;
pub mod raw;
