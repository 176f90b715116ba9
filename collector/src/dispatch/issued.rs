//! The set that a site's enforcers were given last.

use rules::{decision::DecisionSet, wire::v1::Signed};
use serde::{Deserialize, Serialize};
use std::sync::Arc;

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Issued {
    pub(crate) set: DecisionSet,
    pub(crate) signed: Arc<Signed>,
}
