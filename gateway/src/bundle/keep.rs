//! The last good bundle on disk, so that a gateway that starts while the collector is away goes by what it knew, and is not
//! led back to an older policy.

use rules::wire::v1::Signed;
use std::{
    fs::{self, DirBuilder, File, OpenOptions},
    io::{self, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

/// Holds tenants' secrets: only its owner may read it.
#[derive(Clone, Debug)]
pub(crate) struct Keep {
    dir: PathBuf,
}

impl Keep {
    pub(crate) fn new(data: &Path) -> Keep {
        Keep { dir: data.join("gateway") }
    }

    /// `None` when there is none. What is read is as trustworthy as what arrives: it is judged the same way.
    pub(crate) fn read(&self) -> io::Result<Option<Signed>> {
        match fs::read(self.dir.join("bundle.json")) {
            Ok(bytes) => Ok(Some(serde_json::from_slice(&bytes)?)),
            Err(why) if why.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(why) => Err(why),
        }
    }

    /// Whole or not at all.
    pub(crate) fn write(&self, signed: &Signed) -> io::Result<()> {
        DirBuilder::new().recursive(true).mode(0o700).create(&self.dir)?;
        let next = self.dir.join("bundle.next");
        let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&next)?;
        file.write_all(&serde_json::to_vec(signed)?)?;
        file.sync_all()?;
        fs::rename(next, self.dir.join("bundle.json"))?;
        File::open(&self.dir)?.sync_all()
    }
}
