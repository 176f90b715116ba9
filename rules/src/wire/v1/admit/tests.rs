use super::*;
use expect_test::expect;
use proptest::prelude::*;

const NOW: &str = "2026-11-21T00:00:00Z";

fn now() -> Timestamp {
    NOW.parse().unwrap()
}

fn seen(change: impl FnOnce(&mut Evidence)) -> Record {
    let place = Place::new("10.0.0.5:3001".parse().unwrap()).with_target("/mcp").with_host("tools.corp.example");
    let mut evidence = Evidence::new(place, Source::Wire, "wire.server.initialize-result", now());
    change(&mut evidence);
    Record { seq: 7, at: now(), said: Said::Evidence(Box::new(evidence)) }
}

fn admitted(record: Record) -> Evidence {
    match Observation::admit("s1", 1, record, now()).unwrap().said {
        Said::Evidence(e) => *e,
        other => unreachable!("{other:?}"),
    }
}

#[test]
fn what_a_sensor_of_ours_says_passes_untouched() {
    let hostile = "a\u{1b}[2J\u{202e}".repeat(300);
    let record = seen(|e| {
        *e = e.clone().detail(&hostile);
        e.place = e.place.clone().with_target(&format!("/{}", "\u{1}".repeat(255)));
    });
    let Said::Evidence(said) = record.said.clone() else { unreachable!() };
    assert_eq!(admitted(record), *said);
}

#[test]
fn what_names_the_wrong_thing_is_refused() {
    let refused = |record| Observation::admit("s1", 1, record, now()).unwrap_err().to_string();
    let said = [
        refused(seen(|e| e.signature = "probe.server.initialize-result".into())),
        refused(seen(|e| e.signature = "wire.server.<b>\u{1b}".into())),
        refused(seen(|e| e.place.endpoint.port = 0)),
        refused(seen(|e| e.place.endpoint.address = "::ffff:10.0.0.5".parse().unwrap())),
        refused(seen(|e| e.place.path = Some("mcp".into()))),
        refused(seen(|e| e.place.path = Some("/\u{1b}[2J".into()))),
        refused(seen(|e| e.place.host = Some("Tools.Corp:80".into()))),
        refused(Record { seq: 9, at: now(), said: Said::Gap { from_seq: 5, to_seq: 4, reason: String::new() } }),
        Observation::admit("../etc", 1, seen(|_| ()), now()).unwrap_err().to_string(),
    ];
    expect![[r#"
        record 7: `probe.server.initialize-result` is no mark of witness.side.name by the witness that says it
        record 7: `wire.server.<b>\u{1b}` is no mark of witness.side.name by the witness that says it
        record 7: the port of the place is not as it is written on the wire
        record 7: the address of the place is not as it is written on the wire
        record 7: the path of the place is not as it is written on the wire
        record 7: the path of the place is not as it is written on the wire
        record 7: the host of the place is not as it is written on the wire
        record 9: the gap from 5 to 4 is none
        `../etc` is no name of a sensor: 1 to 64 of a-z, 0-9, dot, dash and underscore"#]]
    .assert_eq(&said.join("\n"));
}

#[test]
fn what_only_describes_is_cut_and_the_mark_counts() {
    let e = admitted(seen(|e| {
        e.facts.tools = (0..9000).map(|n| format!("tool-{n}\u{202e}")).collect();
        e.facts.server_info = Some(Implementation { name: "x".repeat(1 << 20), version: None });
        e.detail = "\u{7}".repeat(1 << 20);
    }));
    assert_eq!(e.facts.tools.len(), Server::MAX_TOOLS);
    assert!(e.facts.tools.iter().all(|t| is_printable(t)));
    assert!(e.facts.server_info.unwrap().name.len() <= MAX_TEXT * ESCAPED);
    assert!(e.detail.chars().count() <= Evidence::MAX_DETAIL * ESCAPED);
}

#[test]
fn nothing_is_observed_in_the_future_or_before_clocks_were_set() {
    for at in [Timestamp::MAX, Timestamp::UNIX_EPOCH] {
        assert_eq!(admitted(seen(|e| e.at = at)).at, now());
    }
    let yesterday = crate::period::Period::days(1).before(now());
    assert_eq!(admitted(seen(|e| e.at = yesterday)).at, yesterday);
}

proptest! {
    /// Whatever is let through can be shown and stays within its bounds, and is let through again unchanged.
    #[test]
    fn what_is_admitted_is_printable_and_admitted_again(detail in ".{0,600}", tool in ".{0,400}", interface in ".{0,100}", n in 0..200_usize) {
        let record = seen(|e| {
            e.detail = detail;
            e.facts.tools = [tool].into();
        });
        let once = Observation::admit("s1", 1, record, now()).unwrap();
        let Said::Evidence(e) = &once.said else { unreachable!() };
        prop_assert!(is_printable(&e.detail) && e.facts.tools.iter().all(|t| is_printable(t)));
        let again = Observation::admit("s1", 1, Record { seq: once.seq, at: once.at, said: once.said.clone() }, now()).unwrap();
        prop_assert_eq!(&again, &once);

        let lost = (0..n).map(|n| (format!("{interface}{n}"), 1)).collect();
        let record = Record { seq: 1, at: now(), said: Said::Coverage(Coverage { interface, frames: 1, lost, ..Coverage::default() }) };
        let Said::Coverage(c) = Observation::admit("s1", 1, record, now()).unwrap().said else { unreachable!() };
        prop_assert_eq!(c.lost.values().sum::<u64>(), n as u64);
        prop_assert!(c.lost.len() <= MAX_NAME && is_printable(&c.interface));
    }
}
