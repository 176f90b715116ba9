//! `gnomon explain CALL`: the record of one request, by the id in its answer's `X-Gnomon-Call`.

use crate::{
    failure::{Exit, Failure, Side},
    out,
};
use gateway::audit::{Line, LogEntry, Record, find};
use rules::printable::printable;
use std::path::Path;

/// 32 hexadecimal digits: nothing else that can be explained looks so.
pub(super) fn is_id(subject: &str) -> bool {
    subject.len() == 32 && subject.bytes().all(|b| b.is_ascii_digit() || matches!(b, b'a'..=b'f'))
}

/// Read from the log itself: the gateway need not run, and no collector is asked.
pub(super) fn run(data: &Path, call: &str, json: bool) -> Result<Exit, Failure> {
    let log = data.join("audit");
    let todo = "run this where the gateway runs, with its --data; records older than `audit.keep` are gone";
    let unread = |why| Failure::new(Side::Machine, format!("the audit log in {} cannot be read: {why}", log.display()), todo);
    let none = || Failure::new(Side::CommandLine, format!("{} has no record of call {call}", log.display()), todo);
    let line = find(&log, call).map_err(unread)?.ok_or_else(none)?;
    if json {
        out::object(&line)?;
    } else {
        lines(&line).iter().try_for_each(out::line)?;
    }
    Ok(Exit::Clear)
}

fn lines(line: &Line) -> Vec<String> {
    let LogEntry::Call(r) = &line.entry else { return Vec::new() };
    let plain = |text: &str| printable(text, 400);
    let peer = r.peer.map_or_else(|| "an unknown address".to_owned(), |p| p.to_string());
    let mut said = vec![format!("call {} from {peer}, {}: {}", r.call, r.at, plain(&asked(r)))];
    said.push(match &r.principal {
        Some(who) => format!("by tenant `{}` with key {}", plain(&who.tenant), plain(&who.subject)),
        None => "by nobody who is known: no valid key".to_owned(),
    });
    let status = if r.status == 0 { "nothing".to_owned() } else { r.status.to_string() };
    said.push(format!(
        "{}: answered {status} after {} ms, over after {} ms, {} bytes",
        r.outcome.word(),
        ms(r.latency_us),
        ms(r.duration_us),
        r.bytes
    ));
    if let Some(rule) = &r.rule {
        said.push(format!("  by rule {}: {}", plain(rule), plain(r.why.as_deref().unwrap_or("no reason was noted"))));
    }
    if let Some(grant) = &r.grant {
        said.push(format!("  let through by grant `{}`", plain(grant)));
    }
    let known = [("bundle generation", r.generation), ("registration revision", r.revision)];
    let by: Vec<String> = known.into_iter().filter_map(|(what, n)| Some(format!("{what} {}", n?))).collect();
    if !by.is_empty() {
        said.push(format!("  decided by {}", by.join(", ")));
    }
    said.extend(r.backend.map(|b| format!("  backend {b}")));
    said.extend(r.params.as_ref().map(|hash| format!("  parameters, SHA-256 of their canonical JSON: {}", plain(hash))));
    said.push(format!("  record {} of the log, after the one with hash {}", line.seq, line.prev));
    said
}

/// What was asked of whom.
fn asked(r: &Record) -> String {
    let mut said = vec![r.http.clone()];
    said.extend(r.method.clone());
    said.extend(r.tool.as_ref().map(|t| format!("`{t}`")));
    said.extend(r.slug.as_ref().map(|s| format!("of `{s}`")));
    said.join(" ")
}

fn ms(us: u64) -> String {
    format!("{}.{}", us / 1000, us % 1000 / 100)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_is_meant_by_its_id_and_nothing_else_is() {
        assert!(is_id("01a21a4c4b41c84e1f82ee9a495e471c"));
        for other in ["10.0.0.5", "F-1a2b3c4d", "fd00::1", "01A21A4C4B41C84E1F82EE9A495E471C", "01a21a4c"] {
            assert!(!is_id(other), "{other}");
        }
    }

    #[test]
    fn a_refused_call_is_told_with_its_rule_and_without_control_characters() {
        let text = r#"{"seq":7,"prev":"ab","kind":"call","call":"01a21a4c4b41c84e1f82ee9a495e471c","at":"2026-11-27T00:00:09Z",
            "peer":"10.0.0.9:5000","http":"POST","slug":"files","method":"tools/call","tool":"rm\u001b[31m",
            "principal":{"tenant":"agents","subject":"de49"},"status":200,"outcome":"denied","rule":"authorize.tool",
            "why":"no grant covers it","generation":3,"latency_us":1234,"duration_us":1234}"#;
        let told = lines(&serde_json::from_str(text).unwrap());
        assert_eq!(
            told,
            [
                r"call 01a21a4c4b41c84e1f82ee9a495e471c from 10.0.0.9:5000, 2026-11-27T00:00:09Z: POST tools/call `rm\u{1b}[31m` of `files`",
                "by tenant `agents` with key de49",
                "denied: answered 200 after 1.2 ms, over after 1.2 ms, 0 bytes",
                "  by rule authorize.tool: no grant covers it",
                "  decided by bundle generation 3",
                "  record 7 of the log, after the one with hash ab",
            ]
        );
    }
}
