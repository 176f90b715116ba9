use super::{rpc::*, *};

#[test]
fn revisions_are_in_the_order_of_their_dates_and_read_as_they_are_written() {
    let names: Vec<&str> = Revision::ALL.into_iter().map(Revision::as_str).collect();
    assert!(names.is_sorted() && Revision::ALL.is_sorted());
    for revision in Revision::ALL {
        assert!(is_date(revision.as_str()));
        assert_eq!(Revision::parse(&revision.to_string()), Some(revision));
        assert_eq!(Era::of(revision.as_str()), Some(revision.era()));
    }
    assert_eq!(Revision::parse("2025-11-26"), None);
    assert_eq!((Revision::LAST_LEGACY.era(), Revision::FIRST_MODERN.era()), (Era::Legacy, Era::Modern));
}

#[test]
fn an_unpublished_date_has_an_era_and_what_is_no_date_has_none() {
    assert_eq!(Era::of("2027-01-01"), Some(Era::Modern));
    assert_eq!(Era::of("2026-07-27"), Some(Era::Legacy));
    for odd in ["", "soon", "2026-7-28", "2026-07-280", "2026/07/28", "2026-07-2x", "２０２６-07"] {
        assert_eq!(Era::of(odd), None, "{odd}");
    }
}

#[test]
fn facts_of_the_revisions() {
    let facts = |fact: fn(Revision) -> bool| Revision::ALL.into_iter().filter(|r| fact(*r)).map(Revision::as_str).collect::<Vec<_>>();
    assert_eq!(facts(Revision::has_batches), ["2025-03-26"]);
    assert_eq!(facts(Revision::has_sessions), ["2025-03-26", "2025-06-18", "2025-11-25"]);
    assert_eq!(facts(Revision::has_version_header), ["2025-06-18", "2025-11-25", "2026-07-28"]);
}

#[test]
fn every_method_reads_as_it_is_written_and_no_name_stands_twice() {
    let names: std::collections::BTreeSet<&str> = Method::ALL.iter().map(|m| m.as_str()).collect();
    assert_eq!(names.len(), Method::ALL.len());
    for method in Method::ALL {
        assert_eq!(Method::parse(method.as_str()), Some(*method));
    }
    for odd in ["", "tools", "Tools/Call", "tools/call ", "message/send", "initialized"] {
        assert_eq!(Method::parse(odd), None, "{odd}");
    }
}

#[test]
fn methods_know_their_sender_and_their_neighbours() {
    assert_eq!(
        (Method::ToolsCall.sender(), Method::Sample.sender(), Method::Progress.sender()),
        (Sender::Client, Sender::Server, Sender::Either)
    );
    let shared: Vec<&str> = Method::ALL.iter().filter(|m| !m.is_only_of_mcp()).map(|m| m.as_str()).collect();
    assert_eq!(shared, ["initialize", "ping", "tasks/list", "tasks/get", "tasks/result", "tasks/update", "tasks/cancel"]);
    assert!(Method::Cancelled.is_notification() && !Method::RootsList.is_notification());
    let named: Vec<(&str, &str)> = Method::ALL.iter().filter_map(|m| Some((m.as_str(), m.named_by()?))).collect();
    let expected = [
        ("tools/call", "name"),
        ("prompts/get", "name"),
        ("resources/read", "uri"),
        ("tasks/get", "taskId"),
        ("tasks/update", "taskId"),
        ("tasks/cancel", "taskId"),
    ];
    assert_eq!(named, expected);
}

#[test]
fn a_strict_reader_takes_no_message_that_can_be_read_two_ways() {
    let all = (0..16).map(|n| Members { id: n & 1 > 0, method: n & 2 > 0, result: n & 4 > 0, error: n & 8 > 0 });
    for members in all {
        let (strict, lenient) = (members.strictly(), members.leniently());
        assert!(strict.is_none() || strict == lenient, "{members:?}");
        assert!(!(members.method && (members.result || members.error)) || strict.is_none(), "{members:?}");
    }
    assert_eq!(Members { id: true, method: true, ..Members::default() }.strictly(), Some(Shape::Request));
    assert_eq!(Members { method: true, ..Members::default() }.strictly(), Some(Shape::Notification));
    assert_eq!(Members { error: true, ..Members::default() }.strictly(), None, "an answer to nothing is not let through");
    assert_eq!(Members { error: true, ..Members::default() }.leniently(), Some(Shape::Error));
    assert_eq!(Members { result: true, ..Members::default() }.leniently(), None);
}

#[test]
fn codes_and_names_are_those_of_the_specification() {
    assert!([-32020, -32021, -32022].into_iter().all(code::is_modern) && !code::is_modern(code::RESOURCE_NOT_FOUND));
    for name in [header::PROTOCOL_VERSION, header::METHOD, header::NAME, header::SESSION_ID, header::PARAM_PREFIX] {
        assert!(name.starts_with(header::PREFIX) && name.bytes().all(|b| b.is_ascii_lowercase() || b == b'-'), "{name}");
    }
    for key in [meta::PROTOCOL_VERSION, meta::CLIENT_CAPABILITIES, meta::CLIENT_INFO, meta::SERVER_INFO] {
        assert!(key.starts_with(meta::PREFIX), "{key}");
    }
}
