//! What a client gets back when the gateway itself answers.

use crate::audit::Outcome;
use bytes::Bytes;
use http_body_util::{BodyExt, Full, combinators::UnsyncBoxBody};
use hyper::{
    Response, StatusCode,
    header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, HeaderName, HeaderValue, RETRY_AFTER, WWW_AUTHENTICATE},
};
use serde_json::{Value, json};

pub(crate) type BoxError = Box<dyn std::error::Error + Send + Sync>;
pub(crate) type Body = UnsyncBoxBody<Bytes, BoxError>;

/// Carries the id under which the audit log has this request.
pub(crate) const CALL: HeaderName = HeaderName::from_static("x-gnomon-call");

pub(crate) fn full(bytes: impl Into<Bytes>) -> Body {
    Full::new(bytes.into()).map_err(|never| match never {}).boxed_unsync()
}

/// Whose side it is on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Whose {
    Caller,
    Policy,
    Gateway,
    Backend,
}

impl Whose {
    fn word(self) -> &'static str {
        match self {
            Whose::Caller => "caller",
            Whose::Policy => "policy",
            Whose::Gateway => "gateway",
            Whose::Backend => "backend",
        }
    }
}

/// Why a request goes no further, in words the caller may read.
#[derive(Clone, Debug)]
pub(crate) struct Refusal(Box<Words>);

#[derive(Clone, Debug)]
pub(crate) struct Words {
    pub(crate) status: StatusCode,
    /// JSON-RPC code. The gateway's own are the HTTP status: outside the range that JSON-RPC and MCP reserve.
    pub(crate) code: i64,
    pub(crate) outcome: Outcome,
    pub(crate) rule: &'static str,
    pub(crate) whose: Whose,
    pub(crate) error: String,
    pub(crate) what_to_do: String,
    /// Answered as JSON-RPC errors to these ids; `None` stands for an id that could not be read.
    pub(crate) ids: Option<Ids>,
    /// Nothing but code and message: the answer must not differ from that for a tool that does not exist.
    pub(crate) bare: bool,
    pub(crate) headers: Vec<(HeaderName, HeaderValue)>,
}

/// Which requests a JSON-RPC error answers.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Ids {
    One(Option<Value>),
    Batch(Vec<Value>),
    /// Each with words of its own.
    Each(Vec<(Value, String)>),
}

impl std::ops::Deref for Refusal {
    type Target = Words;

    fn deref(&self) -> &Words {
        &self.0
    }
}

impl Refusal {
    pub(crate) fn new(status: StatusCode, outcome: Outcome, rule: &'static str, whose: Whose, error: impl Into<String>) -> Refusal {
        Refusal(Box::new(Words {
            status,
            code: i64::from(status.as_u16()),
            outcome,
            rule,
            whose,
            error: error.into(),
            what_to_do: String::new(),
            // Statuses by which clients tell a protocol era, and those that answer a call, carry JSON-RPC; policy and transport speak plainly.
            ids: matches!(status.as_u16(), 200 | 400 | 404 | 405 | 410 | 502 | 504).then_some(Ids::One(None)),
            bare: false,
            headers: Vec::new(),
        }))
    }

    pub(crate) fn code(mut self, code: i64) -> Refusal {
        self.0.code = code;
        self
    }

    pub(crate) fn what_to_do(mut self, text: impl Into<String>) -> Refusal {
        self.0.what_to_do = text.into();
        self
    }

    /// Answers these requests, if it answers in JSON-RPC at all.
    pub(crate) fn to(mut self, ids: Ids) -> Refusal {
        if self.ids.is_some() {
            self.0.ids = Some(ids);
        }
        self
    }

    /// Not in JSON-RPC.
    pub(crate) fn plain(mut self) -> Refusal {
        self.0.ids = None;
        self
    }

    pub(crate) fn bare(mut self) -> Refusal {
        self.0.bare = true;
        self
    }

    pub(crate) fn retry_after(self, wait: std::time::Duration) -> Refusal {
        let seconds = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
        self.header(RETRY_AFTER, HeaderValue::from(seconds.max(1)))
    }

    /// Asks for a key; names no authorization server, since there is none to go to.
    pub(crate) fn challenge(self) -> Refusal {
        self.header(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer realm=\"gnomon\""))
    }

    pub(crate) fn allow(self, methods: &'static str) -> Refusal {
        self.header(ALLOW, HeaderValue::from_static(methods))
    }

    fn header(mut self, name: HeaderName, value: HeaderValue) -> Refusal {
        self.0.headers.push((name, value));
        self
    }

    /// The answer to a message, for a client that reads answers on a stream of its own.
    pub(crate) fn message(&self, call: &str) -> Option<String> {
        let answers = matches!(&self.ids, Some(Ids::One(Some(_)) | Ids::Batch(_) | Ids::Each(_)));
        answers.then(|| self.body(call).to_string())
    }

    pub(crate) fn response(&self, call: &str) -> Response<Body> {
        let mut body = self.body(call).to_string();
        body.push('\n');
        let mut response = Response::new(full(body));
        *response.status_mut() = self.status;
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        for (name, value) in &self.headers {
            headers.insert(name, value.clone());
        }
        response
    }

    fn body(&self, call: &str) -> Value {
        let told = json!({
            "error": self.error, "whose": self.whose.word(), "what_to_do": self.what_to_do, "rule": self.rule, "call": call,
        });
        let Some(ids) = &self.ids else { return told };
        let mut error = json!({ "code": self.code, "message": self.error });
        if let (false, Some(error)) = (self.bare, error.as_object_mut()) {
            error.insert("data".into(), told);
        }
        match ids {
            Ids::One(None) => json!({ "jsonrpc": "2.0", "error": error }),
            Ids::One(Some(id)) => json!({ "jsonrpc": "2.0", "id": id, "error": error }),
            Ids::Each(told) => told
                .iter()
                .map(|(id, words)| json!({ "jsonrpc": "2.0", "id": id, "error": { "code": self.code, "message": words } }))
                .collect(),
            Ids::Batch(ids) => ids.iter().map(|id| json!({ "jsonrpc": "2.0", "id": id, "error": error })).collect(),
        }
    }
}
