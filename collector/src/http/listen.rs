//! Accepts connections: bounded in number, in time, and in the size of headers.

mod line;
mod share;

use super::peer::Peer;
use crate::losses::Loss;
use axum::{Extension, Router};
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use line::Line;
use share::{Share, Shares};
use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpStream},
    sync::Semaphore,
    task::JoinSet,
};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

const HANDSHAKE: Duration = Duration::from_secs(10);
/// From the first byte of a request to the end of its headers, and between two requests.
const HEADERS: Duration = Duration::from_secs(20);
const MAX_HEADERS: usize = 64;
const MAX_HEADER_BYTES: usize = 32 << 10;
/// How long a client may leave its answer unread.
const UNREAD: Duration = Duration::from_secs(30);
/// How long an answer may still take once we are told to stop.
const GOODBYE: Duration = Duration::from_secs(3);

/// Connections that were turned away or cut short, since the start.
#[derive(Debug, Default)]
pub(crate) struct TurnedAway {
    full: AtomicU64,
    share: AtomicU64,
    unread: AtomicU64,
}

impl TurnedAway {
    pub(crate) fn counts(&self) -> [(Loss, u64); 3] {
        let count = |n: &AtomicU64| n.load(Relaxed);
        [
            (Loss::ConnectionsFull, count(&self.full)),
            (Loss::ConnectionsOneAddress, count(&self.share)),
            (Loss::ConnectionsUnread, count(&self.unread)),
        ]
    }
}

/// The service on a port, and how many connections it takes at once.
#[derive(Clone)]
pub(crate) struct Listener {
    pub(crate) router: Router,
    pub(crate) tls: Option<TlsAcceptor>,
    pub(crate) most: usize,
    pub(crate) turned: Arc<TurnedAway>,
}

/// Serves until told to stop; then ends the requests under way.
pub(crate) async fn serve(socket: TcpListener, listener: Listener, stop: CancellationToken) {
    let permits = Arc::new(Semaphore::new(listener.most.max(1)));
    // A client without a certificate may be anybody, and one machine must not take the places of all sensors. Without TLS the port
    // is on loopback, and everybody has the same address.
    let shares = Shares::new(if listener.tls.is_some() { listener.most / 8 } else { listener.most });
    let mut open = JoinSet::new();
    loop {
        let (stream, from) = tokio::select! {
            () = stop.cancelled() => break,
            accepted = socket.accept() => match accepted {
                Ok(accepted) => accepted,
                Err(why) => {
                    // Out of descriptors, mostly: others must end first.
                    tracing::warn!(%why, "a connection could not be accepted");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                    continue;
                }
            },
        };
        while open.try_join_next().is_some() {}
        let Ok(permit) = permits.clone().try_acquire_owned() else {
            // Refused at once: waiting would let a few slow ones hold everybody.
            listener.turned.full.fetch_add(1, Relaxed);
            continue;
        };
        let Some(share) = shares.take(from.ip()) else {
            listener.turned.share.fetch_add(1, Relaxed);
            continue;
        };
        let (listener, stop) = (listener.clone(), stop.clone());
        open.spawn(async move {
            connection(stream, share, listener, stop).await;
            drop(permit);
        });
    }
    drop(socket);
    let ended = async { while open.join_next().await.is_some() {} };
    if tokio::time::timeout(GOODBYE, ended).await.is_err() {
        open.abort_all();
    }
}

async fn connection(stream: TcpStream, share: Share, listener: Listener, stop: CancellationToken) {
    let _ = stream.set_nodelay(true);
    let stream = Line::new(stream, UNREAD, listener.turned);
    let Some(tls) = listener.tls else { return http(stream, listener.router, stop).await };
    let Ok(Ok(stream)) = tokio::time::timeout(HANDSHAKE, tls.accept(stream)).await else { return };
    let peer = stream.get_ref().1.peer_certificates().and_then(|chain| chain.first()).and_then(Peer::of);
    // Many sensors may be behind one address: each that shows its certificate is itself.
    let _held = peer.is_none().then_some(share);
    http(stream, listener.router.layer(Extension(peer)), stop).await;
}

async fn http<S: AsyncRead + AsyncWrite + Unpin + Send + 'static>(stream: S, router: Router, stop: CancellationToken) {
    let mut http = hyper::server::conn::http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(HEADERS).max_headers(MAX_HEADERS).max_buf_size(MAX_HEADER_BYTES);
    let serving = http.serve_connection(TokioIo::new(stream), TowerToHyperService::new(router));
    tokio::pin!(serving);
    tokio::select! {
        _ = serving.as_mut() => return,
        () = stop.cancelled() => serving.as_mut().graceful_shutdown(),
    }
    let _ = serving.await;
}
