//! The same real servers behind what Ptacek and Newsham, tunnels and bad taps do to packets: each is still found, and what could be
//! read two ways is counted and nominated.
//!
//! Two of their tricks leave nothing to count: a packet with a bad checksum, or one whose TTL ends before the server, looks from here
//! like any other (checksums are filled in after the tap by network cards, and the way to the server is not known). If it is a copy,
//! the two differ and are counted; if it is all there is, it is believed.

mod tamper;

use etherparse::{IpFragOffset, IpNumber, Ipv4Header, TcpHeader};
use rules::{confidence::Confidence, endpoint::Endpoint, observation::Coverage};
use std::{collections::BTreeMap, net::Ipv4Addr};
use tamper::{Packets, Segment, TRACES, confidence, plain, segments, servers};

fn fragments(packet: &[u8]) -> Vec<Vec<u8>> {
    let (header, payload) = Ipv4Header::from_slice(packet).unwrap();
    let count = payload.len().div_ceil(32);
    let one = |(n, piece): (usize, &[u8])| {
        let mut h = header.clone();
        h.total_len = 20 + u16::try_from(piece.len()).unwrap();
        h.fragment_offset = IpFragOffset::try_new(u16::try_from(n * 4).unwrap()).unwrap();
        h.more_fragments = n + 1 < count;
        let mut out = Vec::new();
        h.write(&mut out).unwrap();
        out.extend(piece);
        out
    };
    // Last piece first.
    payload.chunks(32).enumerate().map(one).rev().collect()
}

fn wrapped(protocol: u8, prefix: &[u8], inner: &[u8]) -> Vec<u8> {
    let payload = [prefix, inner].concat();
    let mut out = Vec::new();
    let length = u16::try_from(payload.len()).unwrap();
    Ipv4Header::new(length, 64, IpNumber(protocol), [192, 0, 2, 1], [192, 0, 2, 2]).unwrap().write(&mut out).unwrap();
    out.extend(payload);
    out
}

fn found(packets: &Packets) -> (BTreeMap<Endpoint, Confidence>, Coverage) {
    let (servers, coverage) = servers(packets);
    let mut best = BTreeMap::new();
    for (place, server) in servers {
        let known = best.entry(place.endpoint).or_insert(Confidence::Candidate);
        *known = confidence(&server).max(*known);
    }
    (best, coverage)
}

/// Checks that each server is found though its segments were tampered with; gives what was counted.
fn check(name: &str, tamper: impl Fn(&[Segment]) -> Packets) -> Vec<Coverage> {
    TRACES
        .iter()
        .map(|(file, server)| {
            let (best, coverage) = found(&tamper(&segments(file)));
            let confidence = best.get(&server.parse().unwrap());
            assert_eq!(confidence, Some(&Confidence::Confirmed), "{name}: {file} {:?}", coverage.lost);
            coverage
        })
        .collect()
}

#[test]
fn tiny_segments_in_and_out_of_order() {
    check("one byte each", |s| plain(&s.iter().flat_map(|s| s.tiny(1)).collect::<Vec<_>>()));
    check("seven bytes, last first", |s| plain(&s.iter().flat_map(|s| s.tiny(7).into_iter().rev()).collect::<Vec<_>>()));
}

#[test]
fn sequence_numbers_that_wrap() {
    check("wrap", |s| {
        let mut start: BTreeMap<([Ipv4Addr; 2], u16), u32> = BTreeMap::new();
        let key = |ends: [Ipv4Addr; 2], header: &TcpHeader| (ends, header.source_port ^ header.destination_port);
        for s in s {
            start.entry(key(s.ends, &s.header)).or_insert(s.header.sequence_number);
        }
        let mut s = s.to_vec();
        for s in &mut s {
            // Every direction begins forty bytes before the wrap.
            let shift = |first: Option<&u32>| first.map_or(0, |first| (u32::MAX - 40).wrapping_sub(*first));
            let (own, other) = (start.get(&key(s.ends, &s.header)), start.get(&key([s.ends[1], s.ends[0]], &s.header)));
            s.header.sequence_number = s.header.sequence_number.wrapping_add(shift(own));
            s.header.acknowledgment_number = s.header.acknowledgment_number.wrapping_add(shift(other));
        }
        plain(&s)
    });
}

#[test]
fn later_copies_that_say_something_else_are_counted_and_not_believed() {
    let coverage = check("inconsistent copies", |s| {
        let mut out = Vec::new();
        for s in s {
            let pieces = s.tiny(20);
            // The second piece first, then a lie about it, then the rest: the lie comes while the truth is still held.
            if let [first, second, rest @ ..] = pieces.as_slice() {
                let mut lie = second.clone();
                lie.payload.iter_mut().for_each(|b| *b ^= 0x20);
                out.extend([second.clone(), lie, first.clone()]);
                out.extend(rest.iter().cloned());
            } else {
                out.extend(pieces);
            }
        }
        plain(&out)
    });
    assert!(coverage.iter().all(|c| c.lost.get("ambiguous").is_some_and(|n| *n > 0)));
}

#[test]
fn forged_resets_and_strays_do_not_end_it() {
    check("forgeries", |s| {
        let forged = |s: &Segment, shift: u32| {
            let mut f = s.clone();
            f.header.sequence_number = s.header.sequence_number.wrapping_add(shift);
            f.payload = b"HTTP/1.1 404 Not Found\r\n\r\n".to_vec();
            f
        };
        let reset = |s: &Segment| {
            let mut f = forged(s, 1 << 29);
            (f.header.rst, f.payload) = (true, Vec::new());
            f
        };
        // After the handshake: before it nobody can tell which is the forgery.
        let forge = |s: &Segment| if s.header.syn { vec![s.clone()] } else { vec![reset(s), forged(s, 1 << 28), s.clone()] };
        plain(&s.iter().flat_map(forge).collect::<Vec<_>>())
    });
}

/// Puts something else in the place of each packet, which is given with its number.
fn each(segments: &[Segment], f: impl Fn(&[u8], usize) -> Vec<Vec<u8>>) -> Packets {
    let numbered = segments.iter().enumerate();
    numbered.flat_map(|(n, s)| f(&s.packet(), n).into_iter().map(|p| (p, s.at)).collect::<Vec<_>>()).collect()
}

#[test]
fn fragments_and_tunnels() {
    check("fragments, last first", |s| {
        each(s, |packet, n| {
            let mut packet = packet.to_vec();
            // Identification (RFC 791): its own for each datagram.
            packet[4..6].copy_from_slice(&u16::try_from(n).unwrap().to_be_bytes());
            fragments(&packet)
        })
    });
    check("GRE", |s| each(s, |packet, _| vec![wrapped(47, &[0, 0, 8, 0], packet)]));
    check("IP in IP in IP", |s| each(s, |packet, _| vec![wrapped(4, &[], &wrapped(4, &[], packet))]));
}

#[test]
fn taps_that_repeat_shuffle_and_lose() {
    check("every packet three times", |s| plain(&s.iter().flat_map(|s| [s.clone(), s.clone(), s.clone()]).collect::<Vec<_>>()));
    check("shuffled within eight", |s| {
        let mut out = plain(s);
        out.chunks_mut(8).for_each(<[_]>::reverse);
        out
    });
    check("joined late", |s| plain(&s[s.len() / 4..]));
    check("every fifteenth lost", |s| {
        plain(&s.iter().enumerate().filter(|(n, _)| n % 15 != 7).map(|(_, s)| s.clone()).collect::<Vec<_>>())
    });
}

/// One of the tricks, played on every segment that carries something.
type Trick = fn(&Segment) -> Vec<Segment>;

fn lie(of: &Segment) -> Segment {
    let mut lie = of.clone();
    lie.payload.iter_mut().for_each(|b| *b ^= 0x20);
    lie
}

fn empty(of: &Segment, shift: u32) -> Segment {
    let mut other = of.part(0, 0);
    other.header.fin = false;
    other.header.sequence_number = other.header.sequence_number.wrapping_add(shift);
    other
}

/// Names as in Ptacek and Newsham 1998, section 5; whether it must be counted, under which name.
const TRICKS: [(&str, Option<&str>, Trick); 9] = [
    ("retransmission, inconsistent: the same segment, other bytes", Some("ambiguous"), |s| vec![s.clone(), lie(s)]),
    ("retransmission, inconsistent, longer than the first copy", Some("ambiguous"), |s| {
        let n = s.payload.len();
        if n < 140 {
            return vec![s.clone()];
        }
        // What it adds is true: nobody could know otherwise.
        let mut longer = s.part(0, n - 1);
        longer.payload[..n / 2].iter_mut().for_each(|b| *b ^= 0x20);
        vec![s.part(0, n / 2), longer, s.part(n / 2, n)]
    }),
    ("overlap that favours old data: a later piece begins inside an earlier one", None, |s| {
        let n = s.payload.len();
        if n < 20 { vec![s.clone()] } else { vec![s.part(0, n - 5), s.part(n - 10, n)] }
    }),
    ("overlap that favours new data: a hole is filled by more than it", Some("ambiguous"), |s| {
        let n = s.payload.len();
        if n < 40 {
            return vec![s.clone()];
        }
        // The second piece waits; what fills the hole says otherwise about its beginning.
        let mut filler = s.part(0, n - 10);
        let at = n - 20;
        filler.payload[at..].iter_mut().for_each(|b| *b ^= 0x20);
        vec![s.part(at, n), filler]
    }),
    ("a hole filled with the same bytes: no ambiguity", None, |s| {
        let n = s.payload.len();
        if n < 40 { vec![s.clone()] } else { vec![s.part(n - 20, n), s.part(0, n - 10)] }
    }),
    ("reset out of the window", None, |s| {
        let mut reset = empty(s, 1 << 27);
        reset.header.rst = true;
        vec![reset, s.clone()]
    }),
    ("end out of the window", None, |s| {
        let mut end = empty(s, 1 << 27);
        end.header.fin = true;
        vec![end, s.clone()]
    }),
    ("keep-alives: one byte before the window, and nothing", None, |s| {
        let mut probe = s.part(0, 1);
        probe.header.sequence_number = s.header.sequence_number.wrapping_sub(1);
        vec![s.clone(), probe, empty(s, u32::try_from(s.payload.len()).unwrap().wrapping_sub(1))]
    }),
    ("urgent data", Some("urgent"), |s| {
        let mut urgent = s.clone();
        (urgent.header.urg, urgent.header.urgent_pointer) = (true, 1);
        vec![urgent]
    }),
];

#[test]
fn tricks_of_ptacek_and_newsham() {
    for (name, counted, trick) in TRICKS {
        let play = |s: &Segment| if s.payload.is_empty() || s.header.syn { vec![s.clone()] } else { trick(s) };
        let coverage = check(name, |s| plain(&s.iter().flat_map(play).collect::<Vec<_>>()));
        for c in coverage {
            for reason in ["ambiguous", "urgent"] {
                assert_eq!(c.lost.contains_key(reason), counted == Some(reason), "{name}: {:?}", c.lost);
            }
        }
    }
}

#[test]
fn what_can_be_read_two_ways_nominates_the_server() {
    let web = |second: &[u8]| {
        let ends = [Ipv4Addr::new(10, 0, 0, 1), Ipv4Addr::new(10, 0, 0, 2)];
        let mut header = TcpHeader::new(4000, 8080, 99, 64_000);
        header.syn = true;
        let segment = |header: &TcpHeader, payload: &[u8]| {
            let at = sensor::moment::Moment::new(1_700_000_000, 0);
            Segment { ends, header: header.clone(), payload: payload.to_vec(), at }
        };
        let open = segment(&header, b"");
        (header.syn, header.sequence_number) = (false, 100);
        let said = [open, segment(&header, b"GET /a HTTP/1.1\r\nHost: x\r\n\r\n"), segment(&header, second)];
        servers(&plain(&said)).0.into_values().flat_map(|s| s.testimonies).map(|t| t.signature).collect::<Vec<_>>()
    };
    assert_eq!(web(b"GET /b HTTP/1.1\r\nHost: x\r\n\r\n"), ["wire.context.ambiguous"]);
    assert_eq!(web(b"GET /a HTTP/1.1\r\nHost: x\r\n\r\n"), [""; 0]);
}

#[test]
fn fragments_that_disagree_are_counted_and_the_copy_that_follows_is_read() {
    let coverage = check("overlapping fragments, then the whole again", |s| {
        each(s, |packet, n| {
            let mut packet = packet.to_vec();
            packet[4..6].copy_from_slice(&u16::try_from(n).unwrap().to_be_bytes());
            let mut pieces = fragments(&packet);
            if let [_, .., first] = pieces.as_mut_slice() {
                let mut other = first.clone();
                *other.last_mut().unwrap() ^= 1;
                pieces.push(other);
                pieces.rotate_right(2);
            }
            pieces.push(packet);
            pieces
        })
    });
    assert!(coverage.iter().all(|c| c.lost.get("ambiguous").is_some_and(|n| *n > 0)));
}
