//! The rounds against a server on loopback.

use super::*;
use crate::probe::ScanConfig;
use rules::{endpoint::Place, evidence::Source};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// A server on a path nobody guesses is found because the wire named it; the wire's word is passed on first.
#[tokio::test]
async fn where_the_wire_points_the_probe_asks() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut request = vec![0; 8192];
            let count = stream.read(&mut request).await.unwrap();
            let text = String::from_utf8_lossy(&request[..count]).into_owned();
            let id = text.split("\"id\":\"").nth(1).and_then(|t| t.split('"').next()).unwrap_or_default().to_owned();
            let (status, body) = match (text.contains("POST /finance/tools "), text.contains("server/discover")) {
                (true, true) => ("200 OK", format!(r#"{{"jsonrpc":"2.0","id":"{id}","result":{{"supportedVersions":["2026-07-28"]}}}}"#)),
                (true, false) => ("404 Not Found", format!(r#"{{"jsonrpc":"2.0","id":"{id}","error":{{"code":-32601,"message":"no"}}}}"#)),
                _ => ("404 Not Found", String::new()),
            };
            let head = format!("HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n", body.len());
            stream.write_all(format!("{head}{body}").as_bytes()).await.unwrap();
        }
    });
    let scan = ScanConfig { targets: vec!["127.0.0.1".into()], ports: vec![1], per_host_rate: 1000, ..ScanConfig::default() };
    let (wire, heard) = mpsc::channel(4);
    let (tell, mut said) = mpsc::channel(64);
    let shutdown = CancellationToken::new();
    let running = tokio::spawn(run("s1".into(), Config { scan, ..Config::default() }, heard, tell, shutdown.clone()));
    let place = Place::new(format!("127.0.0.1:{port}").parse().unwrap()).with_target("/finance/tools");
    wire.send(accounts::reported(Evidence::new(place, Source::Wire, "wire.client.initialize", Timestamp::UNIX_EPOCH))).await.unwrap();
    let mut signatures = Vec::new();
    while signatures.len() < 3 {
        if let (_, Said::Evidence(e)) = said.recv().await.unwrap() {
            signatures.push(e.signature);
        }
    }
    assert_eq!(signatures, ["wire.client.initialize", "probe.server.discover-result", "probe.control.refused"]);
    drop(wire);
    shutdown.cancel();
    running.await.unwrap();
}
