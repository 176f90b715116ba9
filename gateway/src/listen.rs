//! The counters: accepts connections, bounded in number and in the time a client may take.

mod framing;
mod line;

use crate::{
    Error,
    answer::Body,
    metrics::{self, ListenerCounters},
    pipeline::{self, Ambiguous, Gateway},
    route::{Route, route},
};
use hyper::{
    Method, Request, Response,
    body::Incoming,
    header::{CONNECTION, HeaderValue},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::{TokioIo, TokioTimer};
use line::{ConnectionFlags, Line};
use std::{
    convert::Infallible,
    net::SocketAddr,
    pin::pin,
    sync::{Arc, atomic::Ordering::Relaxed},
    time::Duration,
};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::Semaphore,
};
use tokio_util::task::TaskTracker;

/// All that is said to who comes when too many are there.
const FULL: &[u8] = b"HTTP/1.1 503 Service Unavailable\r\ncontent-type: application/json\r\nretry-after: 5\r\nconnection: close\r\ncontent-length: 154\r\n\r\n\
{\"error\":\"too many connections are open\",\"whose\":\"gateway\",\"what_to_do\":\"try again later, and keep connections open between calls\",\"rule\":\"door.full\"}   \n";

pub(crate) async fn bind(address: SocketAddr) -> Result<TcpListener, Error> {
    TcpListener::bind(address).await.map_err(|source| Error::Listen { address, source })
}

/// Until the gateway closes; then open HTTP transactions have [`crate::config::Bounds::drain_time`] to end.
pub(crate) async fn serve(listener: TcpListener, gateway: Arc<Gateway>) {
    let counters = Arc::new(ListenerCounters::default());
    let slots = Arc::new(Semaphore::new(gateway.bounds.connections));
    let connections = TaskTracker::new();
    loop {
        let accepted = tokio::select! {
            () = gateway.closing.cancelled() => break,
            accepted = listener.accept() => accepted,
        };
        let Ok((stream, peer)) = accepted else {
            // Out of file descriptors, most likely: accepting again at once would spin.
            counters.failed.fetch_add(1, Relaxed);
            tokio::time::sleep(Duration::from_millis(50)).await;
            continue;
        };
        let Ok(slot) = slots.clone().try_acquire_owned() else {
            counters.full.fetch_add(1, Relaxed);
            let _ = stream.try_write(FULL);
            continue;
        };
        counters.accepted.fetch_add(1, Relaxed);
        counters.open.fetch_add(1, Relaxed);
        let (gateway, counters) = (gateway.clone(), counters.clone());
        connections.spawn(async move {
            connection(stream, peer, &gateway, &counters).await;
            counters.open.fetch_sub(1, Relaxed);
            drop(slot);
        });
    }
    drop(listener);
    connections.close();
    connections.wait().await;
}

async fn connection(stream: TcpStream, peer: SocketAddr, gateway: &Gateway, counters: &ListenerCounters) {
    let Ok(local) = stream.local_addr() else { return };
    let _ = stream.set_nodelay(true);
    keep_alive(&stream);
    let bounds = &gateway.bounds;
    let known = Arc::new(ConnectionFlags::default());
    let line = Line::new(stream, bounds.head_bytes, bounds.write_time.0, known.clone());
    let seen = &known;
    let service = service_fn(|mut request: Request<Incoming>| async move {
        if seen.ambiguous.load(Relaxed) {
            request.extensions_mut().insert(Ambiguous);
        }
        let mut response = answer(gateway, counters, peer, local, request).await;
        if seen.last.load(Relaxed) || seen.ambiguous.load(Relaxed) {
            response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
        }
        Ok::<_, Infallible>(response)
    });
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new())
        .header_read_timeout(bounds.head_time.0)
        .max_buf_size(bounds.head_bytes.max(8192))
        .max_headers(bounds.headers);
    let mut exchange = pin!(http.serve_connection(TokioIo::new(line), service));
    let ended = tokio::select! {
        ended = exchange.as_mut() => Some(ended),
        () = gateway.closing.cancelled() => {
            exchange.as_mut().graceful_shutdown();
            tokio::time::timeout(bounds.drain_time.0, exchange).await.ok()
        }
    };
    match ended {
        Some(Err(_)) if known.unread.load(Relaxed) => drop(counters.unread.fetch_add(1, Relaxed)),
        Some(Err(why)) if why.is_parse() => {
            counters.malformed.fetch_add(1, Relaxed);
            tracing::debug!(%peer, %why, "a connection was no HTTP that can be served");
        }
        Some(Err(why)) if why.is_timeout() => drop(counters.silent.fetch_add(1, Relaxed)),
        _ => {}
    }
}

/// A client that vanished without a word (RFC 9293 §3.8.4) must not hold its place behind a silent stream.
fn keep_alive(stream: &TcpStream) {
    use nix::sys::socket::{setsockopt, sockopt};
    let set = setsockopt(stream, sockopt::KeepAlive, &true)
        .and_then(|()| setsockopt(stream, sockopt::TcpKeepIdle, &60))
        .and_then(|()| setsockopt(stream, sockopt::TcpKeepInterval, &15))
        .and_then(|()| setsockopt(stream, sockopt::TcpKeepCount, &4));
    if let Err(why) = set {
        tracing::debug!(%why, "keep-alive is not available on this socket");
    }
}

async fn answer(
    gateway: &Gateway,
    counters: &ListenerCounters,
    peer: SocketAddr,
    local: SocketAddr,
    request: Request<Incoming>,
) -> Response<Body> {
    let target = request.uri().path_and_query().map_or("", |t| t.as_str());
    let ours = request.method() == Method::GET && gateway.host_check.check(request.uri(), request.headers(), local.ip()).is_ok();
    match route(target) {
        Route::Health if ours => metrics::health(gateway),
        Route::Metrics if ours && peer.ip().to_canonical().is_loopback() => metrics::metrics(gateway, counters),
        _ => pipeline::serve(gateway, peer, local, request).await,
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_answer_at_a_full_door_is_as_long_as_it_says() {
        let text = std::str::from_utf8(super::FULL).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        assert!(head.contains(&format!("content-length: {}", body.len())), "{}", body.len());
        assert!(serde_json::from_str::<serde_json::Value>(body).is_ok());
    }
}
