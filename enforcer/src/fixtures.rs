//! Sets and keys for the tests of this crate.

use crate::facts::{Facts, Session};
use base64::{Engine, engine::general_purpose::STANDARD};
use ring::signature::{Ed25519KeyPair, KeyPair};
use rules::{
    Timestamp,
    decision::{Action, Decision, DecisionSet},
    endpoint::Endpoint,
    finding::{FindingId, FindingKind},
    period::Period,
    wire::v1::Signed,
};

pub(crate) const T0: &str = "2026-11-21T00:00:00Z";

pub(crate) fn t0() -> Timestamp {
    T0.parse().unwrap()
}

pub(crate) fn decision(endpoint: &str, action: Action) -> Decision {
    let endpoint: Endpoint = endpoint.parse().unwrap();
    let finding = FindingId::derive(FindingKind::Shadow, &endpoint.to_string());
    Decision { endpoint, finding, action, reason: "unregistered".into(), since: t0(), at: vec![] }
}

pub(crate) fn set(generation: u64, blocked: &[&str]) -> DecisionSet {
    DecisionSet {
        site: "default".into(),
        generation,
        issued_at: t0(),
        not_after: Period::days(7).after(t0()),
        agents: vec!["10.1.0.0/16".parse().unwrap(), "fd01::/32".parse().unwrap()],
        protected: vec!["10.9.0.0/24".parse().unwrap()],
        protected_endpoints: vec!["10.2.0.9:7413".parse().unwrap()],
        lease: Period::seconds(900),
        decisions: blocked.iter().map(|e| decision(e, Action::Block)).collect(),
        rollout: None,
    }
}

pub(crate) fn facts() -> Facts {
    let set = |list: &[&str]| list.iter().map(|a| a.parse().unwrap()).collect();
    Facts {
        own: set(&["127.0.0.1", "10.1.0.7", "fd01::7"]),
        gateways: set(&["10.1.0.1", "fe80::1"]),
        resolvers: set(&["10.1.0.53"]),
        ssh_sessions: [Session { local: "10.1.0.7:22".parse().unwrap(), peer: "10.1.0.99:54321".parse().unwrap() }].into(),
        unknown: vec![],
        blind: false,
    }
}

pub(crate) fn key(seed: u8) -> Ed25519KeyPair {
    Ed25519KeyPair::from_seed_unchecked(&[seed; 32]).unwrap()
}

pub(crate) fn sign(payload: &[u8], seed: u8) -> Signed {
    let message = [Signed::DECISIONS.as_bytes(), &[0], payload].concat();
    Signed {
        domain: Signed::DECISIONS.into(),
        key_id: crate::intake::key_id(key(seed).public_key().as_ref()),
        payload: STANDARD.encode(payload),
        signature: STANDARD.encode(key(seed).sign(&message)),
    }
}

pub(crate) fn signed(set: &DecisionSet) -> Signed {
    sign(&serde_json::to_vec(set).unwrap(), 1)
}

/// A linear congruential generator (Knuth's MMIX constants): seeded, printable, and enough for cases.
pub(crate) struct Chance(pub(crate) u64);

impl Chance {
    pub(crate) fn below(&mut self, n: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % n
    }

    pub(crate) fn pick<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.below(of.len() as u64) as usize]
    }
}
