//! Opening a connection to a backend.

use super::{cause::chain_of, target::Target};
use bytes::Bytes;
use http_body_util::Full;
use hyper::client::conn::http1::{Builder, SendRequest};
use hyper_util::rt::TokioIo;
use rustls::{ClientConfig, RootCertStore, pki_types::ServerName};
use std::{net::SocketAddr, path::PathBuf, sync::Arc, time::Duration};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
    task::AbortHandle,
    time::timeout,
};
use tokio_rustls::TlsConnector;

/// Bytes of an answer's head.
const MAX_HEAD: usize = 256 << 10;

pub(super) type Opened = (SendRequest<Full<Bytes>>, SocketAddr, AbortHandle);

/// The text behind the error says which step failed. Each step may take `within`.
pub(super) async fn open(target: &Target, tls: Option<Arc<ClientConfig>>, within: Duration) -> Result<Opened, String> {
    let late = || format!("no answer within {}", rules::period::Period(within));
    let addresses = timeout(within, target.addresses()).await.map_err(|_| late())??;
    let mut why = String::new();
    for address in addresses {
        let stream = match timeout(within, TcpStream::connect(address)).await {
            Ok(Ok(stream)) => stream,
            Ok(Err(e)) => {
                why = format!("{address}: {e}");
                continue;
            }
            Err(_) => {
                why = format!("{address}: {}", late());
                continue;
            }
        };
        let _ = stream.set_nodelay(true);
        let (sender, driver) = match tls {
            None => http(stream).await?,
            Some(tls) => {
                let name = ServerName::try_from(target.host.clone()).map_err(|e| e.to_string())?;
                let handshake = TlsConnector::from(tls).connect(name, stream);
                let stream = timeout(within, handshake).await.map_err(|_| format!("{address}: TLS: {}", late()))?;
                http(stream.map_err(|e| format!("{address}: TLS: {}", chain_of(&e)))?).await?
            }
        };
        return Ok((sender, address, driver));
    }
    Err(why)
}

async fn http(io: impl AsyncRead + AsyncWrite + Send + Unpin + 'static) -> Result<(SendRequest<Full<Bytes>>, AbortHandle), String> {
    let (sender, connection) = Builder::new().max_buf_size(MAX_HEAD).handshake(TokioIo::new(io)).await.map_err(|e| chain_of(&e))?;
    let driver = tokio::spawn(async move {
        if let Err(why) = connection.await {
            tracing::debug!(why = %chain_of(&why), "a connection to a backend ended");
        }
    });
    Ok((sender, driver.abort_handle()))
}

/// Trusts `roots` (PEM files), or the system's when there are none.
pub(super) fn tls(roots: &[PathBuf]) -> Result<Arc<ClientConfig>, String> {
    use rustls::pki_types::{CertificateDer, pem::PemObject};
    let mut store = RootCertStore::empty();
    for path in roots {
        let read = |e: rustls::pki_types::pem::Error| format!("root certificates in {}: {e}", path.display());
        for certificate in CertificateDer::pem_file_iter(path).map_err(read)? {
            store.add(certificate.map_err(read)?).map_err(|e| format!("a root certificate in {}: {e}", path.display()))?;
        }
    }
    if roots.is_empty() {
        store.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    }
    if store.is_empty() {
        return Err("no root certificate is trusted: name some in forward.roots".into());
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().map_err(|e| e.to_string())?;
    let mut config = config.with_root_certificates(store).with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}
