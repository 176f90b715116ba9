//! Whatever comes in: no panic, and what is accepted is what every reader sees.

use super::{
    envelope::{Envelope, Kind},
    era, json,
};
use crate::{
    forward::{Lens, Reader},
    host_check::HostCheck,
};
use bytes::Bytes;
use hyper::{HeaderMap, header::HeaderValue};
use proptest::prelude::*;
use rules::access::{Grant, Principal};
use serde_json::{Value, json};

fn any_json() -> impl Strategy<Value = Value> {
    let key = prop_oneof![
        "[a-zA-Z/_]{0,8}",
        Just("method".to_owned()),
        Just("params".to_owned()),
        Just("name".to_owned()),
        Just("_meta".to_owned())
    ];
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        ".{0,12}".prop_map(Value::from)
    ];
    leaf.prop_recursive(5, 40, 6, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
            prop::collection::hash_map(key.clone(), inner, 0..6).prop_map(|m| Value::Object(m.into_iter().collect())),
        ]
    })
}

fn reader(tool: &str) -> Reader {
    let grant = Grant { id: "g".into(), tenant: "t".into(), subject: None, slug: "s".into(), tools: vec![tool.into()] };
    Reader { who: Principal { tenant: "t".into(), subject: "n".into() }, slug: "s".into(), grants: vec![grant], modern: true }
}

proptest! {
    #[test]
    fn any_bytes_are_read_or_refused(bytes: Vec<u8>, depth in 0usize..80) {
        let _ = Envelope::read(&bytes, depth);
    }

    #[test]
    fn any_json_is_read_as_others_read_it(value in any_json()) {
        let text = value.to_string();
        prop_assert_eq!(&json::parse(text.as_bytes(), 64).unwrap(), &value);
        if let Ok(envelope) = Envelope::read(text.as_bytes(), 64) {
            for (message, seen) in envelope.messages.iter().zip(value.as_array().unwrap_or(&vec![value.clone()])) {
                prop_assert_eq!(message.kind == Kind::Response, seen.get("method").is_none());
            }
            let _ = era::check(&HeaderMap::new(), &envelope);
        }
    }

    #[test]
    fn only_the_exact_name_of_the_tool_is_the_tool(name in ".{0,20}") {
        let call = json!({ "jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": { "name": name } });
        let envelope = Envelope::read(call.to_string().as_bytes(), 64).unwrap();
        prop_assert_eq!(envelope.messages[0].tool.as_deref(), Some(name.as_str()));
    }

    #[test]
    fn any_host_is_ours_or_refused(host: Vec<u8>, local: u32) {
        let mut headers = HeaderMap::new();
        if let Ok(value) = HeaderValue::from_bytes(&host) {
            headers.insert("host", value);
        }
        let ours = HostCheck::new(&["tools.corp.example".into()], &[]);
        let local = std::net::Ipv4Addr::from(local);
        if ours.check(&"/".parse().unwrap(), &headers, local.into()).is_ok() {
            let host = String::from_utf8(host).unwrap().to_lowercase();
            let name = host.rsplit_once(':').map_or(host.as_str(), |(name, _)| name);
            prop_assert!(["localhost", "tools.corp.example"].contains(&name) || name.starts_with("127.") || name.starts_with("[::") || name == local.to_string());
        }
    }

    #[test]
    fn a_stream_of_any_bytes_passes_whole_or_is_cut(pieces: Vec<Vec<u8>>) {
        let mut plain = Lens::new(None, Some(json!(1)), None, 1 << 20, "c").unwrap();
        let mut out = Vec::new();
        for piece in &pieces {
            out.extend_from_slice(&plain.pass(&Bytes::from(piece.clone())).unwrap());
        }
        prop_assert!(pieces.concat().starts_with(&out));
        let mut cut = Lens::new(Some(reader("a")), None, None, 64, "c").unwrap();
        for piece in pieces {
            if cut.pass(&Bytes::from(piece)).is_err() {
                break;
            }
        }
    }

    #[test]
    fn no_list_shows_what_was_not_granted(names in prop::collection::vec("[a-c]{1,2}", 0..6), cut in 0usize..200, crlf: bool) {
        let tools: Vec<_> = names.iter().map(|n| json!({ "name": n, "description": "secret" })).collect();
        let message = json!({ "jsonrpc": "2.0", "id": 1, "result": { "tools": tools } });
        let mut stream = format!(": ping\n\nid: 1\ndata: {message}\n\n");
        if crlf {
            stream = stream.replace('\n', "\r\n");
        }
        let (a, b) = stream.as_bytes().split_at(cut.min(stream.len()));
        let mut lens = Lens::new(Some(reader("a")), None, None, 1 << 20, "c").unwrap();
        let mut out = lens.pass(&Bytes::copy_from_slice(a)).unwrap().to_vec();
        out.extend_from_slice(&lens.pass(&Bytes::copy_from_slice(b)).unwrap());
        let text = String::from_utf8(out).unwrap();
        let shown = text.matches("\"name\":").count();
        prop_assert_eq!(shown, names.iter().filter(|n| *n == "a").count());
        prop_assert_eq!(text.matches("\"name\":\"a\"").count(), shown);
    }
}
