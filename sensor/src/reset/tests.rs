use super::{
    answer::{Reset, ResetPair, answer},
    pace::{Bound, PER_CONNECTION, Pace, WHILE},
    snapshot::{PolicySnapshot, Sides},
};
use crate::decode::{self, Cut, Link, Packet, Segment, Transport};
use expect_test::expect;
use ipnet::IpNet;
use rules::{
    Timestamp,
    decision::{Action, Decision, DecisionSet, Rollout},
    endpoint::Endpoint,
    finding::{FindingId, FindingKind},
    period::Period,
};
use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

const AGENT: &str = "10.1.0.5:40000";
const SERVER: &str = "10.2.0.9:3001";

fn t0() -> Timestamp {
    "2026-11-21T00:00:00Z".parse().unwrap()
}

fn at(text: &str) -> Endpoint {
    text.parse().unwrap()
}

fn nets(list: &[&str]) -> Vec<IpNet> {
    list.iter().map(|n| n.parse().unwrap()).collect()
}

fn decision(endpoint: Endpoint, action: Action) -> Decision {
    let finding = FindingId::derive(FindingKind::Shadow, &endpoint.to_string());
    Decision { endpoint, finding, action, reason: "unregistered".into(), since: t0(), at: vec![] }
}

pub(super) fn set(blocked: &[&str]) -> DecisionSet {
    DecisionSet {
        site: "default".into(),
        generation: 5,
        issued_at: t0(),
        not_after: Period::days(7).after(t0()),
        agents: nets(&["10.1.0.0/16", "fd01::/32"]),
        protected: nets(&["10.9.0.0/24", "10.1.77.0/24"]),
        protected_endpoints: vec![at("10.2.0.9:7413"), at("10.2.0.7:3001")],
        lease: Period::seconds(900),
        decisions: blocked.iter().map(|e| decision(at(e), Action::Block)).collect(),
        rollout: None,
    }
}

fn snapshot(set: DecisionSet) -> PolicySnapshot {
    PolicySnapshot::new(set, "sensor-1", BTreeSet::from(["10.1.0.250".parse().unwrap(), "10.2.0.250".parse().unwrap()]))
}

/// `flags` of S, F, R, and `A` for a segment that acknowledges.
fn segment<'a>(flags: &str, sequence: u32, acknowledgment: u32, payload: &'a [u8]) -> Segment<'a> {
    let has = |flag| flags.contains(flag);
    Segment {
        source_port: 0,
        destination_port: 0,
        sequence,
        acknowledgment: has('A').then_some(acknowledgment),
        syn: has('S'),
        fin: has('F'),
        rst: has('R'),
        urgent: false,
        payload: Cut { bytes: payload, missing: 0 },
    }
}

fn shown(answer: Option<ResetPair>) -> String {
    let one = |r: &Reset| {
        let ack = r.acknowledgment.map_or(String::new(), |n| format!(" ack {n}"));
        format!("{} > {} seq {}{ack}\n", r.from, r.to, r.sequence)
    };
    answer.map_or_else(|| "nothing\n".to_owned(), |a| a.resets.iter().map(one).collect())
}

#[test]
fn the_numbers_are_those_each_end_waits_for() {
    let snapshot = snapshot(set(&[SERVER]));
    let (agent, server) = (at(AGENT), at(SERVER));
    let cut = Segment { payload: Cut { bytes: b"po", missing: 98 }, ..segment("A", 1001, 5001, b"") };
    let cases = [
        ("syn", agent, server, segment("S", 1000, 0, b"")),
        ("syn with data", agent, server, segment("S", 1000, 0, b"hello")),
        ("syn-ack", server, agent, segment("SA", 5000, 1001, b"")),
        ("request", agent, server, segment("A", 1001, 5001, b"hello")),
        ("response", server, agent, segment("A", 5001, 1006, b"hi")),
        ("idle", agent, server, segment("A", 1006, 5003, b"")),
        ("last", server, agent, segment("FA", 5003, 1006, b"bye")),
        ("about to wrap", agent, server, segment("A", u32::MAX - 1, 0, b"hello")),
        ("cut by the capture", agent, server, cut),
    ];
    let said: String =
        cases.iter().map(|(what, from, to, s)| format!("{what}\n{}", shown(answer(&snapshot, *from, *to, s, t0())))).collect();
    expect![[r#"
        syn
        10.2.0.9:3001 > 10.1.0.5:40000 seq 0 ack 1001
        10.1.0.5:40000 > 10.2.0.9:3001 seq 1001
        syn with data
        10.2.0.9:3001 > 10.1.0.5:40000 seq 0 ack 1006
        10.1.0.5:40000 > 10.2.0.9:3001 seq 1006
        syn-ack
        10.2.0.9:3001 > 10.1.0.5:40000 seq 5001 ack 1001
        10.1.0.5:40000 > 10.2.0.9:3001 seq 1001 ack 5001
        request
        10.2.0.9:3001 > 10.1.0.5:40000 seq 5001 ack 1006
        10.1.0.5:40000 > 10.2.0.9:3001 seq 1006 ack 5001
        response
        10.2.0.9:3001 > 10.1.0.5:40000 seq 5003 ack 1006
        10.1.0.5:40000 > 10.2.0.9:3001 seq 1006 ack 5003
        idle
        10.2.0.9:3001 > 10.1.0.5:40000 seq 5003 ack 1006
        10.1.0.5:40000 > 10.2.0.9:3001 seq 1006 ack 5003
        last
        10.2.0.9:3001 > 10.1.0.5:40000 seq 5007 ack 1006
        10.1.0.5:40000 > 10.2.0.9:3001 seq 1006 ack 5007
        about to wrap
        10.2.0.9:3001 > 10.1.0.5:40000 seq 0 ack 3
        10.1.0.5:40000 > 10.2.0.9:3001 seq 3 ack 0
        cut by the capture
        10.2.0.9:3001 > 10.1.0.5:40000 seq 5001 ack 1101
        10.1.0.5:40000 > 10.2.0.9:3001 seq 1101 ack 5001
    "#]]
    .assert_eq(&said);
}

#[test]
fn everything_else_is_left_alone() {
    let blocked = [
        SERVER,
        "10.2.0.9:7413", // a protected endpoint
        "10.2.0.7:3001", // and another
        "10.9.0.4:3001", // in a protected network
        "10.2.0.250:1",  // this host's own
        "127.0.0.1:3001",
        "224.0.0.1:3001",
        "[fe80::1]:3001",
    ];
    let mut all = set(&blocked);
    all.decisions.push(decision(at("10.2.0.30:3001"), Action::Shadow));
    all.decisions.push(Decision { at: vec!["router-7".into()], ..decision(at("10.2.0.31:3001"), Action::Block) });
    all.decisions.push(decision(at("10.2.0.32:3001"), Action::Block));
    all.rollout = Some(Rollout { points: BTreeSet::from(["router-7".into()]), blocks: BTreeSet::from([at("10.2.0.32:3001")]) });
    all.agents.extend(nets(&["0.0.0.0/0", "::/0"]));
    let snapshot = snapshot(all);
    assert_eq!((snapshot.len(), snapshot.left_out), (1, 9));
    let try_it = |from: &str, to: &str, s: &Segment<'_>| answer(&snapshot, at(from), at(to), s, t0());
    let ack = segment("A", 1, 1, b"x");
    assert!(try_it(AGENT, SERVER, &ack).is_some() && try_it(SERVER, AGENT, &ack).is_some(), "the instrument works");
    for (from, to) in [
        ("10.3.0.5:40000", SERVER),   // outside of the agent ranges
        ("10.1.77.5:40000", SERVER),  // an agent in a protected network
        ("10.1.0.250:40000", SERVER), // this host's own
        (AGENT, "10.2.0.9:3002"),     // another port
        (AGENT, "10.2.0.10:3001"),    // another server
        (AGENT, "10.2.0.9:7413"),     // and what was left out above
        (AGENT, "10.2.0.7:3001"),
        (AGENT, "10.9.0.4:3001"),
        (AGENT, "10.2.0.250:1"),
        (AGENT, "10.2.0.30:3001"), // only counted
        (AGENT, "10.2.0.31:3001"), // for another point
        (AGENT, "10.2.0.32:3001"), // its wave has not come here
        ("127.0.0.1:40000", SERVER),
        ("[fd01::5]:40000", "[fe80::1]:3001"),
    ] {
        assert_eq!(try_it(from, to, &ack), None, "{from} to {to}");
        assert_eq!(try_it(to, from, &ack), None, "{to} to {from}");
    }
    for (flags, why) in
        [("R", "a reset"), ("RA", "a reset that acknowledges"), ("RS", "nonsense"), ("", "no acknowledgement"), ("F", "nor here")]
    {
        assert_eq!(try_it(AGENT, SERVER, &segment(flags, 1, 1, b"")), None, "{why}");
    }
    for now in [Period::days(7).after(t0()), Timestamp::MAX] {
        assert_eq!(answer(&snapshot, at(AGENT), at(SERVER), &ack, now), None, "the set is over");
    }
}

fn decoded(bytes: &[u8]) -> (Endpoint, Endpoint, Segment<'_>) {
    let Packet { source, destination, transport: Transport::Tcp(s) } = decode::decode(Link::Raw, bytes, bytes.len()).unwrap() else {
        panic!("no TCP")
    };
    (Endpoint::new(source, s.source_port), Endpoint::new(destination, s.destination_port), s)
}

/// The sum of 16-bit words with its carries; all ones where a checksum over them holds (RFC 1071).
fn sum(parts: &[&[u8]]) -> u16 {
    let words = parts.iter().flat_map(|p| p.chunks(2)).map(|w| u32::from(w[0]) << 8 | u32::from(w.get(1).copied().unwrap_or(0)));
    let total: u32 = words.sum();
    let folded = (total & 0xffff) + (total >> 16);
    ((folded & 0xffff) + (folded >> 16)) as u16
}

#[test]
fn both_checksums_hold_in_both_families() {
    let four = Reset { from: at(SERVER), to: at(AGENT), sequence: 0xfedc_ba98, acknowledgment: Some(0x0102_0304) };
    let packet = four.packet().unwrap();
    let (ip, tcp) = packet.bytes().split_at(20);
    assert_eq!((ip.len() + tcp.len(), sum(&[ip])), (40, 0xffff));
    assert_eq!(sum(&[&ip[12..20], &[0, 6, 0, 20], tcp]), 0xffff);
    let six = Reset { from: at("[fd02::9]:3001"), to: at("[fd01::5]:40000"), acknowledgment: None, ..four };
    let packet = six.packet().unwrap();
    let (ip, tcp) = packet.bytes().split_at(40);
    assert_eq!((tcp.len(), sum(&[&ip[8..40], &[0, 0, 0, 20, 0, 0, 0, 6], tcp])), (20, 0xffff));
    for reset in [four, six] {
        let packet = reset.packet().unwrap();
        let (from, to, s) = decoded(packet.bytes());
        assert_eq!((from, to, s.sequence, s.acknowledgment), (reset.from, reset.to, reset.sequence, reset.acknowledgment));
        assert!(s.rst && !s.syn && !s.fin && s.payload.bytes.is_empty());
    }
    assert!(Reset { from: at(SERVER), ..six }.packet().is_none(), "of two families");
}

#[test]
fn one_connection_has_its_share_and_all_together_have_theirs() {
    let (mut pace, begin) = (Pace::new(20), Instant::now());
    let sides = |port: u16| Sides { agent: Endpoint::new([10, 1, 0, 5].into(), port), server: at(SERVER) };
    let said: Vec<_> = (0..PER_CONNECTION + 2).map(|_| pace.admit(sides(1), begin)).collect();
    assert_eq!(said.first(), Some(&Ok(1)));
    assert_eq!(said.iter().filter(|s| s.is_ok()).count(), PER_CONNECTION as usize);
    assert_eq!(said.last(), Some(&Err(Bound::Connection)));
    let others = (2..40).map(|port| pace.admit(sides(port), begin)).collect::<Vec<_>>();
    assert_eq!(others.iter().filter(|s| s.is_ok()).count(), 12, "20 at once");
    assert_eq!(others.last(), Some(&Err(Bound::Rate)));
    let later = |n: u32| begin + Duration::from_secs(1) * n;
    assert_eq!(pace.admit(sides(1), later(1)), Err(Bound::Connection));
    assert_eq!((0..60).filter(|p| pace.admit(sides(100 + p), later(2)).is_ok()).count(), 20, "a second's worth is saved up, no more");
    assert_eq!(pace.admit(sides(1), begin + WHILE * 2), Ok(1), "a while later it begins anew");
    assert_eq!(Pace::new(0).admit(sides(1), begin), Err(Bound::Rate));
}

/// xorshift64*: small, and the same everywhere.
struct Chance(u64);

impl Chance {
    fn next(&mut self) -> u32 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 32) as u32
    }

    fn pick<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.next() as usize % of.len()]
    }
}

/// Random sets and segments against what the set says, read without a snapshot: `RESET_SEED`, `RESET_ROUNDS`.
#[test]
fn a_reset_goes_out_exactly_where_the_set_says_so() {
    let number = |name: &str, otherwise: u64| std::env::var(name).ok().and_then(|v| v.parse().ok()).unwrap_or(otherwise);
    let (seed, rounds) = (number("RESET_SEED", 7), number("RESET_ROUNDS", 30_000));
    let mut chance = Chance(seed | 1);
    let hosts = ["10.1.0.5", "10.1.0.6", "10.1.77.5", "10.1.0.250", "10.2.0.9", "10.2.0.7", "10.9.0.4", "10.3.0.1", "fd01::5", "fd02::9"];
    let mut answered = 0;
    for round in 0..rounds {
        let place = |chance: &mut Chance| Endpoint::new(chance.pick(&hosts).parse().unwrap(), chance.pick(&[3001, 7413, 40_000]));
        let mut set = set(&[]);
        let actions = [Action::Block, Action::Block, Action::Shadow];
        let mut decided = BTreeSet::new();
        for _ in 0..4 + chance.next() % 12 {
            let endpoint = place(&mut chance);
            if decided.insert(endpoint) {
                set.decisions.push(decision(endpoint, chance.pick(&actions)));
            }
        }
        let (source, destination) = (place(&mut chance), place(&mut chance));
        let flags = chance.pick(&["S", "SA", "A", "A", "FA", "RA", "R", ""]);
        let bytes = vec![0; chance.next() as usize % 40];
        let (sequence, acknowledged) = (chance.next(), chance.next());
        let s = segment(flags, sequence, acknowledged, &bytes);
        let now = chance.pick(&[t0(), t0(), t0(), set.not_after]);

        let own = ["10.1.0.250", "10.2.0.250"].map(|a| a.parse().unwrap());
        let kept = |e: Endpoint| {
            set.protected_endpoints.contains(&e) || set.protected.iter().any(|n| n.contains(&e.address)) || own.contains(&e.address)
        };
        let blocked = |e: Endpoint| set.decisions.iter().any(|d| d.endpoint == e && d.action == Action::Block);
        let agent = |e: Endpoint| set.agents.iter().any(|n| n.contains(&e.address));
        let between = |a: Endpoint, b: Endpoint| agent(a) && blocked(b);
        let due = !s.rst
            && (s.syn || s.acknowledgment.is_some())
            && now < set.not_after
            && source.address != destination.address
            && !kept(source)
            && !kept(destination)
            && (between(source, destination) || between(destination, source));

        let snapshot = snapshot(set.clone());
        let said = answer(&snapshot, source, destination, &s, now);
        assert_eq!(said.is_some(), due, "seed {seed}, round {round}: {source} to {destination} {flags:?}");
        let Some(said) = said else { continue };
        answered += 1;
        assert!(snapshot.meets(source, destination));
        for reset in said.resets {
            assert!([(source, destination), (destination, source)].contains(&(reset.from, reset.to)));
            if source.address.is_ipv4() != destination.address.is_ipv4() {
                assert!(reset.packet().is_none());
                continue;
            }
            let after = sequence.wrapping_add(bytes.len() as u32 + u32::from(s.syn) + u32::from(s.fin));
            let expected = if reset.to == source { s.acknowledgment.unwrap_or(0) } else { after };
            let packet = reset.packet().unwrap();
            let (from, to, ours) = decoded(packet.bytes());
            assert_eq!((from, to, ours.rst, ours.sequence), (reset.from, reset.to, true, expected), "seed {seed}, round {round}");
            assert_eq!(answer(&snapshot, from, to, &ours, now), None, "our own");
        }
    }
    assert!(answered > rounds / 100, "only {answered} of {rounds} were answered: this shows nothing");
}

mod sets {
    use super::*;
    use crate::reset::follow::Reader;
    use base64::{Engine, engine::general_purpose::STANDARD};
    use ring::signature::{Ed25519KeyPair, KeyPair};
    use rules::wire::v1::{Keys, Signed, key_id};
    use std::{fs, path::Path};

    fn key(seed: u8) -> Ed25519KeyPair {
        Ed25519KeyPair::from_seed_unchecked(&[seed; 32]).unwrap()
    }

    fn put(file: &Path, set: &DecisionSet, seed: u8) {
        let (payload, key) = (serde_json::to_vec(set).unwrap(), key(seed));
        let signed = Signed {
            domain: Signed::DECISIONS.into(),
            key_id: key_id(key.public_key().as_ref()),
            signature: STANDARD.encode(key.sign(&[Signed::DECISIONS.as_bytes(), &[0], &payload].concat())),
            payload: STANDARD.encode(payload),
        };
        fs::write(file, serde_json::to_vec(&signed).unwrap()).unwrap();
    }

    #[test]
    fn what_is_in_the_file_now_counts_and_never_goes_back() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        let reader = || Reader {
            file: at("set.json"),
            keys: Keys::parse(&[STANDARD.encode(key(1).public_key())]).unwrap(),
            site: "default".into(),
            name: "sensor-1".into(),
            memory: Some(at("generation")),
            newest: 0,
        };
        let mut now_reading = reader();
        let mut try_it = |now| now_reading.snapshot(now).map(|b| b.generation).map_err(|why| why.to_string());
        assert!(try_it(t0()).unwrap_err().contains("No such file"));
        let five = set(&[SERVER]);
        put(&at("set.json"), &five, 1);
        assert_eq!(try_it(t0()), Ok(5));
        assert_eq!(try_it(t0()), Ok(5), "the same again is a refresh");
        assert!(try_it(five.not_after).unwrap_err().contains("expired"));
        let six = DecisionSet { generation: 6, ..five.clone() };
        put(&at("set.json"), &six, 2);
        assert!(try_it(t0()).unwrap_err().contains("not among the keys"));
        put(&at("set.json"), &DecisionSet { site: "elsewhere".into(), ..six.clone() }, 1);
        assert!(try_it(t0()).unwrap_err().contains("elsewhere"));
        fs::write(at("set.json"), "{\"domain\":").unwrap();
        assert!(try_it(t0()).is_err());
        put(&at("set.json"), &six, 1);
        assert_eq!(try_it(t0()), Ok(6));
        put(&at("set.json"), &five, 1);
        assert!(try_it(t0()).unwrap_err().contains("older than 6"));
        assert!(reader().snapshot(t0()).unwrap_err().contains("older than 6"), "after a restart, too");
        fs::write(at("generation"), "no number").unwrap();
        assert!(reader().snapshot(t0()).unwrap_err().contains("holds no generation"));
        fs::remove_file(at("set.json")).unwrap();
        fs::write(at("real"), "{}").unwrap();
        std::os::unix::fs::symlink(at("real"), at("set.json")).unwrap();
        assert!(reader().snapshot(t0()).unwrap_err().contains("symbolic"));
    }
}
