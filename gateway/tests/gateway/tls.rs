//! Backends by https: only those whose certificate fits their name, under a root that is trusted.

use crate::{
    backend::Backend,
    client::{Ask, call},
    site::{Plan, key},
};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::{ServerConfig, pki_types::PrivatePkcs8KeyDer};
use std::{fs, sync::Arc};
use tokio::{
    io::copy_bidirectional,
    net::{TcpListener, TcpStream},
};
use tokio_rustls::TlsAcceptor;

type Root = CertifiedIssuer<'static, KeyPair>;

fn root() -> Root {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

/// TLS for `name`, in front of `backend`.
async fn secured(backend: &Backend, root: &Root, name: &str) -> u16 {
    let leaf = KeyPair::generate().unwrap();
    let certificate = CertificateParams::new(vec![name.to_owned()]).unwrap().signed_by(&leaf, root).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap().with_no_client_auth();
    let key = PrivatePkcs8KeyDer::from(leaf.serialize_der());
    let acceptor = TlsAcceptor::from(Arc::new(config.with_single_cert(vec![certificate.der().clone()], key.into()).unwrap()));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (port, inner) = (listener.local_addr().unwrap().port(), backend.port);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let acceptor = acceptor.clone();
            tokio::spawn(async move {
                let (Ok(mut outer), Ok(mut inner)) = (acceptor.accept(stream).await, TcpStream::connect(("127.0.0.1", inner)).await) else {
                    return;
                };
                let _ = copy_bidirectional(&mut outer, &mut inner).await;
            });
        }
    });
    port
}

#[tokio::test]
async fn a_certificate_fits_name_and_root_or_nothing_is_sent() {
    let (ours, theirs) = (root(), root());
    let dir = tempfile::tempdir().unwrap();
    let roots = dir.path().join("roots.pem");
    fs::write(&roots, ours.pem()).unwrap();
    let backend = Backend::echo().await;
    let mut plan = Plan::new().config(|c| c.forward.roots = vec![roots]);
    for (slug, root, name) in
        [("good", &ours, "tools.corp.invalid"), ("stranger", &theirs, "tools.corp.invalid"), ("other", &ours, "mail.corp.invalid")]
    {
        let port = secured(&backend, root, name).await;
        plan = plan.server_at(slug, &format!("https://tools.corp.invalid:{port}/mcp"), &["127.0.0.1"]).grant("acme/n1", slug, &["*"]);
    }
    let site = plan.run().await;
    let ask = |slug: &str| Ask::post(call("read")).at(&format!("/mcp/v1/tools/{slug}/rpc")).key(&key("acme/n1"));
    assert_eq!(site.send(ask("good")).await.status, 200);
    assert_eq!(backend.asked().len(), 1);
    for slug in ["stranger", "other"] {
        let got = site.send(ask(slug)).await;
        assert_eq!((got.status, got.rule().as_str()), (502, "forward.unreachable"));
        assert!(got.text().contains("certificate"), "{}", got.text());
    }
    assert_eq!(backend.asked().len(), 1);
}
