//! The last good set, in the data directory: what a start goes on with when the directory has broken meanwhile.

use super::directory::{Set, lay};
use crate::secrets;
use serde::{Deserialize, Serialize};
use std::{
    fs,
    path::{Path, PathBuf},
};

/// Where it is kept.
#[derive(Clone, Debug, Default)]
pub(super) struct LastGoodSet(PathBuf);

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Kept {
    /// Another directory is another site's word.
    directory: PathBuf,
    /// Names and texts.
    files: Vec<(String, String)>,
}

impl LastGoodSet {
    pub(super) fn in_data(data: &Path) -> LastGoodSet {
        LastGoodSet(data.join("packs.json"))
    }

    /// The set that was kept of `directory`; `None` when there is none, or none that can still be laid over the shipped pack.
    pub(super) fn read(&self, directory: &Path) -> Option<Set> {
        let kept: Kept = serde_json::from_slice(&fs::read(&self.0).ok()?).ok()?;
        let set = (kept.directory == directory).then(|| lay(kept.files.into_iter().map(Ok)))?;
        set.inspect_err(|why| tracing::warn!(%why, "the packs of before do not fit this version any more")).ok()
    }

    pub(super) fn keep(&self, directory: &Path, set: &Set) -> Result<(), String> {
        let files = set.files.iter().cloned().zip(set.texts.iter().cloned()).collect();
        let kept = serde_json::to_string(&Kept { directory: directory.to_owned(), files }).map_err(|e| e.to_string())?;
        secrets::replace(&self.0, &kept).map_err(|e| format!("{}: {e}", self.0.display()))
    }
}
