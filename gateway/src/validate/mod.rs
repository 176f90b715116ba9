//! Is it a request the protocol allows, and does every reader of it read the same?
//!
//! Each body is parsed once, by [`json`]; what [`envelope`] reads out of it is what policy decides on, and the bytes go on to
//! the backend as they came. So nothing may pass that another parser could read differently.

pub(crate) mod envelope;
pub(crate) mod era;
pub(crate) mod json;
#[cfg(test)]
mod tests;
