use super::*;
use crate::{
    decision::{Action, Decision},
    finding::{FindingId, FindingKind},
    period::Period,
    wire::v1::key_id,
};
use base64::{Engine, engine::general_purpose::STANDARD};
use expect_test::expect;
use ring::signature::{Ed25519KeyPair, KeyPair};

fn t0() -> Timestamp {
    "2026-11-21T00:00:00Z".parse().unwrap()
}

fn set(generation: u64, blocked: &[&str]) -> DecisionSet {
    let decision = |endpoint: &&str| Decision {
        endpoint: endpoint.parse().unwrap(),
        finding: FindingId::derive(FindingKind::Shadow, endpoint),
        action: Action::Block,
        reason: "unregistered".into(),
        since: t0(),
        at: vec![],
    };
    DecisionSet {
        site: "default".into(),
        generation,
        issued_at: t0(),
        not_after: Period::days(7).after(t0()),
        agents: vec!["10.1.0.0/16".parse().unwrap()],
        protected: vec!["10.9.0.0/24".parse().unwrap()],
        protected_endpoints: vec!["10.2.0.9:7413".parse().unwrap()],
        lease: Period::seconds(900),
        decisions: blocked.iter().map(decision).collect(),
        rollout: None,
    }
}

fn key(seed: u8) -> Ed25519KeyPair {
    Ed25519KeyPair::from_seed_unchecked(&[seed; 32]).unwrap()
}

fn public_key(seed: u8) -> String {
    STANDARD.encode(key(seed).public_key().as_ref())
}

fn sign(payload: &[u8], seed: u8) -> Signed {
    let message = [Signed::DECISIONS.as_bytes(), &[0], payload].concat();
    Signed {
        domain: Signed::DECISIONS.into(),
        key_id: key_id(key(seed).public_key().as_ref()),
        payload: STANDARD.encode(payload),
        signature: STANDARD.encode(key(seed).sign(&message)),
    }
}

fn signed(set: &DecisionSet) -> Signed {
    sign(&serde_json::to_vec(set).unwrap(), 1)
}

fn try_it(signed: &Signed, generation: u64, now: Timestamp) -> String {
    let keys = Keys::parse(&[public_key(1)]).unwrap();
    match verify(signed, Expect { keys: &keys, site: "default", generation, now }) {
        Ok(set) => format!("generation {}", set.generation),
        Err(why) => why.to_string(),
    }
}

#[test]
fn what_is_true_ours_and_in_force_is_taken() {
    let good = signed(&set(5, &["10.0.0.5:3001"]));
    assert_eq!(try_it(&good, 4, t0()), "generation 5");
    assert_eq!(try_it(&good, 5, t0()), "generation 5", "the same again is a refresh");
}

#[test]
fn everything_else_is_refused_and_says_why() {
    let five = set(5, &["10.0.0.5:3001"]);
    let good = signed(&five);
    let bytes = serde_json::to_vec(&five).unwrap();
    let later = Period::days(8).after(t0());
    let elsewhere = signed(&DecisionSet { site: "ot\u{1b}her".into(), ..five.clone() });
    let early = signed(&DecisionSet { issued_at: Period::days(1).after(t0()), ..five.clone() });
    let cases = [
        ("older", try_it(&good, 6, t0())),
        ("expired", try_it(&good, 5, later)),
        ("from the future", try_it(&early, 5, t0())),
        ("other site", try_it(&elsewhere, 5, t0())),
        ("foreign key", try_it(&sign(&bytes, 2), 5, t0())),
        ("foreign key under our id", try_it(&Signed { key_id: good.key_id.clone(), ..sign(&bytes, 2) }, 5, t0())),
        ("other purpose", try_it(&Signed { domain: Signed::BUNDLE.into(), ..good.clone() }, 5, t0())),
        ("changed", try_it(&Signed { payload: signed(&set(6, &[])).payload, ..good.clone() }, 5, t0())),
        ("not base64", try_it(&Signed { payload: "*".into(), ..good.clone() }, 5, t0())),
        ("empty", try_it(&Signed { signature: String::new(), ..good.clone() }, 5, t0())),
        ("signed nonsense", try_it(&sign(b"[1,2]", 1), 5, t0())),
        ("signed cut", try_it(&sign(&bytes[..bytes.len() - 9], 1), 5, t0())),
    ];
    let said: String = cases.iter().map(|(case, why)| format!("{case}: {why}\n")).collect();
    expect![[r#"
        older: generation 5 is older than 6, already acted on here; if the collector was restored from a backup on purpose, remove this point's state directory (a sensor: its reset.generation)
        expired: expired at 2026-11-28T00:00:00Z; if the collector's clock is right, this host's (2026-11-29T00:00:00Z) is not
        from the future: issued at 2026-11-22T00:00:00Z, which is in this host's future (2026-11-21T00:00:00Z): one of the two clocks is wrong
        other site: for site `ot\u{1b}her`; this point belongs to `default`
        foreign key: signed by key 6a3803d5f059902a, which is not among the keys trusted here (`trusted_keys`, a gateway's `bundle_keys`); if the collector has a new key, add it
        foreign key under our id: the signature does not fit: it was changed on its way, or is not the collector's
        other purpose: signed for `gnomon.bundle.v1`, not for `gnomon.decisions.v1`
        changed: the signature does not fit: it was changed on its way, or is not the collector's
        not base64: the signature does not fit: it was changed on its way, or is not the collector's
        empty: the signature does not fit: it was changed on its way, or is not the collector's
        signed nonsense: the collector signed something that is not a decision set: invalid type: integer `1`, expected a string at line 1 column 2
        signed cut: the collector signed something that is not a decision set: EOF while parsing a string at line 1 column 401
    "#]].assert_eq(&said);
}

#[test]
fn a_key_that_is_none_is_an_error_of_the_configuration() {
    for bad in ["", "AAAA", "not base64"] {
        assert!(matches!(Keys::parse(&[bad.to_owned()]), Err(Distrust::BadKey(_))));
    }
}

#[test]
fn no_single_flipped_bit_gets_through() {
    let good = signed(&set(5, &["10.0.0.5:3001"]));
    let payload = STANDARD.decode(&good.payload).unwrap();
    for bit in 0..payload.len() * 8 {
        let mut bad = payload.clone();
        bad[bit / 8] ^= 1 << (bit % 8);
        assert_eq!(try_it(&Signed { payload: STANDARD.encode(bad), ..good.clone() }, 5, t0()), Distrust::BadSignature.to_string());
    }
}
