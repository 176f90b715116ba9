//! The two-endpoint transport of 2024-11-05: a backend tells on its stream where to post, and the client is told to post here.

use super::{
    session::{Sealer, Session, TokenUse},
    sse,
    target::Target,
};
use bytes::Bytes;
use rules::access::Permit;
use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};
use tokio::sync::mpsc;
use url::{Position, Url};

/// Answers waiting for one stream.
pub(crate) const ANSWERS: usize = 16;

/// The streams of this transport that are open here. Their clients read answers nowhere else, so the gateway's own go there too.
#[derive(Clone, Debug, Default)]
pub(crate) struct Streams(Arc<Mutex<HashMap<Session, mpsc::Sender<Bytes>>>>);

/// A stream on which answers can come, until it ends.
#[derive(Debug)]
pub(crate) struct Listening {
    streams: Streams,
    session: Session,
}

impl Streams {
    /// Whether `message` will come on the stream; not when it is open at another replica, or nobody reads it.
    pub(crate) fn tell(&self, session: &Session, message: &[u8]) -> bool {
        let streams = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        streams.get(session).is_some_and(|s| s.try_send(sse::message(message).into()).is_ok())
    }
}

impl Drop for Listening {
    fn drop(&mut self) {
        self.streams.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.session);
    }
}

/// Puts the gateway's own path in place of the backend's.
#[derive(Debug)]
pub(crate) struct Endpoint {
    pub(crate) sealer: Arc<Sealer>,
    pub(crate) permit: Permit,
    pub(crate) target: Arc<Target>,
    pub(crate) streams: Streams,
    /// To the stream that this event came on.
    pub(crate) answers: mpsc::Sender<Bytes>,
}

impl Endpoint {
    /// `None`: the event is another. The text behind the error says why the backend cannot be followed.
    pub(crate) fn translate(self, event: &[u8]) -> Option<Result<(Vec<u8>, Listening), String>> {
        (sse::name(event) == Some(b"endpoint")).then(|| {
            let path = self.path(&sse::data(event))?;
            let session = Session { kind: TokenUse::Endpoint, backend: self.target.url.clone(), id: path };
            let token = self.sealer.seal(&self.permit, &session).ok_or("the backend gave an endpoint that is too long to carry")?;
            let event = sse::with_data(event, format!("/mcp/v1/tools/{}/rpc/{token}", self.permit.slug()).as_bytes());
            self.streams.0.lock().unwrap_or_else(PoisonError::into_inner).insert(session.clone(), self.answers);
            Ok((event, Listening { streams: self.streams, session }))
        })
    }

    /// Path and query, which must be at the same origin: a backend names no other server to go to.
    fn path(&self, data: &[u8]) -> Result<String, String> {
        let unclear = "the backend gave an endpoint that is no URL";
        let base = Url::parse(&self.target.url).map_err(|_| unclear)?;
        let url = std::str::from_utf8(data).ok().and_then(|d| base.join(d).ok()).ok_or(unclear)?;
        let same = url.origin() == base.origin() && url.username().is_empty() && url.password().is_none();
        if !same {
            return Err("the backend gave an endpoint at another server, where nothing is sent".into());
        }
        Ok(url[Position::BeforePath..Position::AfterQuery].to_owned())
    }
}
