//! A gateway with its policy: who may do what to which backends, signed as the collector would.

use crate::{
    backend::Backend,
    client::{Ask, Got},
};
use base64::{Engine, prelude::BASE64_STANDARD};
use gateway::{
    Config, Running,
    audit::{self, Line, LogEntry, Outcome, Record},
};
use ring::{
    hmac,
    signature::{Ed25519KeyPair, KeyPair},
};
use rules::{
    Timestamp,
    access::Grant,
    registry::{Backend as Registered, Lifecycle, Registration, Registry},
    wire::v1::{Bundle, Signed, Tenant},
};
use sha2::{Digest, Sha256};
use std::{net::SocketAddr, path::PathBuf, sync::Arc};
use tempfile::TempDir;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

const SECRET: &[u8] = b"a tenant's secret, 32 bytes long";
const SEED: [u8; 32] = [7; 32];

pub struct Site {
    pub bundle: Bundle,
    dir: TempDir,
    offered: watch::Sender<Option<Arc<Signed>>>,
    running: Option<Running>,
    pub shutdown: CancellationToken,
    pub address: SocketAddr,
}

/// What a site is made of before it runs.
pub struct Plan {
    pub bundle: Bundle,
    pub config: Config,
    /// Whether a collector offers the bundle at the start.
    offers: bool,
}

impl Plan {
    pub fn new() -> Plan {
        let bundle = Bundle { generation: 1, registry: Registry::default(), grants: Vec::new(), tenants: Vec::new() };
        let config = Config { listen: "127.0.0.1:0".parse().unwrap(), bundle_keys: vec![public_key()], ..Config::default() };
        Plan { bundle, config, offers: true }
    }

    pub fn server(self, slug: &str, backend: &Backend) -> Plan {
        self.server_at(slug, &backend.url, &[])
    }

    pub fn server_at(mut self, slug: &str, url: &str, pinned: &[&str]) -> Plan {
        self.bundle.registry.registrations.insert(slug.into(), registration(slug, url, pinned));
        self
    }

    /// `principal` (`tenant/nonce`) may use these tools of that server, and its key stands.
    pub fn grant(mut self, principal: &str, slug: &str, tools: &[&str]) -> Plan {
        let (tenant, nonce) = principal.split_once('/').unwrap();
        self.tenant(tenant, nonce);
        self.bundle.grants.push(Grant {
            id: format!("{nonce}-{slug}"),
            tenant: tenant.into(),
            subject: Some(nonce.into()),
            slug: slug.into(),
            tools: tools.iter().map(|t| t.to_string()).collect(),
        });
        self
    }

    pub fn tenant(&mut self, tenant: &str, nonce: &str) {
        match self.bundle.tenants.iter_mut().find(|t| t.name == tenant) {
            Some(t) => t.keys.push(nonce.into()),
            None => self.bundle.tenants.push(Tenant {
                name: tenant.into(),
                secrets: vec![BASE64_STANDARD.encode(SECRET)],
                keys: vec![nonce.into()],
            }),
        }
    }

    pub fn config(mut self, change: impl FnOnce(&mut Config)) -> Plan {
        change(&mut self.config);
        self
    }

    pub fn lifecycle(mut self, slug: &str, lifecycle: Lifecycle) -> Plan {
        self.bundle.registry.registrations.get_mut(slug).unwrap().lifecycle = lifecycle;
        self
    }

    pub fn silent(mut self) -> Plan {
        self.offers = false;
        self
    }

    pub async fn run(self) -> Site {
        let dir = tempfile::tempdir().unwrap();
        self.run_in(dir).await
    }

    pub async fn run_in(self, dir: TempDir) -> Site {
        let config = Config { data: dir.path().to_owned(), ..self.config };
        let (offered, bundle) = watch::channel(self.offers.then(|| Arc::new(sign(&self.bundle))));
        let shutdown = CancellationToken::new();
        let running = gateway::start(config, bundle, shutdown.clone()).await.unwrap();
        let address = running.address();
        let site = Site { bundle: self.bundle, dir, offered, running: Some(running), shutdown, address };
        site.in_force(site.bundle.generation).await;
        site
    }
}

/// `files` before one backend; `acme/n1` may use all of its tools.
pub async fn simple(backend: &Backend) -> Site {
    Plan::new().server("files", backend).grant("acme/n1", "files", &["*"]).run().await
}

impl Site {
    pub async fn send(&self, ask: Ask) -> Got {
        ask.send(self.address).await
    }

    /// Changes the policy, and waits until the gateway goes by it.
    pub async fn change(&mut self, change: impl FnOnce(&mut Bundle)) {
        change(&mut self.bundle);
        self.bundle.generation += 1;
        self.offer(sign(&self.bundle));
        self.in_force(self.bundle.generation).await;
    }

    pub fn offer(&self, signed: Signed) {
        self.offered.send_replace(Some(Arc::new(signed)));
    }

    pub async fn generation(&self) -> u64 {
        self.send(Ask::bare("GET").at("/healthz")).await.json()["generation"].as_u64().unwrap_or(0)
    }

    async fn in_force(&self, generation: u64) {
        while self.generation().await != generation {
            tokio::task::yield_now().await;
        }
    }

    pub fn audit_dir(&self) -> PathBuf {
        self.dir.path().join("audit")
    }

    /// Stops the gateway: then every record is on the disk.
    pub async fn stop(&mut self) -> Vec<Line> {
        self.shutdown.cancel();
        self.running.take().unwrap().wait().await.unwrap();
        let mut lines = Vec::new();
        audit::read(&self.audit_dir(), |line| lines.push(line)).unwrap();
        lines
    }

    pub async fn records(&mut self) -> Vec<Record> {
        let calls = self.stop().await.into_iter().filter_map(|l| match l.entry {
            LogEntry::Call(record) => Some(*record),
            LogEntry::Gap(_) => None,
        });
        calls.collect()
    }

    /// The only record of this call.
    pub async fn record(&mut self, call: &str) -> Record {
        let mut records = self.records().await;
        records.retain(|r| r.call == call);
        assert_eq!(records.len(), 1, "one call, one record");
        records.remove(0)
    }

    pub async fn outcome(&mut self, got: &Got) -> Outcome {
        let record = self.record(got.call()).await;
        assert_eq!(record.status, got.status);
        record.outcome
    }

    pub fn into_dir(self) -> TempDir {
        self.dir
    }
}

pub fn registration(slug: &str, url: &str, pinned: &[&str]) -> Registration {
    Registration {
        slug: slug.into(),
        name: slug.into(),
        description: String::new(),
        version: "1.0.0".into(),
        owner: "team".into(),
        contact: "team@corp.example".into(),
        backends: vec![Registered { url: url.parse().unwrap(), addresses: pinned.iter().map(|a| a.parse().unwrap()).collect() }],
        transport: None,
        lifecycle: Lifecycle::Active,
        tools: Default::default(),
        revision: 3,
        registered_at: Timestamp::UNIX_EPOCH,
        registered_by: "team".into(),
    }
}

/// The key of `tenant/nonce`.
pub fn key(principal: &str) -> String {
    key_with(SECRET, principal)
}

pub fn key_with(secret: &[u8], principal: &str) -> String {
    let message = principal.replace('/', ".");
    let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, secret), message.as_bytes());
    format!("{message}.{}", hex(tag.as_ref()))
}

pub fn sign(bundle: &Bundle) -> Signed {
    sign_as(bundle, Signed::BUNDLE, &SEED)
}

pub fn sign_as(bundle: &Bundle, domain: &str, seed: &[u8; 32]) -> Signed {
    let pair = Ed25519KeyPair::from_seed_unchecked(seed).unwrap();
    let payload = serde_json::to_vec(bundle).unwrap();
    let signature = pair.sign(&[domain.as_bytes(), &[0], &payload].concat());
    Signed {
        domain: domain.into(),
        key_id: hex(&Sha256::digest(pair.public_key().as_ref()))[..16].into(),
        payload: BASE64_STANDARD.encode(payload),
        signature: BASE64_STANDARD.encode(signature.as_ref()),
    }
}

fn public_key() -> String {
    BASE64_STANDARD.encode(Ed25519KeyPair::from_seed_unchecked(&SEED).unwrap().public_key().as_ref())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}
