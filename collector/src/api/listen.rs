//! Accepts connections: bounded in number, in time, in the size of what comes before a body.

use super::peer::Peer;
use axum::{Extension, Router};
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use std::{sync::Arc, time::Duration};
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
/// How long an answer may still take once we are told to stop.
const GOODBYE: Duration = Duration::from_secs(3);

/// Serves `router` until told to stop; then ends what is under way.
pub(crate) async fn serve(listener: TcpListener, tls: Option<TlsAcceptor>, router: Router, connections: usize, stop: CancellationToken) {
    let permits = Arc::new(Semaphore::new(connections.max(1)));
    let mut open = JoinSet::new();
    loop {
        let stream = tokio::select! {
            () = stop.cancelled() => break,
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => stream,
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
            drop(stream);
            continue;
        };
        let (tls, router, stop) = (tls.clone(), router.clone(), stop.clone());
        open.spawn(async move {
            connection(stream, tls, router, stop).await;
            drop(permit);
        });
    }
    drop(listener);
    let ended = async { while open.join_next().await.is_some() {} };
    if tokio::time::timeout(GOODBYE, ended).await.is_err() {
        open.abort_all();
    }
}

async fn connection(stream: TcpStream, tls: Option<TlsAcceptor>, router: Router, stop: CancellationToken) {
    let _ = stream.set_nodelay(true);
    let Some(tls) = tls else { return http(stream, router, stop).await };
    let Ok(Ok(stream)) = tokio::time::timeout(HANDSHAKE, tls.accept(stream)).await else { return };
    let peer = stream.get_ref().1.peer_certificates().and_then(|chain| chain.first()).and_then(Peer::of);
    http(stream, router.layer(Extension(peer)), stop).await;
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
