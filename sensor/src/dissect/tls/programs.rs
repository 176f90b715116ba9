//! Which TLS stacks MCP's client libraries stand on, by the part of JA4 that does not change with the name asked for. A hint on the
//! client, never on the server: every program on the same stack looks the same.

/// Digest of the ciphers, digest of the extensions if it tells more, whose stack it is. Each was measured, with the version named.
const STACKS: [(&str, Option<&str>, &str); 4] = [
    // httpx 0.28 on Python 3.11, OpenSSL 3.0: the Python SDK and FastMCP. Without the digest of extensions it is all of Python.
    ("85036bcba153", Some("d41ae481755e"), "Python httpx"),
    // fetch and https of Node 20.20; the extensions change with a resumed session.
    ("a33745022dd6", None, "Node.js"),
    // The same of Node 22.23.
    ("b262b3658495", None, "Node.js"),
    // reqwest 0.13 on rustls 0.23 with ring: the Rust SDK.
    ("61a7ad8aa9b6", None, "rustls"),
];

/// The stack a hello was made by, if it is one that MCP clients use.
pub fn program(ja4: &str) -> Option<&'static str> {
    let (_, digests) = ja4.split_once('_')?;
    let (ciphers, extensions) = digests.split_once('_')?;
    let found = STACKS.iter().find(|(c, e, _)| *c == ciphers && e.is_none_or(|e| e == extensions));
    found.map(|(_, _, name)| *name)
}
