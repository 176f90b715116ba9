//! Decision sets for enforcers and bundles for gateways: whole, numbered, signed.
//!
//! A generation is stored in the transaction that decided on it and shown after the commit, so no restart ever takes one back.

mod bundle;
mod decisions;
mod issued;
mod sign;
mod windows;

pub(crate) use bundle::{is_behind, issue_bundle, raise_bundle};
pub(crate) use decisions::issue_decisions;
pub(crate) use issued::Issued;
pub(crate) use sign::Signer;
pub use sign::VerifyingKey;
pub(crate) use windows::{Shown, Windows};

/// A number absurdly far ahead is not believed: a liar could make the numbers run out.
const BELIEVED: u64 = 1 << 48;
