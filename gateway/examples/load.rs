//! Load for a gateway, and a backend to put behind it.
//!
//! `load serve PORT` answers every call at once; `load URL [KEY] [CONNECTIONS] [SECONDS] [RATE]` calls `echo` with 1 KiB,
//! checks id and content of each answer, and prints calls per second and latencies. With RATE (calls per second in all) each
//! latency counts from when the call was due, so waiting is not hidden.

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::{Request, Response, body::Incoming, client::conn::http1 as client, server::conn::http1 as server, service::service_fn};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use std::{convert::Infallible, error::Error};
use tokio::{
    net::{TcpListener, TcpStream},
    time::{Duration, Instant, sleep_until},
};

type Result<T> = std::result::Result<T, Box<dyn Error + Send + Sync>>;

#[tokio::main]
async fn main() -> Result<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let arg = |n: usize| args.get(n).map(String::as_str);
    let number = |n: usize, default: u64| arg(n).map_or(Ok(default), str::parse);
    match arg(0) {
        Some("serve") => serve(arg(1).unwrap_or("3012")).await,
        Some(url) => load(url, arg(1).unwrap_or_default(), number(2, 32)?, number(3, 10)?, number(4, 0)?).await,
        None => Err("serve PORT, or URL [KEY] [CONNECTIONS] [SECONDS] [RATE]".into()),
    }
}

async fn serve(port: &str) -> Result<()> {
    let listener = TcpListener::bind(format!("127.0.0.1:{port}")).await?;
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        let echo = |request: Request<Incoming>| async move {
            let body = request.into_body().collect().await.map(|b| b.to_bytes()).unwrap_or_default();
            let asked: Value = serde_json::from_slice(&body).unwrap_or_default();
            let answer = json!({ "jsonrpc": "2.0", "id": asked["id"], "result": { "content": asked["params"]["arguments"] } });
            let response = Response::builder().header("content-type", "application/json").body(Full::new(Bytes::from(answer.to_string())));
            Ok::<_, Infallible>(response.unwrap_or_default())
        };
        tokio::spawn(server::Builder::new().serve_connection(TokioIo::new(stream), service_fn(echo)));
    }
}

async fn load(url: &str, key: &str, connections: u64, seconds: u64, rate: u64) -> Result<()> {
    let start = Instant::now();
    let end = start + Duration::from_secs(seconds);
    let every = (rate > 0).then(|| Duration::from_secs_f64(connections as f64 / rate as f64));
    let mut tasks = tokio::task::JoinSet::new();
    for n in 0..connections {
        let first = start + every.unwrap_or_default().mul_f64(n as f64 / connections as f64);
        tasks.spawn(one(url.to_owned(), key.to_owned(), n, first, every, end));
    }
    let mut micros = Vec::new();
    while let Some(done) = tasks.join_next().await {
        micros.append(&mut done??);
    }
    micros.sort_unstable();
    let at = |p: f64| micros.get(((micros.len() as f64 * p) as usize).min(micros.len().saturating_sub(1))).copied().unwrap_or(0);
    let per_second = micros.len() as f64 / start.elapsed().as_secs_f64();
    println!(
        "{per_second:.0} calls/s, p50 {} us, p99 {} us, p99.9 {} us, {} calls, all answers right",
        at(0.5),
        at(0.99),
        at(0.999),
        micros.len()
    );
    Ok(())
}

async fn one(url: String, key: String, n: u64, first: Instant, every: Option<Duration>, end: Instant) -> Result<Vec<u64>> {
    let uri: hyper::Uri = url.parse()?;
    let host = uri.authority().ok_or("a URL with a host")?.to_string();
    let stream = TcpStream::connect(host.replace("localhost", "127.0.0.1")).await?;
    stream.set_nodelay(true)?;
    let (mut sender, connection) = client::handshake(TokioIo::new(stream)).await?;
    tokio::spawn(connection);
    let text = "x".repeat(1000);
    let (mut micros, mut due) = (Vec::new(), first);
    for call in 0u64.. {
        if every.is_some() {
            sleep_until(due).await;
        }
        let began = if every.is_some() { due } else { Instant::now() };
        if began >= end {
            break;
        }
        let id = n * 1_000_000_000 + call;
        let body = json!({ "jsonrpc": "2.0", "id": id, "method": "tools/call", "params": { "name": "echo", "arguments": { "n": id, "text": text } } });
        let request = Request::post(uri.path())
            .header("host", &host)
            .header("content-type", "application/json")
            .header("accept", "application/json, text/event-stream")
            .header("authorization", format!("Bearer {key}"))
            .body(Full::new(Bytes::from(body.to_string())))?;
        let answer = sender.send_request(request).await?.into_body().collect().await?.to_bytes();
        let answer: Value = serde_json::from_slice(&answer)?;
        if answer["id"] != id || answer["result"]["content"]["n"] != id {
            return Err(format!("a wrong answer to {id}: {answer}").into());
        }
        micros.push(began.elapsed().as_micros() as u64);
        due += every.unwrap_or_default();
    }
    Ok(micros)
}
