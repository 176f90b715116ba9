//! How requests come in: listeners, who may ask, and one shape for what goes wrong. Knows nothing of what is asked.

pub(crate) mod guard;
pub(crate) mod listen;
pub(crate) mod peer;
pub(crate) mod problem;
pub(crate) mod read;
