//! One question over the network, and what came back. IO, with a bound on time and memory whatever the peer does.

use super::{
    answer::{HttpAnswer, Outcome, TlsFacts, pick},
    echo::Echoes,
    http1::{Broken, Caps, Head, Progress, Reader},
    http2,
    question::{Ask, Identity, Question, safe_target},
    sse::{Event, Events},
    timeouts::Timeouts,
    tls,
    transcript::Exchange,
    transport::Stream,
};
use rules::printable::printable;
use rustls::{pki_types::ServerName, sign::CertifiedKey};
use std::{
    io,
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Duration,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::{Instant, timeout, timeout_at},
};

#[derive(Clone, Debug)]
pub struct Dialer {
    pub identity: Identity,
    pub timeouts: Timeouts,
    pub caps: Caps,
    /// Where our questions are noted, so that the wire does not take us for a client.
    pub echoes: Arc<Echoes>,
    /// A client certificate for questions that may show it.
    pub test_identity: Option<Arc<CertifiedKey>>,
    /// Keep what was said and heard, for [`Cost::exchanges`].
    pub keep: bool,
}

/// What a question cost.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cost {
    pub connections: u32,
    pub requests: u32,
    pub sent: u64,
    pub received: u64,
    /// Our address on the last connection.
    pub from: Option<IpAddr>,
    /// What was said and heard, if it is kept.
    pub exchanges: Vec<Exchange>,
}

type Connection = (Box<dyn Stream>, Option<TlsFacts>);

impl Dialer {
    pub async fn ask(&self, question: &Question) -> (Outcome, Cost) {
        let mut cost = Cost::default();
        let outcome = match question.ask {
            Ask::Stream => self.ask_stream(question, &mut cost).await,
            Ask::Lines => self.ask_lines(question, &mut cost).await,
            _ => self.ask_once(question, &mut cost).await,
        };
        if let Some(here) = cost.from {
            self.echoes.note(question.endpoint, here, Instant::now().into_std());
        }
        (outcome.unwrap_or_else(|failed| failed), cost)
    }

    async fn ask_once(&self, question: &Question, cost: &mut Cost) -> Result<Outcome, Outcome> {
        let (mut stream, tls) = self.connect(question, cost).await?;
        let wait = if matches!(question.ask, Ask::Initialize) { self.timeouts.slow_answer } else { self.timeouts.answer };
        let deadline = Instant::now() + wait;
        write(&mut stream, &question.bytes(&self.identity), deadline, cost).await?;
        let mut conversation = Conversation::new(self.caps, self.keep);
        let ended = conversation.read(&mut stream, deadline, cost, |events| pick(events.iter(), &question.nonce).is_some()).await;
        self.note(question, &mut conversation, &ended, tls.as_ref(), cost);
        // A polite end, not a reset; whether it arrives does not matter.
        let _ = timeout(Duration::from_millis(200), stream.shutdown()).await;
        conversation.finish(ended, tls)
    }

    fn note(&self, question: &Question, conversation: &mut Conversation, ended: &Ended, tls: Option<&TlsFacts>, cost: &mut Cost) {
        if !self.keep {
            return;
        }
        let over = match tls {
            None => "tcp".to_owned(),
            Some(t) => format!(
                "{}, certificate {} by {} until {}{}",
                t.version,
                t.subject,
                t.issuer,
                t.expires,
                if t.wants_certificate { ", asks for a client certificate" } else { "" }
            ),
        };
        let received = std::mem::take(&mut conversation.raw);
        cost.exchanges.push(Exchange { over, sent: question.bytes(&self.identity), received, ended: ended.words() });
    }

    async fn connect(&self, question: &Question, cost: &mut Cost) -> Result<Connection, Outcome> {
        cost.connections += 1;
        let address = SocketAddr::new(question.endpoint.address, question.endpoint.port);
        let stream = match timeout(self.timeouts.connect, TcpStream::connect(address)).await {
            Ok(Ok(stream)) => stream,
            Ok(Err(e)) if e.kind() == io::ErrorKind::ConnectionRefused => return Err(Outcome::Refused),
            _ => return Err(Outcome::Unreachable),
        };
        let _ = stream.set_nodelay(true);
        if let Ok(here) = stream.local_addr() {
            cost.from = Some(here.ip());
            self.echoes.note(question.endpoint, here.ip(), Instant::now().into_std());
        }
        if !question.tls {
            let plain: Box<dyn Stream> = Box::new(stream);
            // Prior knowledge (RFC 9113 §3.3): it said so itself.
            return Ok((if question.http2 { http2::translated(plain, false) } else { plain }, None));
        }
        let shown = self.test_identity.clone().filter(|_| question.certified);
        let (config, asked) =
            tls::config(question.http2, shown).map_err(|e| Outcome::TlsFailed { why: e.to_string(), wants_certificate: false })?;
        let name = match question.server_name.as_deref().and_then(|n| ServerName::try_from(n.to_owned()).ok()) {
            Some(name) => name,
            None => ServerName::IpAddress(question.endpoint.address.into()),
        };
        let failed = |why: String, asked: &tls::Asked| Outcome::TlsFailed { why: printable(&why, 120), wants_certificate: asked.was() };
        match timeout(self.timeouts.answer, tokio_rustls::TlsConnector::from(Arc::new(config)).connect(name, stream)).await {
            Ok(Ok(stream)) => {
                let facts = tls::facts(stream.get_ref().1, &asked);
                let http2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
                let stream: Box<dyn Stream> = Box::new(stream);
                Ok((if http2 { http2::translated(stream, true) } else { stream }, Some(facts)))
            }
            Ok(Err(e)) => Err(failed(e.to_string(), &asked)),
            Err(_) => Err(failed("the handshake took too long".to_owned(), &asked)),
        }
    }

    /// The 2024-11-05 transport: keep the stream open, post `initialize` to the endpoint it announces, read the answer from the
    /// stream, then end it politely.
    async fn ask_stream(&self, question: &Question, cost: &mut Cost) -> Result<Outcome, Outcome> {
        let (mut stream, tls) = self.connect(question, cost).await?;
        let first = Instant::now() + self.timeouts.answer;
        write(&mut stream, &question.bytes(&self.identity), first, cost).await?;
        let mut conversation = Conversation::new(self.caps, self.keep);
        let mut ended = conversation.read(&mut stream, first, cost, |events| !events.is_empty()).await;
        let mut posted = None;
        let announced = conversation.events.iter().find(|e| e.name == "endpoint").map(|e| e.data.clone());
        if let Some(path) = announced.and_then(|uri| announced_path(&uri, question)) {
            let last = Instant::now() + self.timeouts.slow_answer;
            let nonce = format!("{}-1", question.nonce);
            let message = Question { ask: Ask::Initialize, path, nonce: nonce.clone(), ..question.clone() };
            let status = match Box::pin(self.ask_once(&message, cost)).await {
                Ok(Outcome::Answer(answer)) => answer.head.status,
                _ => 0,
            };
            ended = conversation
                .read(&mut stream, last, cost, |events| pick(events.iter(), &nonce).is_some_and(|a| a.id.as_deref() == Some(&nonce)))
                .await;
            posted = Some((nonce, status));
        }
        let _ = timeout(Duration::from_millis(200), stream.shutdown()).await;
        self.note(question, &mut conversation, &ended, tls.as_ref(), cost);
        let events = std::mem::take(&mut conversation.events);
        match conversation.finish(ended, tls)? {
            Outcome::Answer(answer) => Ok(Outcome::Answer(Box::new(HttpAnswer { stream: events, posted, ..*answer }))),
            other => Ok(other),
        }
    }
}

impl Dialer {
    /// `initialize` and the negative control, each as a line, on one connection.
    async fn ask_lines(&self, question: &Question, cost: &mut Cost) -> Result<Outcome, Outcome> {
        let (mut stream, _) = self.connect(question, cost).await?;
        let deadline = Instant::now() + self.timeouts.slow_answer;
        let mut lines = Lines { room: self.caps.body, ..Lines::default() };
        write(&mut stream, &question.bytes(&self.identity), deadline, cost).await?;
        lines.read(&mut stream, deadline, cost, &question.nonce).await;
        let nonce = format!("{}-1", question.nonce);
        let mut posted = None;
        if pick(lines.events.iter(), &question.nonce).is_some_and(|a| a.result.is_some()) {
            write(&mut stream, &question.control_line(&nonce), deadline, cost).await?;
            lines.read(&mut stream, deadline, cost, &nonce).await;
            posted = Some((nonce, 0));
        }
        let _ = timeout(Duration::from_millis(200), stream.shutdown()).await;
        if lines.events.is_empty() {
            return Err(Outcome::NotHttp(lines.pending.get(..64).unwrap_or(&lines.pending).to_vec()));
        }
        Ok(Outcome::Answer(Box::new(HttpAnswer { head: Head::default(), stream: lines.events, posted, ..HttpAnswer::default() })))
    }
}

/// What a peer says line by line.
#[derive(Debug, Default)]
struct Lines {
    events: Vec<Event>,
    pending: Vec<u8>,
    /// Bytes that may still come.
    room: usize,
}

impl Lines {
    /// Reads until a line answers `nonce`, the bounds or the deadline.
    async fn read(&mut self, stream: &mut Box<dyn Stream>, deadline: Instant, cost: &mut Cost, nonce: &str) {
        let mut buffer = vec![0u8; 8 << 10];
        while self.room > 0 && self.events.len() < MAX_EVENTS {
            let Ok(Ok(count @ 1..)) = timeout_at(deadline, stream.read(&mut buffer)).await else { return };
            cost.received += count as u64;
            for byte in buffer.iter().take(count.min(self.room)) {
                if *byte != b'\n' {
                    self.pending.push(*byte);
                } else if self.events.len() < MAX_EVENTS {
                    let data = String::from_utf8_lossy(&std::mem::take(&mut self.pending)).into_owned();
                    self.events.push(Event { data, ..Event::default() });
                }
            }
            self.room = self.room.saturating_sub(count);
            if pick(self.events.iter(), nonce).is_some_and(|a| a.id.as_deref() == Some(nonce)) {
                return;
            }
        }
    }
}

/// The announced message endpoint, when it is on the same origin as the stream (MCP 2024-11-05 basic/transports).
fn announced_path(uri: &str, question: &Question) -> Option<String> {
    if uri.starts_with('/') && !uri.starts_with("//") {
        return safe_target(uri);
    }
    let scheme = if question.tls { "https" } else { "http" };
    let base = url::Url::parse(&format!("{scheme}://{}{}", question.host, question.path)).ok()?;
    let url = base.join(uri).ok()?;
    if url.origin() != base.origin() {
        return None;
    }
    safe_target(&match url.query() {
        Some(query) => format!("{}?{query}", url.path()),
        None => url.path().to_owned(),
    })
}

async fn write(stream: &mut Box<dyn Stream>, bytes: &[u8], deadline: Instant, cost: &mut Cost) -> Result<(), Outcome> {
    cost.requests += 1;
    cost.sent += bytes.len() as u64;
    // A peer that closes while we write may still have said why: read on.
    match timeout_at(deadline, async {
        stream.write_all(bytes).await?;
        stream.flush().await
    })
    .await
    {
        Ok(_) => Ok(()),
        Err(_) => Err(Outcome::Silent),
    }
}

/// Why reading stopped.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Ended {
    /// The whole response, or the event that was waited for.
    Enough,
    Closed,
    Late,
    Broken(Broken),
    /// TLS: the peer refused us after the handshake (TLS 1.3 client certificates).
    Alert(String),
}

impl Ended {
    fn words(&self) -> &'static str {
        match self {
            Ended::Enough => "",
            Ended::Closed => "closed by the server",
            Ended::Late => "our patience ended",
            Ended::Broken(_) => "no answer that can be read on",
            Ended::Alert(_) => "TLS: refused after the handshake",
        }
    }
}

/// What one peer says on one connection.
struct Conversation {
    reader: Reader,
    parser: Events,
    events: Vec<Event>,
    seen: usize,
    first: Vec<u8>,
    /// As it came, if it is kept; at most [`Exchange::MAX`].
    raw: Vec<u8>,
    keep: bool,
}

/// Events kept of one stream.
const MAX_EVENTS: usize = 64;

impl Conversation {
    fn new(caps: Caps, keep: bool) -> Conversation {
        let (reader, parser) = (Reader::new(caps), Events::new(caps.body));
        Conversation { reader, parser, events: Vec::new(), seen: 0, first: Vec::new(), raw: Vec::new(), keep }
    }

    /// Reads until the response is whole, an event stream satisfies `enough`, or the deadline.
    async fn read(&mut self, stream: &mut Box<dyn Stream>, deadline: Instant, cost: &mut Cost, enough: impl Fn(&[Event]) -> bool) -> Ended {
        let mut buffer = vec![0u8; 16 << 10];
        loop {
            if !self.events.is_empty() && enough(&self.events) {
                return Ended::Enough;
            }
            let count = match timeout_at(deadline, stream.read(&mut buffer)).await {
                Err(_) => return Ended::Late,
                Ok(Ok(0)) => return Ended::Closed,
                Ok(Ok(count)) => count,
                Ok(Err(e)) if e.kind() == io::ErrorKind::InvalidData => return Ended::Alert(e.to_string()),
                Ok(Err(_)) => return Ended::Closed,
            };
            cost.received += count as u64;
            let bytes = buffer.get(..count).unwrap_or_default();
            if self.first.len() < 64 {
                self.first.extend(bytes.iter().take(64));
            }
            if self.keep {
                self.raw.extend(bytes.iter().take(Exchange::MAX.saturating_sub(self.raw.len())));
            }
            match self.reader.push(bytes) {
                Err(broken) => return Ended::Broken(broken),
                Ok(Progress::Done) => {
                    self.take_events();
                    return Ended::Enough;
                }
                Ok(Progress::More) => self.take_events(),
            }
        }
    }

    fn take_events(&mut self) {
        let stream =
            self.reader.head().and_then(|h| h.get("content-type")).is_some_and(|t| t.to_ascii_lowercase().contains("text/event-stream"));
        let fresh = self.reader.body().get(self.seen..).unwrap_or_default();
        self.seen = self.reader.body().len();
        if stream && self.events.len() < MAX_EVENTS {
            let room = MAX_EVENTS - self.events.len();
            self.events.extend(self.parser.push(fresh).into_iter().take(room));
        }
    }

    fn finish(self, ended: Ended, tls: Option<TlsFacts>) -> Result<Outcome, Outcome> {
        let (head, body, cut) = self.reader.into_parts();
        match (head, ended) {
            (Some(head), ended) => {
                let cut = cut || !matches!(ended, Ended::Enough | Ended::Closed);
                Ok(Outcome::Answer(Box::new(HttpAnswer { head, body, cut, tls, ..HttpAnswer::default() })))
            }
            (None, Ended::Alert(why)) => {
                let wants_certificate = tls.is_some_and(|t| t.wants_certificate);
                Err(Outcome::TlsFailed { why: printable(&why, 120), wants_certificate })
            }
            // TLS 1.3 without the courtesy of an alert.
            (None, Ended::Closed) if self.first.is_empty() && tls.is_some_and(|t| t.wants_certificate) => {
                Err(Outcome::TlsFailed { why: "closed after the handshake".to_owned(), wants_certificate: true })
            }
            (None, Ended::Broken(Broken::HeadTooBig)) => Err(Outcome::Abusive("a head without end")),
            (None, Ended::Broken(_)) => Err(Outcome::NotHttp(self.first)),
            (None, Ended::Late) if self.first.is_empty() => Err(Outcome::Silent),
            (None, Ended::Late) => Err(Outcome::Abusive("a head that drips")),
            (None, _) if self.first.is_empty() => Err(Outcome::Closed),
            (None, _) => Err(Outcome::NotHttp(self.first)),
        }
    }
}
