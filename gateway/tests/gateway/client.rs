//! A client that sends just what it is told to.

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::{
    HeaderMap, Request, Response,
    body::Incoming,
    client::conn::http1::{SendRequest, handshake},
    header::{HeaderName, HeaderValue},
};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use std::net::SocketAddr;
use tokio::{net::TcpStream, task::JoinHandle};

pub const MODERN: &str = "2026-07-28";

/// One request, built up; unless said otherwise a POST with JSON to the server `files`.
#[derive(Clone)]
pub struct Ask {
    method: String,
    target: String,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
    host: bool,
}

impl Ask {
    pub fn post(body: Value) -> Ask {
        Ask::raw(body.to_string())
    }

    pub fn raw(body: impl Into<Vec<u8>>) -> Ask {
        let headers =
            vec![("content-type".into(), "application/json".into()), ("accept".into(), "application/json, text/event-stream".into())];
        Ask { method: "POST".into(), target: "/mcp/v1/tools/files/rpc".into(), headers, body: body.into(), host: true }
    }

    pub fn bare(method: &str) -> Ask {
        Ask { method: method.into(), headers: vec![("accept".into(), "text/event-stream".into())], ..Ask::raw("") }
    }

    pub fn at(mut self, target: &str) -> Ask {
        self.target = target.into();
        self
    }

    pub fn key(self, key: &str) -> Ask {
        self.with("authorization", &format!("Bearer {key}"))
    }

    pub fn with(mut self, name: &str, value: &str) -> Ask {
        self.headers.push((name.into(), value.into()));
        self
    }

    pub fn without(mut self, name: &str) -> Ask {
        self.headers.retain(|(n, _)| n != name);
        self
    }

    /// With no `Host` but those of [`Ask::with`].
    pub fn hostless(mut self) -> Ask {
        self.host = false;
        self
    }

    pub async fn send(self, to: SocketAddr) -> Got {
        let mut open = self.open(to).await;
        let body = open.response.body_mut().collect().await.expect("a whole answer").to_bytes();
        Got { status: open.response.status().as_u16(), headers: open.response.headers().clone(), body }
    }

    /// Only the answer's head; its body is still to be read. Dropping it leaves.
    pub async fn open(self, to: SocketAddr) -> Open {
        let (mut sender, connection) = connect(to).await;
        let response = sender.send_request(self.request(to)).await.expect("the gateway answers");
        Open { response, connection, _sender: sender }
    }

    pub fn request(&self, to: SocketAddr) -> Request<Full<Bytes>> {
        let mut request = Request::new(Full::new(Bytes::from(self.body.clone())));
        *request.method_mut() = self.method.parse().unwrap();
        *request.uri_mut() = self.target.parse().unwrap();
        if self.host {
            request.headers_mut().insert("host", HeaderValue::try_from(to.to_string()).unwrap());
        }
        for (name, value) in &self.headers {
            let name = HeaderName::from_bytes(name.as_bytes()).unwrap();
            request.headers_mut().append(name, HeaderValue::from_bytes(value.as_bytes()).unwrap());
        }
        request
    }
}

pub async fn connect(to: SocketAddr) -> (SendRequest<Full<Bytes>>, JoinHandle<()>) {
    let stream = TcpStream::connect(to).await.unwrap();
    let (sender, connection) = handshake(TokioIo::new(stream)).await.unwrap();
    (sender, tokio::spawn(async move { drop(connection.await) }))
}

pub struct Open {
    pub response: Response<Incoming>,
    connection: JoinHandle<()>,
    _sender: SendRequest<Full<Bytes>>,
}

impl Drop for Open {
    fn drop(&mut self) {
        self.connection.abort();
    }
}

impl Open {
    /// The next piece of the body; `None` at its end, `Err` when it was broken off.
    pub async fn next(&mut self) -> Option<Result<String, hyper::Error>> {
        let frame = self.response.body_mut().frame().await?;
        Some(frame.map(|f| String::from_utf8(f.into_data().unwrap_or_default().to_vec()).unwrap()))
    }

    pub async fn rest(&mut self) -> String {
        let mut text = String::new();
        while let Some(Ok(more)) = self.next().await {
            text.push_str(&more);
        }
        text
    }
}

#[derive(Debug)]
pub struct Got {
    pub status: u16,
    pub headers: HeaderMap,
    pub body: Bytes,
}

impl Got {
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|e| panic!("{e}: {}", self.text()))
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map(|v| v.to_str().unwrap()).unwrap_or_default()
    }

    pub fn call(&self) -> &str {
        self.header("x-gnomon-call")
    }

    /// The rule a refusal names, wherever it stands.
    pub fn rule(&self) -> String {
        let json = self.json();
        let told = if json["rule"].is_string() { &json } else { &json["error"]["data"] };
        for member in ["error", "whose", "what_to_do", "rule", "call"] {
            assert!(told[member].as_str().is_some_and(|t| !t.is_empty()), "a refusal says its {member}: {json}");
        }
        told["rule"].as_str().unwrap().to_owned()
    }
}

/// A request of the legacy era.
pub fn rpc(id: impl Into<Value>, method: &str, params: Value) -> Value {
    json!({ "jsonrpc": "2.0", "id": id.into(), "method": method, "params": params })
}

pub fn call(tool: &str) -> Value {
    rpc(1, "tools/call", json!({ "name": tool, "arguments": { "a": 1 } }))
}

/// A request of the modern era with all that belongs to it.
pub fn modern(id: impl Into<Value>, method: &str, mut params: Value) -> Ask {
    params["_meta"] = json!({ "io.modelcontextprotocol/protocolVersion": MODERN, "io.modelcontextprotocol/clientCapabilities": {} });
    let name = params["name"].as_str().map(str::to_owned);
    let ask = Ask::post(rpc(id, method, params)).with("mcp-protocol-version", MODERN).with("mcp-method", method);
    match name {
        Some(name) => ask.with("mcp-name", &name),
        None => ask,
    }
}
