//! What the kernel should hand over: TCP, name service, tunnels that may hold either, and fragments so that they are counted.

use crate::decode::Link;

const TUNNELS: &str = "ip proto 47 or ip proto 4 or ip proto 41 or ip6 proto 47 or ip6 proto 41";

/// A filter in the language of pcap-filter(7) for frames of `link`.
pub(super) fn program(link: Link) -> String {
    // Names as they are answered; VXLAN (assigned and older port), Geneve; GRE, IP in IP, IPv6 in IPv4.
    let names = "udp and (src port 53 or src port 5353 or src port 5355 or dst port 4789 or dst port 8472 or dst port 6081)";
    // What clients of QUIC say first: Initial packets of version 1 and 2 (RFC 9000 §17.2.2, RFC 9369 §3.2), which fill their datagram.
    let initial = |udp: &str, at: u8| {
        let one = format!("{udp}[{at}] & 0xf0 = 0xc0 and {udp}[{}:4] = 1", at + 1);
        let two = format!("{udp}[{at}] & 0xf0 = 0xd0 and {udp}[{}:4] = 0x6b3343cf", at + 1);
        format!("(({one}) or ({two}))")
    };
    let quic = format!("(udp and {}) or (ip6 and ip6[6] = 17 and {})", initial("udp", 8), initial("ip6", 48));
    let udp = format!("({names}) or {quic}");
    // Later fragments of IPv4; extension headers of IPv6, which hide what follows from the simple tests above.
    let hidden = "(ip[6:2] & 0x1fff != 0) or (ip6 and (ip6[6] = 0 or ip6[6] = 43 or ip6[6] = 44 or ip6[6] = 51 or ip6[6] = 60))";
    tagged(link, &format!("tcp or ({udp}) or {TUNNELS} or {hidden}"))
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
mod tests {
    use super::*;
    use pcap::{Capture, Linktype};

    #[test]
    fn libpcap_understands_it() {
        for (link, number) in [(Link::Ethernet, 1), (Link::LinuxCooked, 113), (Link::Raw, 12), (Link::Null, 0)] {
            let dead = Capture::dead(Linktype(number)).unwrap();
            for program in [program(link), segments(link)] {
                dead.compile(&program, true).unwrap_or_else(|why| panic!("{link:?}: {why}"));
            }
        }
    }

    #[test]
    fn tagged_names_and_tunnels_pass_and_other_traffic_does_not() {
        let dead = Capture::dead(Linktype(1)).unwrap();
        let filter = dead.compile(&program(Link::Ethernet), true).unwrap();
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
            for begin in [&[0xc3, 0, 0, 0, 1][..], &[0xd3, 0x6b, 0x33, 0x43, 0xcf]] {
                let mut initial = frame(tags, 17, 4000, 443);
                let at = initial.len() - 32;
                initial[at..at + 5].copy_from_slice(begin);
                assert!(filter.filter(&initial), "a QUIC Initial under {tags} tags");
            }
        }
    }
}
