//! Listeners, the guard of the admin API, and one shape for errors. Knows nothing of the routes.

pub(crate) mod guard;
pub(crate) mod listen;
pub(crate) mod peer;
pub(crate) mod problem;
pub(crate) mod read;
