use super::*;
use crate::dissect::tls::tests::{NODE, hello_to};

fn hex(text: &str) -> Vec<u8> {
    text.as_bytes().chunks(2).map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap()).collect()
}

const CONNECTION: [u8; 8] = [0x83, 0x94, 0xc8, 0xf0, 0x3e, 0x51, 0x57, 0x08];

/// Protects a payload as a client does (RFC 9001 §5), padded to a datagram.
fn seal(version: Version, connection: &[u8], number: u32, frames: &[u8]) -> Vec<u8> {
    let keys = Keys::derive(version, connection).unwrap();
    let mut payload = frames.to_vec();
    payload.resize(payload.len().max(1162), 0);
    let (first, id) = match version {
        Version::One => (0xc3, [0, 0, 0, 1]),
        Version::Two => (0xd3, [0x6b, 0x33, 0x43, 0xcf]),
    };
    let length = u16::try_from(payload.len() + 16 + 4).unwrap() | 0x4000;
    let mut packet = [&[first][..], &id, &[u8::try_from(connection.len()).unwrap()], connection, &[0, 0], &length.to_be_bytes()].concat();
    let number_at = packet.len();
    packet.extend(number.to_be_bytes());
    let mut nonce = keys.iv;
    nonce.iter_mut().rev().zip(number.to_be_bytes().iter().rev()).for_each(|(byte, n)| *byte ^= n);
    let tag = keys.key.seal_in_place_separate_tag(Nonce::assume_unique_for_key(nonce), Aad::from(&packet), &mut payload).unwrap();
    packet.extend(payload);
    packet.extend(tag.as_ref());
    let mask = keys.header.new_mask(&packet[number_at + 4..number_at + 20]).unwrap();
    packet[0] ^= mask[0] & 0x0f;
    (0..4).for_each(|n| packet[number_at + n] ^= mask[n + 1]);
    packet
}

/// A CRYPTO frame.
fn crypto(offset: usize, bytes: &[u8]) -> Vec<u8> {
    let number = |n: usize| (u16::try_from(n).unwrap() | 0x4000).to_be_bytes();
    [&[6][..], &number(offset), &number(bytes.len()), bytes].concat()
}

fn ends() -> (Endpoint, Endpoint) {
    ("10.0.0.1:40000".parse().unwrap(), "10.0.0.2:443".parse().unwrap())
}

/// RFC 9001 appendix A.2.
#[test]
fn the_sample_of_rfc_9001() {
    let payload = hex(
        "060040f1010000ed0303ebf8fa56f12939b9584a3896472ec40bb863cfd3e86804fe3a47f06a2b69484c00000413011302010000c000000010000e00000b6578\
        616d706c652e636f6dff01000100000a00080006001d00170018001000070005\
        04616c706e000500050100000000003300260024001d00209370b2c9caa47fba\
        baf4559fedba753de171fa71f50f1ce15d43e994ec74d748002b000302030400\
        0d0010000e0403050306030203080408050806002d00020101001c0002400100\
        3900320408ffffffffffffffff05048000ffff07048000ffff08011001048000\
        75300901100f088394c8f03e51570806048000ffff",
    );
    let packet = seal(Version::One, &CONNECTION, 2, &payload);
    assert_eq!(packet[..38], hex("c000000001088394c8f03e5157080000449e7b9aec34d1b1c98dd7689fb8ec11d242b123dc9b"));
    assert_eq!(packet.len(), 1200);
    let (client, server) = ends();
    let hello = Listener::default().datagram(client, server, &packet).unwrap();
    assert_eq!((hello.name.as_deref(), hello.protocols.as_slice()), (Some("example.com"), &["alpn".to_owned()][..]));
    assert!(hello.ja4.starts_with("q13d0211an_"), "{}", hello.ja4);
}

/// RFC 9369 appendix A.1.
#[test]
fn the_keys_of_version_2() {
    let keys = Keys::derive(Version::Two, &CONNECTION).unwrap();
    assert_eq!(keys.iv.to_vec(), hex("91f73e2351d8fa91660e909f"));
}

#[test]
fn hellos_over_several_packets_in_any_order() {
    let hello = hello_to("tools.corp.example", &NODE);
    let (client, server) = ends();
    for version in [Version::One, Version::Two] {
        for size in [40, 100, 1000] {
            let mut packets: Vec<_> = hello.chunks(size).enumerate().map(|(n, part)| crypto(n * size, part)).collect();
            packets.reverse();
            // PING, ACK with a range and counts, and the last piece twice.
            packets.insert(1, [&[1, 3, 5, 0, 1, 0, 0, 0, 1, 1, 1][..], &packets[0]].concat());
            let mut listener = Listener::default();
            let sealed = packets.iter().enumerate().map(|(n, p)| seal(version, &CONNECTION, u32::try_from(n).unwrap(), p));
            let heard: Vec<_> = sealed.filter_map(|p| listener.datagram(client, server, &p)).collect();
            assert_eq!(heard.len(), 1, "once, {version:?} {size}");
            assert_eq!(heard[0].name.as_deref(), Some("tools.corp.example"));
            assert_eq!(listener.lost, 0);
        }
    }
}

#[test]
fn two_packets_in_one_datagram_and_a_retry_with_another_id() {
    let hello = hello_to("a.example", &NODE);
    let (client, server) = ends();
    let half = hello.len() / 2;
    let both =
        [seal(Version::One, &CONNECTION, 0, &crypto(half, &hello[half..])), seal(Version::One, &CONNECTION, 1, &crypto(0, &hello[..half]))];
    assert!(Listener::default().datagram(client, server, &both.concat()).is_some());
    let mut listener = Listener::default();
    assert!(listener.datagram(client, server, &both[0]).is_none());
    assert!(listener.datagram(client, server, &seal(Version::One, b"another", 2, &crypto(0, &hello))).is_some());
}

#[test]
fn what_never_becomes_a_hello_is_bounded_and_counted() {
    let (client, server) = ends();
    let mut listener = Listener::default();
    for n in 0..40 {
        let packet = seal(Version::One, &CONNECTION, n, &crypto(500 + usize::try_from(n).unwrap() * 30, &[7; 20]));
        assert!(listener.datagram(client, server, &packet).is_none());
    }
    assert_eq!(listener.lost, 1);
    let mut spoiled = seal(Version::One, &CONNECTION, 0, &crypto(0, &hello_to("a.example", &NODE)));
    *spoiled.last_mut().unwrap() ^= 1;
    assert!(Listener::default().datagram(client, server, &spoiled).is_none());
    assert!(!begins(&[0x40; 1200]) && !begins(&[0xe0, 0, 0, 0, 1]));
}

#[test]
fn a_datagram_is_of_one_connection_and_what_has_no_sample_is_passed_over() {
    let (client, server) = ends();
    let good = seal(Version::One, &CONNECTION, 0, &crypto(0, &hello_to("a.example", &NODE)));
    // Ten bytes: no ids, no token, one byte of payload.
    let empty = [0xc3, 0, 0, 0, 1, 0, 0, 0, 1, 0].repeat(100);
    assert!(Listener::default().datagram(client, server, &[&empty[..], &good].concat()).is_some());
    let mut spoiled = good.clone();
    *spoiled.last_mut().unwrap() ^= 1;
    assert!(Listener::default().datagram(client, server, &[&spoiled[..], &good].concat()).is_some());
    // Each with keys of its own: only the first pair is made.
    let mut foreign = seal(Version::One, b"another", 0, &[]);
    *foreign.last_mut().unwrap() ^= 1;
    assert!(Listener::default().datagram(client, server, &[&foreign[..], &good].concat()).is_none());
    assert!(Listener::default().datagram(client, server, &good).is_some());
}
