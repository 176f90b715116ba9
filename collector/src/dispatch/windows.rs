//! The newest sets and bundles, for clients that wait for news.

use crate::image::Image;
use rules::wire::v1::Signed;
use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};
use tokio::sync::{Notify, watch};

pub(crate) type Shown = watch::Receiver<Option<Arc<Signed>>>;

/// The newest set by site, and the newest bundle.
#[derive(Debug, Default)]
pub(crate) struct Windows {
    decisions: Mutex<BTreeMap<String, watch::Sender<Option<Arc<Signed>>>>>,
    bundle: watch::Sender<Option<Arc<Signed>>>,
    /// Rings after each commit.
    pub(crate) committed: Arc<Notify>,
}

impl Windows {
    pub(crate) fn decisions(&self, site: &str) -> Shown {
        let mut all = self.decisions.lock().unwrap_or_else(PoisonError::into_inner);
        all.entry(site.to_owned()).or_default().subscribe()
    }

    pub(crate) fn bundle(&self) -> Shown {
        self.bundle.subscribe()
    }

    /// Wakes the one that waits for a commit.
    #[cfg(test)]
    pub(crate) fn wake(&self) {
        self.committed.notify_one();
    }

    /// Shows the sets and the bundle of a commit.
    pub(crate) fn publish(&self, image: &Image) {
        let all = &mut self.decisions.lock().unwrap_or_else(PoisonError::into_inner);
        for (name, site) in &image.sites {
            show(all.entry(name.clone()).or_default(), site.issued.as_ref().map(|i| &i.signed));
        }
        show(&self.bundle, image.bundle.as_ref().map(|(_, signed)| signed));
        self.committed.notify_one();
    }
}

fn show(window: &watch::Sender<Option<Arc<Signed>>>, now: Option<&Arc<Signed>>) {
    window.send_if_modified(|shown| {
        let news = match (&*shown, now) {
            (Some(old), Some(new)) => !Arc::ptr_eq(old, new),
            (old, new) => old.is_some() != new.is_some(),
        };
        if news {
            *shown = now.cloned();
        }
        news
    });
}
