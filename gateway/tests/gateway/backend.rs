//! A backend in this process. What it answers is a function; what it was asked is kept.

use bytes::Bytes;
use futures_util::{Stream, stream};
use http_body_util::{BodyExt, Full, StreamBody, combinators::UnsyncBoxBody};
use hyper::{HeaderMap, Method, Request, Response, body::Frame, body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use std::{
    convert::Infallible,
    io,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
};
use tokio::{net::TcpListener, sync::mpsc};

pub type Body = UnsyncBoxBody<Bytes, io::Error>;

#[derive(Clone, Debug)]
pub struct Asked {
    pub method: Method,
    pub target: String,
    pub headers: HeaderMap,
    pub body: Value,
}

impl Asked {
    pub fn rpc(&self) -> &str {
        self.body["method"].as_str().unwrap_or_default()
    }

    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map(|v| v.to_str().unwrap()).unwrap_or_default()
    }
}

pub struct Backend {
    pub url: String,
    pub port: u16,
    asked: Arc<Mutex<Vec<Asked>>>,
    connections: Arc<AtomicUsize>,
}

impl Backend {
    pub async fn start<F>(answer: F) -> Backend
    where
        F: Fn(Asked) -> Response<Body> + Send + Sync + 'static,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let (asked, connections) = (Arc::new(Mutex::new(Vec::new())), Arc::new(AtomicUsize::new(0)));
        let answer = Arc::new(answer);
        let (kept, count) = (asked.clone(), connections.clone());
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                count.fetch_add(1, SeqCst);
                let (answer, kept) = (answer.clone(), kept.clone());
                let service = service_fn(move |request: Request<Incoming>| {
                    let (answer, kept) = (answer.clone(), kept.clone());
                    async move {
                        let (parts, body) = request.into_parts();
                        let body = body.collect().await.map(|b| b.to_bytes()).unwrap_or_default();
                        let asked = Asked {
                            method: parts.method,
                            target: parts.uri.to_string(),
                            headers: parts.headers,
                            body: serde_json::from_slice(&body).unwrap_or(Value::Null),
                        };
                        kept.lock().unwrap().push(asked.clone());
                        Ok::<_, Infallible>(answer(asked))
                    }
                });
                tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), service));
            }
        });
        Backend { url: format!("http://127.0.0.1:{port}/mcp"), port, asked, connections }
    }

    /// Answers every request with a result that repeats it.
    pub async fn echo() -> Backend {
        Backend::start(|asked| match asked.body.get("id") {
            Some(id) => result(id, json!({ "echo": asked.body["params"] })),
            None => status(202),
        })
        .await
    }

    pub fn asked(&self) -> Vec<Asked> {
        self.asked.lock().unwrap().clone()
    }

    pub fn connections(&self) -> usize {
        self.connections.load(SeqCst)
    }
}

pub fn json_body(value: &Value) -> Response<Body> {
    typed("application/json", value.to_string())
}

pub fn result(id: &Value, result: Value) -> Response<Body> {
    json_body(&json!({ "jsonrpc": "2.0", "id": id, "result": result }))
}

pub fn typed(kind: &str, text: impl Into<Bytes>) -> Response<Body> {
    let body = Full::new(text.into()).map_err(|never| match never {}).boxed_unsync();
    Response::builder().header("content-type", kind).body(body).unwrap()
}

pub fn status(code: u16) -> Response<Body> {
    let body = Full::default().map_err(|never| match never {}).boxed_unsync();
    Response::builder().status(code).body(body).unwrap()
}

/// An event stream fed by the test, event by event; dropping the sender ends it, an error breaks it off.
pub fn events(feed: mpsc::Receiver<io::Result<String>>) -> Response<Body> {
    let body = StreamBody::new(received(feed)).boxed_unsync();
    Response::builder().header("content-type", "text/event-stream").body(body).unwrap()
}

fn received(feed: mpsc::Receiver<io::Result<String>>) -> impl Stream<Item = io::Result<Frame<Bytes>>> + Send {
    stream::unfold(feed, |mut feed| async move {
        let next = feed.recv().await?;
        Some((next.map(|text| Frame::data(Bytes::from(text))), feed))
    })
}
