use super::*;

/// Ciphers that Node.js 22 offers.
pub(in crate::dissect) const NODE: [u16; 52] = [
    0x1302, 0x1303, 0x1301, 0xc02f, 0xc02b, 0xc030, 0xc02c, 0x009e, 0xc027, 0x0067, 0xc028, 0x006b, 0x00a3, 0x009f, 0xcca9, 0xcca8, 0xccaa,
    0xc0ad, 0xc09f, 0xc05d, 0xc061, 0xc057, 0xc053, 0x00a2, 0xc0ac, 0xc09e, 0xc05c, 0xc060, 0xc056, 0xc052, 0xc024, 0x006a, 0xc023, 0x0040,
    0xc00a, 0xc014, 0x0039, 0x0038, 0xc009, 0xc013, 0x0033, 0x0032, 0x009d, 0xc09d, 0xc051, 0x009c, 0xc09c, 0xc050, 0x003d, 0x003c, 0x0035,
    0x002f,
];

fn counted(n: usize, bytes: &[u8]) -> Vec<u8> {
    [&(bytes.len() as u64).to_be_bytes()[8 - n..], bytes].concat()
}

fn numbers(list: &[u16]) -> Vec<u8> {
    list.iter().flat_map(|n| n.to_be_bytes()).collect()
}

/// A `server_name` extension's content.
fn sni(name: &str) -> Vec<u8> {
    counted(2, &[&[0][..], &counted(2, name.as_bytes())].concat())
}

fn alpn(protocols: &[&str]) -> Vec<u8> {
    counted(2, &protocols.iter().flat_map(|p| counted(1, p.as_bytes())).collect::<Vec<_>>())
}

/// A handshake message.
fn message(kind: u8, body: &[u8]) -> Vec<u8> {
    [&[kind][..], &counted(3, body)].concat()
}

fn client_hello(ciphers: &[u16], extensions: &[(u16, Vec<u8>)]) -> Vec<u8> {
    let extensions: Vec<u8> =
        extensions.iter().flat_map(|(kind, content)| [kind.to_be_bytes().to_vec(), counted(2, content)].concat()).collect();
    let body = [&[3, 3][..], &[7; 32], &[0], &counted(2, &numbers(ciphers)), &[1, 0], &counted(2, &extensions)].concat();
    message(CLIENT_HELLO, &body)
}

/// A hello to `name` (none when empty), as a handshake message.
pub(in crate::dissect) fn hello_to(name: &str, ciphers: &[u16]) -> Vec<u8> {
    let named = (!name.is_empty()).then(|| (0, sni(name)));
    client_hello(ciphers, &named.into_iter().chain([(16, alpn(&["http/1.1"]))]).collect::<Vec<_>>())
}

/// Handshake messages in records of at most `size` bytes.
pub(in crate::dissect) fn records(messages: &[u8], size: usize) -> Vec<u8> {
    messages.chunks(size).flat_map(|part| [&[0x16, 3, 1][..], &counted(2, part)].concat()).collect()
}

fn parsed(hello: &[u8]) -> Hello {
    Hello::parse(&hello[4..], Carrier::Tcp).unwrap()
}

/// The example of the published specification (FoxIO JA4, technical details): order and GREASE do not matter, signatures' order does.
#[test]
fn ja4_as_published() {
    let ciphers =
        [0x0a0a, 0x1301, 0x1302, 0x1303, 0xc02b, 0xc02f, 0xc02c, 0xc030, 0xcca9, 0xcca8, 0xc013, 0xc014, 0x009c, 0x009d, 0x002f, 0x0035];
    let signatures = counted(2, &numbers(&[0x0403, 0x0804, 0x0401, 0x0503, 0x0805, 0x0501, 0x0806, 0x0601]));
    let versions = counted(1, &numbers(&[0x3a3a, 0x0304, 0x0303]));
    let empty =
        [0x001b, 0x0033, 0x4469, 0x0017, 0x002d, 0x0005, 0x0023, 0x0012, 0xff01, 0x000b, 0x000a, 0x0015].map(|kind| (kind, Vec::new()));
    let mut extensions =
        vec![(0x2a2a, Vec::new()), (0, sni("Example.com")), (16, alpn(&["h2", "http/1.1"])), (13, signatures), (43, versions)];
    extensions.extend(empty);
    let seen = parsed(&client_hello(&ciphers, &extensions));
    assert_eq!(seen.ja4, "t13d1516h2_8daaf6152771_e5627efa2ab1");
    assert_eq!((seen.name.as_deref(), seen.http2()), (Some("example.com"), true));
    extensions.reverse();
    assert_eq!(parsed(&client_hello(&ciphers, &extensions)).ja4, seen.ja4);
    assert!(Hello::parse(&client_hello(&ciphers, &extensions)[4..], Carrier::Quic).unwrap().ja4.starts_with("q13d"));
}

#[test]
fn ja4_of_little_and_odd_hellos() {
    assert_eq!(parsed(&client_hello(&[], &[])).ja4, "t12i000000_000000000000_000000000000");
    let odd = |protocol: &str| parsed(&client_hello(&[0x1301], &[(16, alpn(&[protocol]))])).ja4[..10].to_owned();
    // First and last character, in hexadecimal where either is no letter or digit.
    assert_eq!([odd("h2"), odd("x"), odd("\u{1}a"), odd("h-")], ["t12i0101h2", "t12i0101xx", "t12i010101", "t12i01016d"]);
}

#[test]
fn stacks_of_mcp_clients_are_known_by_what_they_offer() {
    assert_eq!(programs::program(&parsed(&hello_to("a.example", &NODE)).ja4), Some("Node.js"));
    assert_eq!(programs::program("t13d1812h1_85036bcba153_d41ae481755e"), Some("Python httpx"));
    assert_eq!(programs::program("t13d1812h1_85036bcba153_b26ce05bbdd6"), None, "Python requests");
    assert_eq!(programs::program("nonsense"), None);
}

/// The Rust SDK's stack, made by the stack itself.
#[test]
fn rustls_is_known() {
    let provider = std::sync::Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let mut config = config.with_root_certificates(rustls::RootCertStore::empty()).with_no_client_auth();
    for protocols in [vec![], vec![b"h2".to_vec(), b"http/1.1".to_vec()]] {
        config.alpn_protocols = protocols;
        let mut client = rustls::ClientConnection::new(std::sync::Arc::new(config.clone()), "a.example".try_into().unwrap()).unwrap();
        let mut sent = Vec::new();
        client.write_tls(&mut sent).unwrap();
        let mut handshakes = Handshakes::default();
        handshakes.feed(&sent).unwrap();
        let (kind, body) = handshakes.take().unwrap();
        let hello = Hello::parse(&body, Carrier::Tcp).unwrap();
        assert_eq!((kind, programs::program(&hello.ja4)), (CLIENT_HELLO, Some("rustls")), "{}", hello.ja4);
    }
}

#[test]
fn handshakes_in_any_records_and_any_pieces() {
    let both = [hello_to("a.example", &NODE), message(CERTIFICATE, b"xyz")].concat();
    for size in [1, 5, 100, 1 << 14] {
        let sent = records(&both, size);
        for step in [1, 3, 4096] {
            let mut handshakes = Handshakes::default();
            sent.chunks(step).for_each(|piece| handshakes.feed(piece).unwrap());
            let kinds: Vec<u8> = std::iter::from_fn(|| handshakes.take()).map(|(kind, _)| kind).collect();
            assert_eq!(kinds, [CLIENT_HELLO, CERTIFICATE], "{size} {step}");
        }
    }
    assert_eq!(Handshakes::default().feed(&[0x17, 3, 3, 0, 1, 0]), Err(Over), "encrypted");
    assert_eq!(Handshakes::default().feed(&[0x16, 3, 3, 0xff, 0xff, 1]), Err(Over), "longer than a record can be");
    let endless = records(&vec![1; 200_000], 1 << 14);
    assert_eq!(Handshakes::default().feed(&endless), Err(Over), "a message without end");
}

/// A `certificate` message with one certificate for `names`.
pub(in crate::dissect) fn certificate_for(names: &[&str]) -> Vec<u8> {
    let names: Vec<String> = names.iter().map(|n| (*n).to_owned()).collect();
    let mut parameters = rcgen::CertificateParams::new(names).unwrap();
    parameters.distinguished_name.push(rcgen::DnType::CommonName, "Warehouse \u{1b}[2J");
    parameters.not_after = rcgen::date_time_ymd(2031, 5, 1);
    let der = parameters.self_signed(&rcgen::KeyPair::generate().unwrap()).unwrap().der().to_vec();
    message(CERTIFICATE, &counted(3, &counted(3, &der)))
}

#[test]
fn a_certificate_in_the_clear() {
    let seen = certificate(&certificate_for(&["MCP.corp.example", "b.example"])[4..]).unwrap();
    assert_eq!(seen.names, ["mcp.corp.example", "b.example"]);
    assert!(seen.subject.contains("CN=Warehouse") && !seen.subject.contains('\u{1b}'), "{}", seen.subject);
    assert!(seen.expires.to_string().starts_with("2031-05-01"), "{}", seen.expires);
    assert_eq!(certificate(&[0, 0, 9, 0, 0, 5, 1]), None);
}
