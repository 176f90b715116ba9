//! What the kernel should hand over: TCP, name service, tunnels that may hold either, and fragments so that they are counted.

use super::share::Share;
use crate::decode::Link;

/// Names as they are answered.
const NAMES: &str = "udp and (src port 53 or src port 5353 or src port 5355)";
/// Name service over TCP: TCP like any other, but every thread has to know what it says.
const LONG_NAMES: &str = "tcp port 53";
/// MPLS and PPPoE, under which the simple tests here see nothing: handed over whole.
const LABELLED: &str = "ether proto 0x8847 or ether proto 0x8848 or ether proto 0x8864";
const TUNNELS: &str = "ip proto 47 or ip proto 4 or ip proto 41 or ip6 proto 47 or ip6 proto 41";

/// A filter in the language of pcap-filter(7) for a thread's `share` of the frames of `link`.
pub(super) fn program(link: Link, share: Share) -> String {
    // VXLAN (assigned and older port), Geneve.
    let overlays = "udp and (dst port 4789 or dst port 8472 or dst port 6081)";
    // What clients of QUIC say first: Initial packets of version 1 and 2 (RFC 9000 §17.2.2, RFC 9369 §3.2), which fill their datagram.
    let initial = |udp: &str, at: u8| {
        let one = format!("{udp}[{at}] & 0xf0 = 0xc0 and {udp}[{}:4] = 1", at + 1);
        let two = format!("{udp}[{at}] & 0xf0 = 0xd0 and {udp}[{}:4] = 0x6b3343cf", at + 1);
        format!("(({one}) or ({two}))")
    };
    let quic = format!("(udp and {}) or (ip6 and ip6[6] = 17 and {})", initial("udp", 8), initial("ip6", 48));
    // Later fragments of IPv4; extension headers of IPv6, which hide what follows from the simple tests above.
    let hidden = "(ip[6:2] & 0x1fff != 0) or (ip6 and (ip6[6] = 0 or ip6[6] = 43 or ip6[6] = 44 or ip6[6] = 51 or ip6[6] = 60))";
    let shared = format!("tcp or ({overlays}) or {quic} or {TUNNELS} or {hidden}");
    let mut wanted = match share.addresses() {
        Some(mine) => format!("({NAMES}) or {LONG_NAMES} or (({mine}) and ({shared}))"),
        None => format!("({NAMES}) or {shared}"),
    };
    if link == Link::Ethernet && share.is_first() {
        wanted = format!("{wanted} or {LABELLED}");
    }
    tagged(link, &wanted)
}

/// The same for TCP segments alone, and what may hide one.
pub(super) fn segments(link: Link) -> String {
    let overlays = "(udp and (dst port 4789 or dst port 8472 or dst port 6081))";
    let extended = "(ip6 and (ip6[6] = 0 or ip6[6] = 43 or ip6[6] = 51 or ip6[6] = 60))";
    tagged(link, &format!("tcp or {overlays} or {TUNNELS} or {extended}"))
}

/// Each `vlan` shifts everything that is written after it by one tag.
fn tagged(link: Link, wanted: &str) -> String {
    match link {
        Link::Ethernet => format!("({wanted}) or (vlan and (({wanted}) or (vlan and ({wanted}))))"),
        _ => wanted.to_owned(),
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use pcap::{Capture, Linktype};

    #[test]
    fn libpcap_understands_it() {
        for (link, number) in [(Link::Ethernet, 1), (Link::LinuxCooked, 113), (Link::Raw, 12), (Link::Null, 0)] {
            let dead = Capture::dead(Linktype(number)).unwrap();
            for program in [program(link, Share::WHOLE), program(link, Share { index: 6, of: 7 }), segments(link)] {
                dead.compile(&program, true).unwrap_or_else(|why| panic!("{link:?}: {why}"));
            }
        }
    }

    #[test]
    fn tagged_names_and_tunnels_pass_and_other_traffic_does_not() {
        let dead = Capture::dead(Linktype(1)).unwrap();
        let filter = dead.compile(&program(Link::Ethernet, Share::WHOLE), true).unwrap();
        let frame = |tags: usize, protocol: u8, source: u16, destination: u16| {
            let mut f = vec![0u8; 12];
            f.extend([0x81, 0, 0, 5].repeat(tags));
            f.extend([8, 0, 0x45, 0, 0, 28, 0, 0, 0, 0, 64, protocol, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2]);
            f.extend(source.to_be_bytes());
            f.extend(destination.to_be_bytes());
            f.extend([0, 8, 0, 0]);
            f.extend([0; 32]);
            f
        };
        for tags in 0..3 {
            assert!(filter.filter(&frame(tags, 6, 5, 80)), "tcp under {tags} tags");
            assert!(filter.filter(&frame(tags, 17, 53, 4000)), "dns under {tags} tags");
            assert!(filter.filter(&frame(tags, 17, 4000, 4789)), "vxlan under {tags} tags");
            assert!(!filter.filter(&frame(tags, 17, 4000, 443)), "quic under {tags} tags");
            assert!(!filter.filter(&frame(tags, 1, 0, 0)), "ping under {tags} tags");
            let mut labelled = frame(tags, 6, 5, 80);
            let at = 12 + 4 * tags;
            labelled[at..at + 2].copy_from_slice(&[0x88, 0x47]);
            assert!(filter.filter(&labelled), "MPLS under {tags} tags");
            for begin in [&[0xc3, 0, 0, 0, 1][..], &[0xd3, 0x6b, 0x33, 0x43, 0xcf]] {
                let mut initial = frame(tags, 17, 4000, 443);
                let at = initial.len() - 32;
                initial[at..at + 5].copy_from_slice(begin);
                assert!(filter.filter(&initial), "a QUIC Initial under {tags} tags");
            }
        }
    }

    /// A frame between two addresses, under `tags`, over TCP (6), UDP (17) or in a later fragment of either.
    pub(in crate::capture) fn between(a: &[u8], b: &[u8], tags: usize, protocol: u8, ports: (u16, u16), fragment: u8) -> Vec<u8> {
        let mut f = vec![0u8; 12];
        f.extend([0x81, 0, 0, 5].repeat(tags));
        if a.len() == 4 {
            f.extend([8, 0, 0x45, 0, 0, 28, 0, 0, 0, fragment, 64, protocol, 0, 0]);
        } else {
            f.extend([0x86, 0xdd, 0x60, 0, 0, 0, 0, 40, protocol, 64]);
        }
        [a, b].iter().for_each(|address| f.extend(*address));
        f.extend(ports.0.to_be_bytes());
        f.extend(ports.1.to_be_bytes());
        f.extend([0; 40]);
        f
    }

    #[test]
    fn each_conversation_has_one_thread_in_both_directions_and_names_have_all() {
        let dead = Capture::dead(Linktype(1)).unwrap();
        for of in [2u8, 3, 8] {
            let filters: Vec<_> = (0..of).map(|index| dead.compile(&program(Link::Ethernet, Share { index, of }), true).unwrap()).collect();
            let who = |frame: &[u8]| -> Vec<usize> { (0..filters.len()).filter(|n| filters[*n].filter(frame)).collect() };
            let mut load = vec![0; filters.len()];
            for n in 0..900u16 {
                let tags = usize::from(n % 3);
                let [high, low] = n.to_be_bytes();
                let (v4, v6) = ([10, 1, high, low], [[0xfd; 8], [0, 0, 0, 0, 0, 0, high, low]].concat());
                let pairs = [(&v4[..], &[10, 2, 0, 9][..]), (&v6[..], &[[0xfd; 8], [1; 8]].concat()[..])];
                for (a, b) in pairs {
                    let there = who(&between(a, b, tags, 6, (40_000 + n, 80), 0));
                    assert_eq!(there.len(), 1, "of {of}: {a:?} is for {there:?}");
                    load[there[0]] += 1;
                    assert_eq!(there, who(&between(b, a, tags, 6, (80, 40_000 + n), 0)), "answers");
                    if a.len() == 4 {
                        assert_eq!(there, who(&between(a, b, tags, 6, (0, 0), 99)), "fragments");
                        assert_eq!(there, who(&between(a, b, tags, 17, (40_000 + n, 4789), 0)), "overlays");
                    }
                    for names in [17, 6].map(|protocol| between(b, a, tags, protocol, (53, 40_000 + n), 0)) {
                        assert_eq!(who(&names).len(), filters.len(), "names");
                    }
                }
            }
            let even = 1800 / filters.len();
            assert!(load.iter().all(|n| (even * 2 / 3..even * 3 / 2).contains(n)), "of {of}: {load:?}");
        }
    }
}
