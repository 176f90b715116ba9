//! The two-endpoint transport of 2024-11-05: a backend tells on its stream where to post, and the client is told to post here.

use super::{
    session::{Kind, Sealer, Session},
    sse,
    target::Target,
};
use rules::access::Permit;
use std::sync::Arc;
use url::{Position, Url};

/// Puts the gateway's own path in place of the backend's.
#[derive(Debug)]
pub(crate) struct Endpoint {
    pub(crate) sealer: Arc<Sealer>,
    pub(crate) permit: Permit,
    pub(crate) target: Arc<Target>,
}

impl Endpoint {
    /// `None`: the event is another. The text behind the error says why the backend cannot be followed.
    pub(crate) fn translate(&self, event: &[u8]) -> Option<Result<Vec<u8>, String>> {
        (sse::name(event) == Some(b"endpoint")).then(|| {
            let path = self.path(&sse::data(event))?;
            let session = Session { kind: Kind::Endpoint, backend: self.target.url.clone(), id: path };
            let token = self.sealer.seal(&self.permit, &session).ok_or("the backend gave an endpoint that is too long to carry")?;
            Ok(sse::with_data(event, format!("/mcp/v1/tools/{}/rpc/{token}", self.permit.slug()).as_bytes()))
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
