//! Lists of tools, cut to what their reader may call: by the same rule as calling.

use rules::access::{Entitlement, Grant, Principal};
use serde::Deserialize;
use serde_json::value::{RawValue, to_raw_value};
use std::{borrow::Cow, collections::BTreeMap};

/// Members of an object with their values as they were written.
type Members = BTreeMap<String, Box<RawValue>>;

/// No list may be kept longer than this (milliseconds): grants change.
const MAX_TTL: u64 = 60_000;

/// Whose eyes a list is for.
#[derive(Clone, Debug)]
pub(crate) struct Reader {
    pub(crate) who: Principal,
    pub(crate) slug: String,
    pub(crate) grants: Vec<Grant>,
    /// The 2026-07-28 revision says who may keep an answer.
    pub(crate) modern: bool,
}

#[derive(Debug, thiserror::Error)]
#[error("the backend's answer cannot be read as a list of tools: {0}")]
pub(crate) struct Unreadable(#[from] serde_json::Error);

impl Reader {
    /// Whether everything may be seen: then a stream need not be looked at.
    pub(crate) fn sees_all(&self) -> bool {
        self.entitlement().shows_all_tools()
    }

    fn entitlement(&self) -> Entitlement<'_> {
        Entitlement { principal: &self.who, server: &self.slug, grants: &self.grants }
    }

    /// The message or batch as this reader may have it; `None`: as it stands.
    pub(crate) fn view(&self, json: &[u8]) -> Result<Option<Vec<u8>>, Unreadable> {
        // Nearly all events are something else, and none of them is parsed.
        if !contains(json, b"tools") && !contains(json, b"\\u") {
            return Ok(None);
        }
        let first = json.trim_ascii_start().first();
        if !matches!(first, Some(b'{' | b'[')) {
            return Ok(None);
        }
        if first == Some(&b'[') {
            let mut changed = false;
            let mut messages: Vec<Box<RawValue>> = serde_json::from_slice(json)?;
            for message in &mut messages {
                if let Some(new) = self.message(message.get())? {
                    *message = new;
                    changed = true;
                }
            }
            return Ok(changed.then(|| serde_json::to_vec(&messages)).transpose()?);
        }
        let text = std::str::from_utf8(json).map_err(<serde_json::Error as serde::de::Error>::custom)?;
        Ok(self.message(text)?.map(|m| m.get().as_bytes().to_vec()))
    }

    fn message(&self, text: &str) -> Result<Option<Box<RawValue>>, serde_json::Error> {
        // Notifications, requests and errors have no `result`, and other results no list.
        let mut message: Members = serde_json::from_str(text)?;
        let Some(Ok(mut result)) = message.get("result").map(|r| serde_json::from_str::<Members>(r.get())) else {
            return Ok(None);
        };
        let Some(Ok(tools)) = result.get("tools").map(|t| serde_json::from_str::<Vec<Box<RawValue>>>(t.get())) else {
            return Ok(None);
        };
        let visible: Vec<_> = tools.into_iter().filter(|t| self.may_see(t.get())).collect();
        result.insert("tools".into(), to_raw_value(&visible)?);
        if self.modern || result.contains_key("cacheScope") {
            result.insert("cacheScope".into(), to_raw_value("private")?);
        }
        if let Some(ttl) = result.get("ttlMs").and_then(|t| serde_json::from_str::<f64>(t.get()).ok())
            && ttl > MAX_TTL as f64
        {
            result.insert("ttlMs".into(), to_raw_value(&MAX_TTL)?);
        }
        message.insert("result".into(), to_raw_value(&result)?);
        to_raw_value(&message).map(Some)
    }

    /// What has no name cannot be granted.
    fn may_see(&self, tool: &str) -> bool {
        #[derive(Deserialize)]
        struct Named<'a> {
            #[serde(borrow)]
            name: Cow<'a, str>,
        }
        serde_json::from_str::<Named<'_>>(tool).is_ok_and(|t| self.entitlement().shows_tool(&t.name))
    }
}

pub(super) fn contains(haystack: &[u8], needle: &[u8]) -> bool {
    haystack.windows(needle.len()).any(|w| w == needle)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reader(tools: &[&str], modern: bool) -> Reader {
        let who = Principal { tenant: "acme".into(), subject: "n1".into() };
        let tools = tools.iter().map(|t| t.to_string()).collect();
        let grant = Grant { id: "g".into(), tenant: "acme".into(), subject: None, slug: "files".into(), tools };
        Reader { who, slug: "files".into(), grants: vec![grant], modern }
    }

    fn view(r: &Reader, json: &str) -> Option<String> {
        r.view(json.as_bytes()).unwrap().map(|v| String::from_utf8(v).unwrap())
    }

    const LIST: &str = r#"{"jsonrpc":"2.0","id":1,"result":{"tools":[{"name":"read","x":1e400},{"name":"write"},{"n":1},{"name":"r\u0065ad"}],"nextCursor":"c"}}"#;

    #[test]
    fn only_granted_tools_are_listed_and_their_definitions_stay_as_written() {
        assert_eq!(
            view(&reader(&["read"], false), LIST).unwrap(),
            r#"{"id":1,"jsonrpc":"2.0","result":{"nextCursor":"c","tools":[{"name":"read","x":1e400},{"name":"r\u0065ad"}]}}"#
        );
        assert!(view(&reader(&[], false), LIST).unwrap().contains(r#""tools":[]"#));
    }

    #[test]
    fn a_filtered_list_is_nobody_elses_and_not_for_long() {
        let public = r#"{"id":1,"result":{"tools":[],"cacheScope":"public","ttlMs":86400000}}"#;
        for r in [reader(&["*"], true), reader(&["*"], false)] {
            assert_eq!(view(&r, public).unwrap(), r#"{"id":1,"result":{"cacheScope":"private","tools":[],"ttlMs":60000}}"#);
        }
        assert!(view(&reader(&["*"], true), r#"{"id":1,"result":{"tools":[]}}"#).unwrap().contains(r#""cacheScope":"private""#));
    }

    #[test]
    fn batches_are_read_message_by_message_and_other_messages_stay() {
        let batch = format!(r#"[{{"id":2,"result":{{"a":1.0}}}},{LIST}]"#);
        let seen = view(&reader(&["write"], false), &batch).unwrap();
        assert!(seen.starts_with(r#"[{"id":2,"result":{"a":1.0}},"#) && seen.contains("write") && !seen.contains("read"), "{seen}");
        for other in [r#"{"id":1,"result":{"content":"tools"}}"#, r#"{"id":1,"error":{"message":"no tools"}}"#, r#"{"method":"tools/x"}"#] {
            assert_eq!(view(&reader(&[], false), other), None);
        }
    }

    #[test]
    fn an_escaped_spelling_hides_nothing() {
        let sly = r#"{"id":1,"result":{"t\u006fols":[{"name":"write"}]}}"#;
        assert!(view(&reader(&[], false), sly).unwrap().contains(r#""tools":[]"#));
    }
}
