//! A gateway by itself, with a policy made up on the spot: for trying it out, conformance runs and measurements.
//!
//! `cargo run -p gateway --example front -- http://127.0.0.1:3011/mcp [LISTEN] [TOOL…]` prints the URL and a key, and serves until Ctrl-C.

use base64::{Engine, prelude::BASE64_STANDARD};
use gateway::Config;
use ring::{
    hmac,
    rand::{SecureRandom, SystemRandom},
    signature::{Ed25519KeyPair, KeyPair},
};
use rules::{
    Timestamp,
    access::Grant,
    registry::{Backend, Registration, Registry},
    wire::v1::{Bundle, Signed, Tenant},
};
use sha2::{Digest, Sha256};
use std::{error::Error, sync::Arc};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut args = std::env::args().skip(1);
    let backend = args.next().ok_or("name a backend's URL")?;
    let listen = args.next().unwrap_or("127.0.0.1:7413".into());
    let tools: Vec<String> = args.collect();
    let mut chance = [0; 64];
    SystemRandom::new().fill(&mut chance).map_err(|_| "no random bytes")?;
    let (seed, secret) = chance.split_at(32);
    let pair = Ed25519KeyPair::from_seed_unchecked(seed).map_err(|e| e.to_string())?;

    let signed = sign(&pair, &policy(&backend, secret, tools)?)?;
    let dir = tempfile::tempdir()?;
    let mut config = Config { listen: listen.parse()?, data: dir.path().to_owned(), ..Config::default() };
    config.bundle_keys = vec![BASE64_STANDARD.encode(pair.public_key())];
    config.limit.per_minute = 0;
    let (_offer, bundle) = watch::channel(Some(Arc::new(signed)));
    let shutdown = CancellationToken::new();
    let running = gateway::start(config, bundle, shutdown.clone()).await?;
    let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, secret), b"demo.key");
    println!("http://localhost:{}/mcp/v1/tools/demo/rpc", running.address().port());
    println!("demo.key.{}", hex(tag.as_ref()));
    tokio::signal::ctrl_c().await?;
    shutdown.cancel();
    running.wait().await?;
    let report = gateway::audit::verify(&dir.path().join("audit"))?;
    println!("{} audit records, chain {}", report.lines, if report.holds() { "holds" } else { "BROKEN" });
    Ok(())
}

fn policy(backend: &str, secret: &[u8], tools: Vec<String>) -> Result<Bundle, Box<dyn Error>> {
    let registration = Registration {
        slug: "demo".into(),
        name: "demo".into(),
        description: String::new(),
        version: "1.0.0".into(),
        owner: "you".into(),
        contact: "you".into(),
        backends: vec![Backend { url: backend.parse()?, addresses: Default::default() }],
        transport: None,
        lifecycle: Default::default(),
        tools: Default::default(),
        revision: 1,
        registered_at: Timestamp::UNIX_EPOCH,
        registered_by: "you".into(),
    };
    let tools = if tools.is_empty() { vec!["*".into()] } else { tools };
    Ok(Bundle {
        generation: 1,
        registry: Registry { revision: 1, registrations: [("demo".to_owned(), registration)].into() },
        grants: vec![Grant { id: "demo".into(), tenant: "demo".into(), subject: None, slug: "demo".into(), tools }],
        tenants: vec![Tenant { name: "demo".into(), secrets: vec![BASE64_STANDARD.encode(secret)], keys: vec!["key".into()] }],
    })
}

fn sign(pair: &Ed25519KeyPair, bundle: &Bundle) -> Result<Signed, Box<dyn Error>> {
    let payload = serde_json::to_vec(bundle)?;
    let signature = pair.sign(&[Signed::BUNDLE.as_bytes(), &[0], &payload].concat());
    Ok(Signed {
        domain: Signed::BUNDLE.into(),
        key_id: hex(&Sha256::digest(pair.public_key())).chars().take(16).collect(),
        payload: BASE64_STANDARD.encode(payload),
        signature: BASE64_STANDARD.encode(signature),
    })
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}
