//! What has to be looked at in a stream of events while it passes.

use super::{
    endpoint::{Endpoint, Listening},
    list::Reader,
    sse,
};
use bytes::Bytes;
use serde::{Deserialize, de::IgnoredAny};
use serde_json::{Value, json};

/// Passes events on one by one: cuts lists of tools, and notices whether the answer came.
#[derive(Debug)]
pub(crate) struct Lens {
    splitter: sse::Splitter,
    /// Bytes of one event.
    bound: usize,
    reader: Option<Reader>,
    /// The request that this stream has to answer: the modern era has no other stream on which the answer could come.
    owed: Option<Value>,
    /// On a stream opened by GET: the first event may say where to post.
    endpoint: Option<Endpoint>,
    listening: Option<Listening>,
    call: String,
}

/// An event that may hold a list and is too long, or not what it says.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Opaque(pub(crate) String);

impl Lens {
    /// `None`: nothing has to be looked at, bytes pass as they are.
    pub(crate) fn new(reader: Option<Reader>, owed: Option<Value>, endpoint: Option<Endpoint>, bound: usize, call: &str) -> Option<Lens> {
        let needed = reader.is_some() || owed.is_some() || endpoint.is_some();
        needed.then(|| Lens { splitter: sse::Splitter::new(), bound, reader, owed, endpoint, listening: None, call: call.to_owned() })
    }

    /// What may go on to the client; empty until an event is complete.
    pub(crate) fn pass(&mut self, bytes: &Bytes) -> Result<Bytes, Opaque> {
        let mut out = Vec::with_capacity(bytes.len());
        for event in self.splitter.push(bytes) {
            out.append(&mut self.event(event)?);
        }
        if self.splitter.held() > self.bound {
            if self.reader.is_some() || self.endpoint.is_some() {
                return Err(Opaque(format!("an event of the stream is larger than {} bytes, too large to be checked", self.bound)));
            }
            // Only the end of the stream is of interest, and an event this long is an answer.
            self.owed = None;
            out.append(&mut self.splitter.rest());
        }
        Ok(out.into())
    }

    /// At the end of the stream: what is left, and the error that takes the place of an answer that never came.
    pub(crate) fn end(&mut self, why: &str) -> Result<(Bytes, bool), Opaque> {
        let rest = self.splitter.rest();
        // An event without its empty line does not count as one: a reader drops it, so must nothing depend on it.
        let mut out = if self.reader.is_some() { Vec::new() } else { rest };
        let Some(id) = self.owed.take() else { return Ok((out.into(), true)) };
        let error = format!("the backend ended the stream without an answer{why}");
        let told = json!({ "error": error, "whose": "backend", "what_to_do": "ask its owner; the call may have been executed",
            "rule": "forward.broke-off", "call": self.call });
        let answer = json!({ "jsonrpc": "2.0", "id": id, "error": { "code": 502, "message": error, "data": told } });
        out.append(&mut sse::message(answer.to_string().as_bytes()));
        Ok((out.into(), false))
    }

    fn event(&mut self, event: Vec<u8>) -> Result<Vec<u8>, Opaque> {
        let data = sse::data(&event);
        if data.is_empty() {
            return Ok(event);
        }
        if let Some(told) = self.endpoint.take().and_then(|e| e.translate(&event)) {
            let (event, listening) = told.map_err(Opaque)?;
            self.listening = Some(listening);
            return Ok(event);
        }
        if self.owed.as_ref().is_some_and(|id| answers(&data, id)) {
            self.owed = None;
        }
        let Some(reader) = &self.reader else { return Ok(event) };
        match reader.view(&data) {
            Ok(None) => Ok(event),
            Ok(Some(view)) => Ok(sse::with_data(&event, &view)),
            // Not JSON: no client reads a list out of it either, but a lenient one might.
            Err(why) => Err(Opaque(why.to_string())),
        }
    }
}

fn answers(data: &[u8], id: &Value) -> bool {
    #[derive(Deserialize)]
    struct Shape {
        id: Option<Value>,
        result: Option<IgnoredAny>,
        error: Option<IgnoredAny>,
    }
    let shape = serde_json::from_slice::<Shape>(data);
    shape.is_ok_and(|s| s.id.as_ref() == Some(id) && (s.result.is_some() || s.error.is_some()))
}
