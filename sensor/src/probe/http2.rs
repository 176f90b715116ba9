//! HTTP/2 for the few servers that speak nothing else: a translator between our HTTP/1.1 bytes and their frames.
//!
//! What is asked, read, bounded and kept stays one thing (`http1`); here each request becomes one h2 stream, and its response is
//! told again as HTTP/1.1 that ends with the connection. Windows and header lists are small, so a peer cannot make us hold more.

use super::{http1::Caps, transport::Stream};
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::{Request, Response, body::Incoming, client::conn::http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use std::{
    io,
    pin::Pin,
    task::{Context, Poll},
};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, DuplexStream, ReadBuf},
    task::JoinHandle,
};

/// What may be on the way towards us.
const WINDOW: u32 = 64 << 10;
const BUFFER: usize = 16 << 10;
/// Our own questions are smaller.
const MAX_REQUEST: usize = 16 << 10;

/// The near end speaks HTTP/1.1, `wire` HTTP/2.
pub(super) fn translated(wire: Box<dyn Stream>, tls: bool) -> Box<dyn Stream> {
    let (near, far) = tokio::io::duplex(BUFFER);
    let task = tokio::spawn(async move {
        // What went wrong shows as a connection that ends.
        let _ = translate(far, wire, tls).await;
    });
    Box::new(Near { near, task })
}

struct Near {
    near: DuplexStream,
    task: JoinHandle<()>,
}

impl Drop for Near {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl AsyncRead for Near {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.near).poll_read(cx, buf)
    }
}

impl AsyncWrite for Near {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.near).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.near).poll_flush(cx)
    }

    /// Only our half of the bytes ends: the answer may still be on the way.
    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.near).poll_shutdown(cx)
    }
}

async fn translate(mut far: DuplexStream, wire: Box<dyn Stream>, tls: bool) -> Option<()> {
    let request = read_request(&mut far, tls).await?;
    let (mut send, connection) = http2::Builder::new(TokioExecutor::new())
        .initial_stream_window_size(WINDOW)
        .initial_connection_window_size(WINDOW)
        .max_header_list_size(u32::try_from(Caps::default().head).unwrap_or(u32::MAX))
        .max_send_buf_size(BUFFER)
        .handshake(TokioIo::new(wire))
        .await
        .ok()?;
    let talk = async {
        let response = send.send_request(request).await.ok()?;
        far.write_all(&head(&response)).await.ok()?;
        let mut body = response.into_body();
        while let Some(frame) = body.frame().await {
            if let Ok(data) = frame.ok()?.into_data() {
                far.write_all(&data).await.ok()?;
            }
        }
        far.shutdown().await.ok()
    };
    // The connection ends when it is over, and `talk` hears of it: what had arrived by then is still told.
    let driven = async {
        let _ = connection.await;
        std::future::pending().await
    };
    tokio::select! {
        biased;
        told = talk => told,
        never = driven => never,
    }
}

/// Our own request, back from its bytes.
async fn read_request(far: &mut DuplexStream, tls: bool) -> Option<Request<Full<Bytes>>> {
    let mut bytes = Vec::new();
    loop {
        let mut headers = [httparse::EMPTY_HEADER; 32];
        let mut parsed = httparse::Request::new(&mut headers);
        if let Ok(httparse::Status::Complete(end)) = parsed.parse(&bytes) {
            let header = |name: &str| {
                let found = parsed.headers.iter().find(|h| h.name.eq_ignore_ascii_case(name))?;
                std::str::from_utf8(found.value).ok()
            };
            let length: usize = header("content-length").and_then(|v| v.parse().ok()).unwrap_or(0);
            if let Some(body) = bytes.get(end..end.checked_add(length)?) {
                let scheme = if tls { "https" } else { "http" };
                let uri = format!("{scheme}://{}{}", header("host")?, parsed.path?);
                let mut request = Request::builder().method(parsed.method?).uri(uri);
                // Of the connection, not of the message (RFC 9113 §8.2.2).
                for h in
                    parsed.headers.iter().filter(|h| !h.name.eq_ignore_ascii_case("host") && !h.name.eq_ignore_ascii_case("connection"))
                {
                    request = request.header(h.name, h.value);
                }
                return request.body(Full::new(Bytes::copy_from_slice(body))).ok();
            }
        }
        if bytes.len() > MAX_REQUEST || far.read_buf(&mut bytes).await.ok()? == 0 {
            return None;
        }
    }
}

/// Without what frames an HTTP/1.1 body: it ends with the connection. Names and values hold no line ends, hyper sees to that.
fn head(response: &Response<Incoming>) -> Vec<u8> {
    let mut head = format!("HTTP/1.1 {} \r\n", response.status().as_u16()).into_bytes();
    for (name, value) in response.headers() {
        if !matches!(name.as_str(), "content-length" | "transfer-encoding" | "connection") {
            head.extend_from_slice(name.as_str().as_bytes());
            head.extend_from_slice(b": ");
            head.extend_from_slice(value.as_bytes());
            head.extend_from_slice(b"\r\n");
        }
    }
    head.extend_from_slice(b"\r\n");
    head
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::probe::{Hint, ScanConfig, probe_one};
    use hyper::{server::conn::http2 as server, service::service_fn};
    use rules::endpoint::Endpoint;

    /// One that answers HTTP/1.1 with SETTINGS and nothing else, as every server with prior knowledge only does.
    async fn only_http2() -> Endpoint {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let service = service_fn(|request: Request<Incoming>| async move {
                    let fine = request.uri().path() == "/mcp" && request.headers().get("mcp-method").is_some();
                    let body = request.into_body().collect().await.map(|b| b.to_bytes()).unwrap_or_default();
                    let said: serde_json::Value = serde_json::from_slice(&body).unwrap_or_default();
                    let answer = match said["method"].as_str() {
                        Some("server/discover") if fine => serde_json::json!({"result": {"supportedVersions": ["2026-07-28"]}}),
                        _ => serde_json::json!({"error": {"code": -32601, "message": "Method not found"}}),
                    };
                    let mut whole = serde_json::json!({"jsonrpc": "2.0", "id": said["id"]});
                    whole.as_object_mut().unwrap().extend(answer.as_object().unwrap().clone());
                    Ok::<_, hyper::Error>(Response::new(Full::new(Bytes::from(whole.to_string()))))
                });
                tokio::spawn(server::Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(stream), service));
            }
        });
        Endpoint::new("127.0.0.1".parse().unwrap(), port)
    }

    #[tokio::test]
    async fn a_server_that_speaks_http2_alone_is_found() {
        let config = ScanConfig { per_host_rate: 1000, ..ScanConfig::default() };
        let evidence = probe_one(only_http2().await, Hint::default(), &config).await;
        let signatures: Vec<_> = evidence.iter().map(|e| e.signature.as_str()).collect();
        assert!(signatures.contains(&"probe.server.discover-result") && signatures.contains(&"probe.control.refused"), "{signatures:?}");
    }

    /// Pings without end, continuations without end: the translator holds nothing, and patience ends it.
    #[tokio::test]
    async fn frames_without_end_are_no_server() {
        for flood in [&b"\0\0\x08\x06\0\0\0\0\0xxxxxxxx"[..], b"\0\0\x01\x09\0\0\0\0\x01a"] {
            let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
            let port = listener.local_addr().unwrap().port();
            tokio::spawn(async move {
                while let Ok((mut stream, _)) = listener.accept().await {
                    tokio::spawn(async move {
                        let _ = stream.write_all(b"\0\0\0\x04\0\0\0\0\0").await;
                        while stream.write_all(flood).await.is_ok() {}
                    });
                }
            });
            let config = ScanConfig { answer_ms: 300, slow_answer_ms: 300, per_host_rate: 1000, ..ScanConfig::default() };
            let asked = probe_one(Endpoint::new("127.0.0.1".parse().unwrap(), port), Hint::default(), &config);
            let evidence = tokio::time::timeout(std::time::Duration::from_secs(20), asked).await.unwrap();
            assert!(evidence.is_empty(), "{evidence:?}");
        }
    }
}
