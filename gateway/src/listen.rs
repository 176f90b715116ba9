//! The door: accepts connections, bounded in number and in the time a client may take.

use crate::{Error, bundle::Book, config::Bounds};
use bytes::Bytes;
use http_body_util::Full;
use hyper::{Request, Response, StatusCode, body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use std::{convert::Infallible, net::SocketAddr, pin::pin, sync::Arc};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{Semaphore, watch},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

pub(crate) async fn bind(address: SocketAddr) -> Result<TcpListener, Error> {
    TcpListener::bind(address).await.map_err(|source| Error::Listen { address, source })
}

pub(crate) async fn serve(listener: TcpListener, bounds: Bounds, book: watch::Receiver<Option<Arc<Book>>>, shutdown: CancellationToken) {
    let slots = Arc::new(Semaphore::new(bounds.connections));
    let connections = TaskTracker::new();
    loop {
        let accepted = tokio::select! {
            () = shutdown.cancelled() => break,
            accepted = listener.accept() => accepted,
        };
        let Ok((stream, _)) = accepted else { continue };
        let Ok(slot) = slots.clone().try_acquire_owned() else { continue };
        let (bounds, book, shutdown) = (bounds.clone(), book.clone(), shutdown.clone());
        connections.spawn(async move {
            connection(stream, &bounds, book, shutdown).await;
            drop(slot);
        });
    }
    connections.close();
    connections.wait().await;
}

async fn connection(stream: TcpStream, bounds: &Bounds, book: watch::Receiver<Option<Arc<Book>>>, shutdown: CancellationToken) {
    let service = service_fn(move |request: Request<Incoming>| {
        let book = book.borrow().clone();
        async move { Ok::<_, Infallible>(answer(request.uri().path(), book.as_deref())) }
    });
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(bounds.head_time.0).max_buf_size(bounds.head_bytes).max_headers(bounds.headers);
    let mut exchange = pin!(http.serve_connection(TokioIo::new(stream), service));
    tokio::select! {
        _ = exchange.as_mut() => return,
        () = shutdown.cancelled() => exchange.as_mut().graceful_shutdown(),
    }
    let _ = tokio::time::timeout(bounds.drain_time.0, exchange).await;
}

fn answer(path: &str, book: Option<&Book>) -> Response<Full<Bytes>> {
    let (status, text) = match (path, book) {
        ("/healthz", Some(book)) => (StatusCode::OK, format!("{{\"status\":\"ok\",\"generation\":{}}}\n", book.generation())),
        ("/healthz", None) => (StatusCode::SERVICE_UNAVAILABLE, "{\"status\":\"no bundle yet\"}\n".to_owned()),
        _ => (StatusCode::NOT_FOUND, "{\"error\":\"nothing is served here\"}\n".to_owned()),
    };
    let mut response = Response::new(Full::from(text));
    *response.status_mut() = status;
    response
}
