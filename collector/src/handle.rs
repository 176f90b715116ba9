//! The way in for roles of the same process, and for the API.

use crate::{
    Config,
    commit::Writer,
    dispatch::{Shown, VerifyingKey, Windows},
    intake::{self, AcceptError, Speaker},
    store::Reader,
};
use rules::wire::v1::{Ack, Batch};
use std::sync::Arc;

/// Cheap to clone.
#[derive(Clone, Debug)]
pub struct Handle {
    pub(crate) inner: Arc<Inner>,
}

#[derive(Debug)]
pub(crate) struct Inner {
    pub(crate) config: Arc<Config>,
    pub(crate) writer: Writer,
    pub(crate) windows: Arc<Windows>,
    pub(crate) key: VerifyingKey,
    /// Questions to the database itself.
    pub(crate) reader: Reader,
}

impl Handle {
    /// Takes a batch of a sensor of this process. Durable when it returns.
    pub async fn accept(&self, batch: Batch) -> Result<Ack, AcceptError> {
        let speaker = Speaker::InProcess { site: self.inner.config.site.clone() };
        self.accept_from(speaker, batch).await
    }

    pub(crate) async fn accept_from(&self, speaker: Speaker, batch: Batch) -> Result<Ack, AcceptError> {
        intake::check(&batch)?;
        self.inner.writer.write(move |tx| intake::take(tx, &speaker, &batch)).await?
    }

    /// The newest signed decision set of this process's site; durable before it is seen here.
    pub fn decisions(&self) -> Shown {
        self.inner.windows.decisions(&self.inner.config.site)
    }

    /// The newest signed bundle for gateways.
    pub fn bundle(&self) -> Shown {
        self.inner.windows.bundle()
    }

    /// What both are verified with.
    pub fn verifying_key(&self) -> VerifyingKey {
        self.inner.key.clone()
    }
}
