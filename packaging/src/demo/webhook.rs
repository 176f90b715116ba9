//! Where the demo's owners are told: a webhook that keeps what it got.

use super::world::{Error, Host};
use axum::{Json, Router, extract::State, routing::post};
use serde_json::Value;
use std::{
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

/// Messages kept; further ones are answered and forgotten.
const MAX: usize = 1000;

#[derive(Clone, Debug, Default)]
pub struct Letterbox {
    letters: Arc<Mutex<Vec<Value>>>,
}

impl Letterbox {
    /// Listens at `at` on `host` for as long as this process lives.
    pub fn open(host: &Host, at: SocketAddr) -> Result<Letterbox, Error> {
        let letterbox = Letterbox::default();
        let app = Router::new().route("/hook", post(receive)).with_state(letterbox.clone());
        let (ready, is_ready) = std::sync::mpsc::channel();
        host.start(move || async move {
            let bound = tokio::net::TcpListener::bind(at).await;
            let _waiting = ready.send(bound.as_ref().map(drop).map_err(|e| std::io::Error::from(e.kind())));
            if let Ok(listener) = bound {
                let _ended = axum::serve(listener, app).await;
            }
        })?;
        let bound = is_ready.recv().unwrap_or_else(|_| Err(std::io::ErrorKind::BrokenPipe.into()));
        bound.map(|()| letterbox).map_err(|source| Error::Start { command: format!("a webhook at {at}"), source })
    }

    pub fn letters(&self) -> Vec<Value> {
        self.letters.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Waits for a letter that `is_it`.
    pub fn wait(&self, within: Duration, is_it: impl Fn(&Value) -> bool) -> Option<Value> {
        let by = Instant::now() + within;
        loop {
            if let Some(found) = self.letters().into_iter().find(|l| is_it(l)) {
                return Some(found);
            }
            if Instant::now() >= by {
                return None;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

async fn receive(State(letterbox): State<Letterbox>, Json(letter): Json<Value>) {
    let mut letters = letterbox.letters.lock().unwrap_or_else(PoisonError::into_inner);
    if letters.len() < MAX {
        letters.push(letter);
    }
}
