use super::*;
use etherparse::PacketBuilder;

fn tcp_frame(payload: &[u8]) -> Vec<u8> {
    let builder = PacketBuilder::ethernet2([1; 6], [2; 6]).ipv4([10, 0, 0, 1], [10, 0, 0, 2], 64).tcp(4000, 80, 7, 1000).ack(9);
    let mut out = Vec::new();
    builder.write(&mut out, payload).unwrap();
    out
}

/// `source > destination: payload (+missing)`, or why not.
fn shown(link: Link, frame: &[u8], wire_length: usize) -> String {
    match decode(link, frame, wire_length) {
        Err(why) => format!("{why:?}"),
        Ok(p) => {
            let (kind, a, b, cut) = match p.transport {
                Transport::Tcp(s) => ("tcp", s.source_port, s.destination_port, s.payload),
                Transport::Udp(d) => ("udp", d.source_port, d.destination_port, d.payload),
                Transport::Fragment(_) => return "Fragment".to_owned(),
            };
            let text = String::from_utf8_lossy(cut.bytes);
            format!("{kind} {}:{a} > {}:{b} `{text}` +{}", p.source, p.destination, cut.missing)
        }
    }
}

const PLAIN: &str = "tcp 10.0.0.1:4000 > 10.0.0.2:80 `hello` +0";

#[test]
fn ethernet_padding_is_not_payload() {
    let mut frame = tcp_frame(b"hello");
    frame.extend_from_slice(&[0; 6]);
    assert_eq!(shown(Link::Ethernet, &frame, frame.len()), PLAIN);
}

#[test]
fn a_cut_frame_says_by_how_much() {
    let frame = tcp_frame(b"hello");
    assert_eq!(shown(Link::Ethernet, &frame[..frame.len() - 3], frame.len()), "tcp 10.0.0.1:4000 > 10.0.0.2:80 `he` +3");
    assert_eq!(shown(Link::Ethernet, &frame[..40], frame.len()), "Truncated");
    assert_eq!(shown(Link::Ethernet, &frame[..40], 40), "Malformed");
}

#[test]
fn tags_labels_and_other_links_lead_to_the_same_segment() {
    let frame = tcp_frame(b"hello");
    let ip = &frame[14..];
    let with = |prefix: &[u8]| [prefix, ip].concat();
    let addresses = [0u8; 12];
    let tagged = [&addresses[..], &[0x81, 0, 0, 120, 8, 0]].concat();
    let stacked = [&addresses[..], &[0x88, 0xa8, 0, 1, 0x81, 0, 0, 2, 8, 0]].concat();
    let labelled = [&addresses[..], &[0x88, 0x47, 0, 1, 0, 64, 0, 1, 1, 64]].concat();
    let pppoe = [&addresses[..], &[0x88, 0x64, 0x11, 0, 0, 1, 0, 47, 0, 0x21]].concat();
    let mut cooked = vec![0u8; 14];
    cooked.extend([8, 0]);
    let mut cooked2 = vec![8u8, 0];
    cooked2.extend([0; 18]);
    for (link, prefix) in [
        (Link::Ethernet, tagged),
        (Link::Ethernet, stacked),
        (Link::Ethernet, labelled),
        (Link::Ethernet, pppoe),
        (Link::LinuxCooked, cooked),
        (Link::LinuxCooked2, cooked2),
        (Link::Raw, Vec::new()),
        (Link::Null, vec![2, 0, 0, 0]),
    ] {
        let bytes = with(&prefix);
        assert_eq!(shown(link, &bytes, bytes.len()), PLAIN, "{link:?} {prefix:?}");
    }
}

fn outer_udp(port: u16, payload: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    PacketBuilder::ethernet2([1; 6], [2; 6]).ipv4([192, 0, 2, 1], [192, 0, 2, 2], 64).udp(5, port).write(&mut out, payload).unwrap();
    out
}

fn outer_ip(protocol: u8, payload: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    let builder = PacketBuilder::ethernet2([1; 6], [2; 6]).ipv4([192, 0, 2, 1], [192, 0, 2, 2], 64);
    builder.write(&mut out, etherparse::IpNumber(protocol), payload).unwrap();
    out
}

#[test]
fn tunnels_show_what_is_inside() {
    let inner = tcp_frame(b"hello");
    let ip = &inner[14..];
    let cases = [
        outer_udp(4789, &[&[8, 0, 0, 0, 0, 27, 89, 0][..], &inner].concat()),
        outer_udp(6081, &[&[1, 0, 0x65, 0x58, 0, 0, 1, 0, 9, 9, 9, 9][..], &inner].concat()),
        outer_ip(47, &[&[0, 0, 8, 0][..], ip].concat()),
        outer_ip(47, &[&[0x20, 0, 0x65, 0x58, 1, 2, 3, 4][..], &inner].concat()),
        outer_ip(47, &[&[0x10, 0, 0x88, 0xbe, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0][..], &inner].concat()),
        outer_ip(4, ip),
    ];
    for frame in cases {
        assert_eq!(shown(Link::Ethernet, &frame, frame.len()), PLAIN);
    }
}

#[test]
fn tunnels_in_tunnels_end() {
    let mut ip = tcp_frame(b"x")[14..].to_vec();
    for _ in 0..20 {
        let mut frame = outer_ip(4, &ip);
        ip = frame.split_off(14);
    }
    assert_eq!(shown(Link::Raw, &ip, ip.len()), "TooDeep");
}

#[test]
fn ipv6_extension_headers_are_walked_and_fragments_told() {
    let ipv6 = |next: u8, extensions: &[u8]| {
        let tcp = &tcp_frame(b"hello")[34..];
        let mut out = vec![0x60, 0, 0, 0];
        out.extend(u16::try_from(extensions.len() + tcp.len()).unwrap().to_be_bytes());
        out.extend([next, 64]);
        out.extend([0xfd; 16]);
        out.extend([0xfe; 16]);
        out.extend(extensions);
        out.extend(tcp);
        out
    };
    let hop_then_destination = ipv6(0, &[60, 0, 1, 4, 0, 0, 0, 0, 6, 0, 1, 4, 0, 0, 0, 0]);
    assert!(shown(Link::Raw, &hop_then_destination, hop_then_destination.len()).contains("`hello` +0"));
    let atomic = ipv6(44, &[6, 0, 0, 0, 0, 0, 0, 1]);
    assert!(shown(Link::Raw, &atomic, atomic.len()).contains("`hello` +0"));
    let first = ipv6(44, &[6, 0, 0, 1, 0, 0, 0, 1]);
    assert_eq!(shown(Link::Raw, &first, first.len()), "Fragment");
    let endless = ipv6(0, &[0; 8 * 9]);
    assert_eq!(shown(Link::Raw, &endless, endless.len()), "Malformed");
}

#[test]
fn pieces_in_any_order_make_a_datagram_and_contradictions_none() {
    let whole = &tcp_frame(b"0123456789abcdef")[34..];
    let ends = ([10, 0, 0, 1].into(), [10, 0, 0, 2].into());
    let piece = |from: usize, to: usize| Fragment {
        id: 7,
        protocol: 6,
        offset: from,
        more: to < whole.len(),
        payload: Cut { bytes: &whole[from..to], missing: 0 },
    };
    let (a, b, c) = (piece(0, 16), piece(16, 24), piece(24, whole.len()));
    for order in [[a, b, c], [c, b, a], [b, a, c], [c, a, b]] {
        let mut assembler = fragments::Assembler::default();
        let given: Vec<_> =
            order.iter().flat_map(|f| [f, f]).filter_map(|f| assembler.add(ends.0, ends.1, f, Default::default())).collect();
        assert_eq!(given.len(), 1, "once, though every piece came twice");
        let inner = decode_whole(&given[0]).unwrap().transport;
        assert!(matches!(inner, Transport::Tcp(segment) if segment.payload.bytes == b"0123456789abcdef"));
    }
    let mut assembler = fragments::Assembler::default();
    let lie = Fragment { payload: Cut { bytes: &[0; 16], missing: 0 }, ..b };
    for f in [a, lie, b, c] {
        assert_eq!(assembler.add(ends.0, ends.1, &f, Default::default()), None);
    }
    assert_eq!(assembler.ambiguous, 1);
}

#[test]
fn no_prefix_of_any_frame_panics() {
    let inner = tcp_frame(b"hello");
    let frame = outer_udp(4789, &[&[8, 0, 0, 0, 0, 27, 89, 0][..], &inner].concat());
    for n in 0..frame.len() {
        for link in [Link::Ethernet, Link::LinuxCooked, Link::LinuxCooked2, Link::Raw, Link::Null] {
            // Only that it returns: what it says of half a frame differs by link.
            let _ = decode(link, &frame[..n], frame.len());
        }
    }
}
