//! However a conversation is cut, shuffled and repeated on its way, and whichever side of it is in the capture, the same is known of its
//! server afterwards.

mod tamper;

use rules::{
    confidence::Confidence,
    endpoint::Endpoint,
    evidence::{Auth, Implementation, Transport},
    server::Server,
};
use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};
use tamper::{Packets, Segment, TRACES, confidence, plain, segments, servers};

/// What an operator reads about one endpoint, without times and counts.
#[derive(Debug, Default, PartialEq, Eq)]
struct Known {
    confidence: Option<Confidence>,
    paths: BTreeSet<Option<String>>,
    transports: BTreeSet<Transport>,
    revisions: BTreeSet<String>,
    auth: BTreeSet<Auth>,
    servers: BTreeSet<Implementation>,
    tools: BTreeSet<String>,
    clients: BTreeSet<String>,
    signatures: BTreeSet<String>,
}

impl Known {
    fn add(&mut self, server: &Server) {
        self.confidence = self.confidence.max(Some(confidence(server)));
        self.paths.insert(server.place.path.clone());
        self.transports.extend(&server.profile.transports);
        self.revisions.extend(server.profile.revisions.iter().cloned());
        self.auth.extend(server.profile.auth);
        self.servers.extend(server.profile.server_info.clone());
        self.tools.extend(server.profile.tools.iter().cloned());
        let software = |c: &rules::server::Caller| c.software.as_ref().map(|s| s.name.clone()).unwrap_or_default();
        self.clients.extend(server.clients.iter().map(|(address, caller)| format!("{address} {}", software(caller))));
        self.signatures.extend(server.testimonies.iter().map(|t| t.signature.clone()));
    }
}

fn known(packets: &Packets) -> BTreeMap<Endpoint, Known> {
    let mut all: BTreeMap<Endpoint, Known> = BTreeMap::new();
    for (place, server) in servers(packets).0 {
        all.entry(place.endpoint).or_default().add(&server);
    }
    all
}

/// xorshift64*: small, and the same everywhere.
struct Chance(u64);

impl Chance {
    fn below(&mut self, n: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        usize::try_from(self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33).unwrap() % n
    }
}

/// Pieces of random sizes; at most `far` places from where they were; some of them twice.
fn churn(segments: &[Segment], chance: &mut Chance, far: usize) -> Vec<Segment> {
    let mut out = Vec::new();
    for s in segments {
        let mut from = 0;
        while from < s.payload.len() {
            let to = (from + 1 + chance.below(400)).min(s.payload.len());
            out.push(s.part(from, to));
            from = to;
        }
        if s.payload.is_empty() {
            out.push(s.clone());
        }
    }
    for n in 0..out.len() {
        let other = (n + chance.below(far)).min(out.len() - 1);
        // A handshake that comes late is a capture joined in the middle, nothing orders one connection by another, and taps are late by
        // less than a sensor is patient: other matters.
        let late = |s: &Segment| s.at.since(out[n].at).max(out[n].at.since(s.at)) > Duration::from_millis(100);
        let fixed = |s: &Segment| s.header.syn || s.header.fin || s.header.rst || connection(s) != connection(&out[n]) || late(s);
        if !out[n..=other].iter().any(fixed) {
            out.swap(n, other);
        }
    }
    let twice = |s: Segment, chance: &mut Chance| if chance.below(10) == 0 { vec![s.clone(), s] } else { vec![s] };
    out.into_iter().flat_map(|s| twice(s, chance)).collect()
}

fn connection(s: &Segment) -> (u16, u16) {
    let (a, b) = (s.header.source_port, s.header.destination_port);
    (a.min(b), a.max(b))
}

fn differs(name: &str, expected: &BTreeMap<Endpoint, Known>, packets: &Packets) {
    let seen = known(packets);
    assert_eq!(&seen, expected, "{name}");
}

#[test]
fn cut_at_every_byte() {
    let trace = segments("pos-batch-2025-03-26.pcap");
    let whole = known(&plain(&trace));
    let longest = trace.iter().map(|s| s.payload.len()).max().unwrap();
    for at in (1..longest).step_by(std::env::var("CUT_STEP").ok().and_then(|s| s.parse().ok()).unwrap_or(23)) {
        let cut = |s: &Segment| if s.payload.len() > at { vec![s.part(0, at), s.part(at, s.payload.len())] } else { vec![s.clone()] };
        differs(&format!("cut at {at}"), &whole, &plain(&trace.iter().flat_map(cut).collect::<Vec<_>>()));
    }
}

#[test]
fn cut_shuffled_and_repeated_at_random() {
    let first: u64 = std::env::var("RESEGMENT_SEED").ok().and_then(|s| s.parse().ok()).unwrap_or(1);
    let runs: u64 = std::env::var("RESEGMENT").ok().and_then(|s| s.parse().ok()).unwrap_or(3);
    for (file, server) in TRACES {
        let trace = segments(file);
        let whole = known(&plain(&trace));
        assert_eq!(whole[&server.parse().unwrap()].confidence, Some(Confidence::Confirmed), "{file}");
        for seed in first..first + runs {
            let churned = churn(&trace, &mut Chance(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1), 6);
            differs(&format!("{file} RESEGMENT_SEED={seed} RESEGMENT=1"), &whole, &plain(&churned));
        }
    }
}

/// One direction is in the capture: enough to know the server by its own words, and to nominate it by its clients'.
#[test]
fn one_side_alone() {
    for (file, server) in TRACES {
        let server: Endpoint = server.parse().unwrap();
        let trace = segments(file);
        for by_server in [true, false] {
            let heard = |s: &&Segment| (s.header.source_port == server.port) == by_server;
            let half: Vec<Segment> = trace.iter().filter(heard).cloned().collect();
            let whole = known(&plain(&half));
            let least = if by_server { Confidence::Probable } else { Confidence::Candidate };
            let found = whole.get(&server).and_then(|k| k.confidence);
            assert!(found >= Some(least), "{file}, {}: {found:?}", if by_server { "answers alone" } else { "questions alone" });
            let churned = churn(&half, &mut Chance(7), 6);
            differs(&format!("{file}, the server's side: {by_server}"), &whole, &plain(&churned));
        }
    }
}
