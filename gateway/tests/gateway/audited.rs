//! One request, one record, whatever happens; and none without.

use crate::{
    backend::Backend,
    client::{Ask, call, rpc},
    site::{Plan, key, simple},
};
use gateway::{
    audit::{self, LogEntry, Outcome},
    config::OnFailure,
};
use rules::period::Period;
use serde_json::json;
use std::{collections::BTreeMap, fs, time::Duration};

#[tokio::test]
async fn every_request_has_exactly_one_record_under_its_call_id() {
    let backend = Backend::echo().await;
    let mut site = Plan::new().server("files", &backend).grant("acme/n1", "files", &["read"]).run().await;
    let mut expected = BTreeMap::new();
    for (ask, outcome) in [
        (Ask::post(call("read")).key(&key("acme/n1")), Outcome::Answered),
        (Ask::post(call("write")).key(&key("acme/n1")), Outcome::Denied),
        (Ask::post(call("read")), Outcome::Unauthenticated),
        (Ask::raw("{").key(&key("acme/n1")), Outcome::Invalid),
        (Ask::post(call("read")).at("/elsewhere"), Outcome::Invalid),
        (Ask::post(json!({ "jsonrpc": "2.0", "method": "notifications/initialized" })).key(&key("acme/n1")), Outcome::Answered),
        (Ask::bare("GET").key(&key("acme/n1")), Outcome::Answered),
    ] {
        let got = site.send(ask).await;
        assert_eq!(got.call().len(), 32);
        assert!(expected.insert(got.call().to_owned(), (got.status, outcome)).is_none(), "ids are unlike");
    }
    let records = site.records().await;
    let recorded: BTreeMap<_, _> = records.iter().map(|r| (r.call.clone(), (r.status, r.outcome))).collect();
    assert_eq!((records.len(), recorded), (expected.len(), expected));
    assert!(audit::verify(&site.audit_dir()).unwrap().holds());
}

#[tokio::test]
async fn no_argument_key_or_escape_sequence_is_written_down() {
    let backend = Backend::echo().await;
    let mut site = simple(&backend).await;
    let sly = rpc(1, "tools/call", json!({ "name": "a\u{1b}[31m\u{202e}b", "arguments": { "password": "hunter2" } }));
    site.send(Ask::post(sly).key(&key("acme/n1"))).await;
    site.send(Ask::raw("").at("/\u{202e}").key(&key("acme/n1"))).await;
    site.stop().await;
    let text: String = fs::read_dir(site.audit_dir()).unwrap().map(|f| fs::read_to_string(f.unwrap().path()).unwrap()).collect();
    assert!(text.contains("a\\\\u{1b}[31m\\\\u{202e}b"), "{text}");
    assert!(!text.contains("hunter2") && !text.contains(&key("acme/n1")) && text.is_ascii());
}

#[tokio::test]
async fn the_same_parameters_have_the_same_hash() {
    let backend = Backend::echo().await;
    let mut site = simple(&backend).await;
    for text in
        [r#"{"name":"a","arguments":{"x":1,"y":[2]}}"#, r#"{ "arguments": {"y": [2], "x": 1}, "name": "\u0061" }"#, r#"{"name":"a"}"#]
    {
        site.send(Ask::raw(format!(r#"{{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{text}}}"#)).key(&key("acme/n1"))).await;
    }
    let hashes: Vec<_> = site.records().await.into_iter().map(|r| r.params.unwrap()).collect();
    assert_eq!(hashes[0], hashes[1]);
    assert_ne!(hashes[0], hashes[2]);
}

#[tokio::test]
async fn a_record_can_be_found_and_a_changed_log_is_noticed() {
    let backend = Backend::echo().await;
    let mut site = simple(&backend).await;
    let mut calls = Vec::new();
    for _ in 0..3 {
        calls.push(site.send(Ask::post(call("read")).key(&key("acme/n1"))).await.call().to_owned());
    }
    site.stop().await;
    let dir = site.audit_dir();
    let found = audit::find(&dir, &calls[1]).unwrap().unwrap();
    assert!(matches!(found.entry, LogEntry::Call(r) if r.call == calls[1]));
    assert_eq!(audit::find(&dir, "0".repeat(32).as_str()).unwrap(), None);
    let report = audit::verify(&dir).unwrap();
    assert_eq!((report.lines, report.head.seq, report.holds()), (3, 3, true));

    let file = dir.join("gateway-00000000000000000001.jsonl");
    let text = fs::read_to_string(&file).unwrap();
    fs::write(&file, text.replacen("\"status\":200", "\"status\":403", 1)).unwrap();
    let report = audit::verify(&dir).unwrap();
    assert_eq!(report.breaks.iter().map(|b| b.line).collect::<Vec<_>>(), [1]);
}

#[tokio::test]
async fn a_restart_goes_on_where_the_log_ended() {
    let backend = Backend::echo().await;
    let plan = || Plan::new().server("files", &backend).grant("acme/n1", "files", &["*"]);
    let mut site = plan().run().await;
    site.send(Ask::post(call("read")).key(&key("acme/n1"))).await;
    site.stop().await;
    let mut site = plan().run_in(site.into_dir()).await;
    site.send(Ask::post(call("read")).key(&key("acme/n1"))).await;
    let lines = site.stop().await;
    assert_eq!(lines.iter().map(|l| l.seq).collect::<Vec<_>>(), [1, 2]);
    assert!(audit::verify(&site.audit_dir()).unwrap().holds());
}

/// Every record wants a new file, and the directory for it is gone.
async fn broken(on_failure: OnFailure, backend: &Backend) -> crate::site::Site {
    let plan = Plan::new().server("files", backend).grant("acme/n1", "files", &["*"]);
    let site = plan
        .config(|c| (c.audit.file_bytes, c.audit.on_failure, c.audit.sync_every) = (1, on_failure, Period(Duration::from_millis(10))))
        .run()
        .await;
    assert_eq!(site.send(Ask::post(call("read")).key(&key("acme/n1"))).await.status, 200);
    while audit::verify(&site.audit_dir()).unwrap().lines == 0 {
        tokio::task::yield_now().await;
    }
    fs::rename(site.audit_dir(), site.audit_dir().with_extension("away")).unwrap();
    // This one has its ticket already when the writing of its record fails.
    assert_eq!(site.send(Ask::post(call("read")).key(&key("acme/n1"))).await.status, 200);
    while site.send(Ask::bare("GET").at("/healthz")).await.status == 200 {
        tokio::task::yield_now().await;
    }
    site
}

#[tokio::test]
async fn what_cannot_be_recorded_is_not_done_and_recording_resumes() {
    let backend = Backend::echo().await;
    let mut site = broken(OnFailure::Refuse, &backend).await;
    let before = backend.asked().len();
    let got = site.send(Ask::post(call("read")).key(&key("acme/n1"))).await;
    assert_eq!((got.status, got.rule().as_str(), backend.asked().len()), (503, "audit.unavailable", before));
    fs::rename(site.audit_dir().with_extension("away"), site.audit_dir()).unwrap();
    while site.send(Ask::bare("GET").at("/healthz")).await.status != 200 {
        tokio::task::yield_now().await;
    }
    assert_eq!(site.send(Ask::post(call("read")).key(&key("acme/n1"))).await.status, 200);
    let lines = site.stop().await;
    let gaps: Vec<_> = lines.iter().filter_map(|l| if let LogEntry::Gap(gap) = &l.entry { Some(gap.turned_away) } else { None }).collect();
    assert_eq!((lines.len(), gaps), (4, vec![1]), "three calls, and how many were turned away");
    assert!(audit::verify(&site.audit_dir()).unwrap().holds());
}

#[tokio::test]
async fn an_organisation_may_choose_to_go_on_and_is_told_what_it_cost() {
    let backend = Backend::echo().await;
    let mut site = broken(OnFailure::Continue, &backend).await;
    for _ in 0..3 {
        assert_eq!(site.send(Ask::post(call("read")).key(&key("acme/n1"))).await.status, 200);
    }
    fs::rename(site.audit_dir().with_extension("away"), site.audit_dir()).unwrap();
    while site.send(Ask::bare("GET").at("/healthz")).await.status != 200 {
        tokio::task::yield_now().await;
    }
    let lost: u64 = site.stop().await.iter().map(|l| if let LogEntry::Gap(gap) = &l.entry { gap.lost } else { 0 }).sum();
    assert_eq!(lost, 3);
}

#[tokio::test]
async fn a_flood_of_refusals_is_counted_and_cannot_fill_the_disk() {
    let backend = Backend::echo().await;
    let plan = Plan::new().server("files", &backend).grant("acme/n1", "files", &["*"]);
    let mut site = plan.config(|c| c.audit.refusals_per_second = 1).run().await;
    for _ in 0..50 {
        assert_eq!(site.send(Ask::post(call("read"))).await.status, 401);
    }
    assert_eq!(site.send(Ask::post(call("read")).key(&key("acme/n1"))).await.status, 200);
    let (mut refused, mut answered, mut counted) = (0, 0, 0);
    for line in site.stop().await {
        match line.entry {
            LogEntry::Call(r) if r.outcome == Outcome::Answered => answered += 1,
            LogEntry::Call(_) => refused += 1,
            LogEntry::Gap(gap) => counted += gap.refusals,
        }
    }
    assert_eq!((refused + counted, answered), (50, 1));
    assert!(counted > 0 && refused >= 10, "{refused} recorded, {counted} counted");
}
