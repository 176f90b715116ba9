//! Which packs judge, for the status.

use rules::{Timestamp, pack::Pack};
use serde::Serialize;
use std::{path::PathBuf, sync::Arc};

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct InForce {
    pub(crate) directory: PathBuf,
    /// Laid over the shipped pack, in this order.
    pub(crate) files: Vec<String>,
    /// The first twelve digits over names and contents; empty as long as only the shipped pack is in force.
    pub(crate) sha256: String,
    /// Why what is in the directory now is not in force.
    pub(crate) refused: Option<Refused>,
    #[serde(skip)]
    pub(crate) pack: Arc<Pack>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Refused {
    pub(crate) at: Timestamp,
    /// File, line, column and what is wrong.
    pub(crate) why: String,
}
