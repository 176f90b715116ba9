//! An agent: the smallest client that calls tools in both eras, and says exactly how it was refused.

use super::cast::Role;
use super::world::{Error, Host};
use serde_json::{Value, json};
use std::{
    fmt,
    io::ErrorKind,
    sync::mpsc,
    time::{Duration, Instant},
};

const WITHIN: Duration = Duration::from_secs(3);

/// What became of a call or a stream that did not go well.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// ECONNREFUSED: nothing listens, or a firewall says so.
    Refused,
    /// ECONNRESET: the connection was there, and was cut.
    Reset,
    /// EACCES, EHOSTUNREACH: a router said no.
    Unreachable,
    Timeout,
    /// An HTTP status, and what came with it.
    Status(u16, String),
    /// A JSON-RPC error.
    Error(String),
    /// The other side ended it in good order.
    Ended,
    Other(String),
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Trouble::Refused => f.write_str("ECONNREFUSED"),
            Trouble::Reset => f.write_str("ECONNRESET"),
            Trouble::Unreachable => f.write_str("unreachable"),
            Trouble::Timeout => f.write_str("no answer in time"),
            Trouble::Status(code, text) => write!(f, "status {code}: {text}"),
            Trouble::Error(text) => write!(f, "error: {text}"),
            Trouble::Ended => f.write_str("ended in good order"),
            Trouble::Other(text) => f.write_str(text),
        }
    }
}

/// The words for what came of a call that should have ended otherwise.
pub fn outcome<T>(result: &Result<T, Trouble>) -> String {
    match result {
        Ok(_) => "it was let through".to_owned(),
        Err(trouble) => trouble.to_string(),
    }
}

/// How to reach a server.
#[derive(Clone, Debug)]
pub struct Target {
    pub url: String,
    /// [`Role::Sessions`] or [`Role::Stateless`].
    pub era: Role,
    pub key: Option<String>,
}

impl Target {
    pub fn new(url: &str, era: Role) -> Target {
        Target { url: url.to_owned(), era, key: None }
    }

    pub fn with_key(mut self, key: &str) -> Target {
        self.key = Some(key.to_owned());
        self
    }
}

/// Calls one tool from `host`, from the first packet to the last, and gives the text it answered.
pub fn call(host: &Host, target: &Target, tool: &str) -> Result<Result<String, Trouble>, Error> {
    let (target, tool) = (target.clone(), tool.to_owned());
    host.block_on(move || async move {
        let mut dialogue = Dialogue::open(&target).await?;
        let content = dialogue.ask("tools/call", json!({"name": tool, "arguments": {"q": "demo"}})).await?;
        dialogue.close().await;
        let text = content.pointer("/content/0/text").and_then(Value::as_str);
        text.map(str::to_owned).ok_or_else(|| Trouble::Other(format!("no text in {content}")))
    })
}

/// The names of the tools a server lists.
pub fn tools(host: &Host, target: &Target) -> Result<Result<Vec<String>, Trouble>, Error> {
    let target = target.clone();
    host.block_on(move || async move {
        let mut dialogue = Dialogue::open(&target).await?;
        let listed = dialogue.ask("tools/list", json!({})).await?;
        dialogue.close().await;
        let tools = listed.pointer("/tools").and_then(Value::as_array).cloned().unwrap_or_default();
        Ok(tools.iter().filter_map(|t| t.get("name")?.as_str().map(str::to_owned)).collect())
    })
}

/// `GET` as a browser would.
pub fn get(host: &Host, url: &str) -> Result<Result<u16, Trouble>, Error> {
    let url = url.to_owned();
    host.block_on(move || async move {
        let answer = http()?.get(url).send().await.map_err(|e| trouble(&e))?;
        Ok(answer.status().as_u16())
    })
}

/// A stream from a server that an agent keeps open.
#[derive(Debug)]
pub struct Stream {
    heard: mpsc::Receiver<Result<usize, Trouble>>,
}

/// Opens the server's stream of the target's era, and keeps it open in the background.
pub fn listen(host: &Host, target: &Target) -> Result<Stream, Error> {
    let (tell, heard) = mpsc::channel();
    let target = target.clone();
    host.start(move || async move {
        let ended = keep_open(&target, &tell).await;
        // Nobody waiting any more is fine.
        let _ = tell.send(Err(ended));
    })?;
    Ok(Stream { heard })
}

impl Stream {
    /// Waits for the next bytes from now on; how the stream ended, if it has.
    pub fn next(&self, within: Duration) -> Result<usize, Trouble> {
        while self.heard.try_recv().is_ok_and(|h| h.is_ok()) {}
        self.heard.recv_timeout(within).unwrap_or(Err(Trouble::Timeout))
    }

    /// Waits until the stream ends, and says how.
    pub fn end(&self, within: Duration) -> Trouble {
        let by = Instant::now() + within;
        loop {
            match self.heard.recv_timeout(by.saturating_duration_since(Instant::now())) {
                Ok(Ok(_)) => {}
                Ok(Err(trouble)) => return trouble,
                Err(_) => return Trouble::Timeout,
            }
        }
    }
}

async fn keep_open(target: &Target, tell: &mpsc::Sender<Result<usize, Trouble>>) -> Trouble {
    let opened = async {
        let mut dialogue = Dialogue::open(target).await?;
        dialogue.stream().await
    };
    let mut stream = match opened.await {
        Ok(stream) => stream,
        Err(trouble) => return trouble,
    };
    loop {
        match stream.chunk().await {
            Ok(Some(bytes)) if tell.send(Ok(bytes.len())).is_ok() => {}
            Ok(_) => return Trouble::Ended,
            Err(why) => return trouble(&why),
        }
    }
}

/// One client's conversation with one server.
struct Dialogue {
    http: reqwest::Client,
    target: Target,
    session: Option<String>,
    id: u64,
}

impl Dialogue {
    async fn open(target: &Target) -> Result<Dialogue, Trouble> {
        let mut dialogue = Dialogue { http: http()?, target: target.clone(), session: None, id: 0 };
        if target.era == Role::Sessions {
            let me = json!({"name": "build-agent", "version": "4.2"});
            dialogue.ask("initialize", json!({"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": me})).await?;
            let note = json!({"jsonrpc": "2.0", "method": "notifications/initialized"});
            dialogue.post("notifications/initialized", None, &note).send().await.map_err(|e| trouble(&e))?;
        }
        Ok(dialogue)
    }

    async fn ask(&mut self, method: &str, params: Value) -> Result<Value, Trouble> {
        let answer = self.send(method, params).await?;
        let streamed = header(&answer, "content-type").is_some_and(|t| t.starts_with("text/event-stream"));
        let text = answer.text().await.map_err(|e| trouble(&e))?;
        let id = json!(self.id);
        let mut messages: Vec<Value> = if streamed {
            text.lines().filter_map(|l| serde_json::from_str(l.strip_prefix("data:")?.trim()).ok()).collect()
        } else {
            serde_json::from_str(&text).into_iter().collect()
        };
        messages.retain(|m| m.get("id") == Some(&id));
        let message =
            messages.pop().ok_or_else(|| Trouble::Other(format!("no answer in `{}`", rules::printable::printable(&text, 400))))?;
        match (message.get("result"), message.pointer("/error/message")) {
            (Some(result), _) => Ok(result.clone()),
            (None, why) => Err(Trouble::Error(why.and_then(Value::as_str).unwrap_or("?").to_owned())),
        }
    }

    /// The stream from the server: `GET` with sessions, `subscriptions/listen` without.
    async fn stream(&mut self) -> Result<reqwest::Response, Trouble> {
        if self.target.era == Role::Stateless {
            return self.send("subscriptions/listen", json!({"notifications": {}})).await;
        }
        let request = self.common(self.http.get(&self.target.url)).header("accept", "text/event-stream");
        checked(request.send().await.map_err(|e| trouble(&e))?).await
    }

    async fn close(self) {
        if self.session.is_some() {
            // A server that is gone needs no good-bye.
            let _ = self.common(self.http.delete(&self.target.url)).timeout(WITHIN).send().await;
        }
    }

    async fn send(&mut self, method: &str, mut params: Value) -> Result<reqwest::Response, Trouble> {
        self.id += 1;
        let name = params.get("name").and_then(Value::as_str).map(str::to_owned);
        if let (Role::Stateless, Some(fields)) = (self.target.era, params.as_object_mut()) {
            fields.insert(
                "_meta".to_owned(),
                json!({"io.modelcontextprotocol/protocolVersion": "2026-07-28", "io.modelcontextprotocol/clientCapabilities": {},
                       "io.modelcontextprotocol/clientInfo": {"name": "build-agent", "version": "4.2"}}),
            );
        }
        let body = json!({"jsonrpc": "2.0", "id": self.id, "method": method, "params": params});
        let answer = self.post(method, name.as_deref(), &body).send().await.map_err(|e| trouble(&e))?;
        let answer = checked(answer).await?;
        if let Some(session) = header(&answer, "mcp-session-id") {
            self.session = Some(session.to_owned());
        }
        Ok(answer)
    }

    fn post(&self, method: &str, name: Option<&str>, body: &Value) -> reqwest::RequestBuilder {
        let mut request = self.common(self.http.post(&self.target.url)).json(body);
        request = request.header("accept", "application/json, text/event-stream");
        if self.target.era == Role::Stateless {
            request = request.header("mcp-method", method);
            if let Some(name) = name.filter(|_| method == "tools/call") {
                request = request.header("mcp-name", name);
            }
        }
        request
    }

    fn common(&self, mut request: reqwest::RequestBuilder) -> reqwest::RequestBuilder {
        if let Some(key) = &self.target.key {
            request = request.bearer_auth(key);
        }
        match (&self.session, self.target.era) {
            (Some(session), _) => request.header("mcp-session-id", session).header("mcp-protocol-version", "2025-11-25"),
            (None, Role::Stateless) => request.header("mcp-protocol-version", "2026-07-28"),
            (None, _) => request,
        }
    }
}

fn http() -> Result<reqwest::Client, Trouble> {
    // The second install is refused, and that is fine: there is one.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let builder = reqwest::Client::builder().no_proxy().connect_timeout(WITHIN).read_timeout(WITHIN);
    builder.build().map_err(|e| Trouble::Other(e.to_string()))
}

fn header<'a>(answer: &'a reqwest::Response, name: &str) -> Option<&'a str> {
    answer.headers().get(name)?.to_str().ok()
}

async fn checked(answer: reqwest::Response) -> Result<reqwest::Response, Trouble> {
    let status = answer.status();
    if status.is_success() {
        return Ok(answer);
    }
    let text = answer.text().await.unwrap_or_default();
    let value: Value = serde_json::from_str(&text).unwrap_or_default();
    let said = value.pointer("/error/message").or(value.get("error")).and_then(Value::as_str).map_or(text, str::to_owned);
    Err(Trouble::Status(status.as_u16(), said))
}

/// Looks for the system's word at the bottom of reqwest's error.
fn trouble(why: &reqwest::Error) -> Trouble {
    let mut cause: Option<&dyn std::error::Error> = Some(why);
    while let Some(error) = cause {
        if let Some(io) = error.downcast_ref::<std::io::Error>() {
            match io.kind() {
                ErrorKind::ConnectionRefused => return Trouble::Refused,
                ErrorKind::ConnectionReset | ErrorKind::BrokenPipe => return Trouble::Reset,
                ErrorKind::HostUnreachable | ErrorKind::NetworkUnreachable | ErrorKind::PermissionDenied => return Trouble::Unreachable,
                ErrorKind::TimedOut => return Trouble::Timeout,
                _ => {}
            }
        }
        cause = error.source();
    }
    if why.is_timeout() { Trouble::Timeout } else { Trouble::Other(chain(why)) }
}

/// An error with its causes: reqwest keeps the reason in them.
fn chain(why: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(Some(why), |e| e.source()).map(ToString::to_string);
    causes.collect::<Vec<_>>().join(": ")
}
