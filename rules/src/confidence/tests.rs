use super::*;
use Source::{Host, Probe, Wire};

/// Signatures with the day they were last heard on.
fn judged(signatures: &[(Source, &str, u64)]) -> Judgement {
    let heard = signatures.iter().map(|(source, signature, day)| Heard {
        source: *source,
        signature,
        last: Period::days(*day).after(Timestamp::UNIX_EPOCH),
    });
    judge(heard, &Pack::shipped())
}

fn confidence(signatures: &[(Source, &str)]) -> Confidence {
    judged(&signatures.iter().map(|(w, m)| (*w, *m, 0)).collect::<Vec<_>>()).confidence
}

#[test]
fn ports_paths_and_names_alone_are_candidates_however_many() {
    let signatures =
        [(Wire, "wire.context.port"), (Wire, "wire.context.dns-name"), (Wire, "wire.context.tls-name"), (Host, "host.context.listener")];
    assert_eq!(confidence(&signatures), Confidence::Candidate);
}

#[test]
fn a_client_that_tries_is_not_a_server_that_answers() {
    let signatures = [(Wire, "wire.client.initialize"), (Wire, "wire.client.version-header"), (Wire, "wire.client.accept-pair")];
    assert_eq!(confidence(&signatures), Confidence::Candidate);
}

#[test]
fn a_request_and_a_fitting_answer_are_probable() {
    assert_eq!(confidence(&[(Wire, "wire.client.method"), (Wire, "wire.server.answered")]), Confidence::Probable);
}

#[test]
fn one_decisive_answer_confirms_and_counter_evidence_spoils_it() {
    assert_eq!(confidence(&[(Wire, "wire.server.discover-result")]), Confidence::Confirmed);
    assert_eq!(confidence(&[(Wire, "wire.server.discover-result"), (Wire, "wire.server.against-a2a")]), Confidence::Candidate);
    let echo = [(Probe, "probe.server.discover-result", 0), (Probe, "probe.control.answered", 0), (Probe, "probe.control.refused", 0)];
    assert_eq!(judged(&echo).confidence, Confidence::Candidate);
    assert!(!judged(&echo).actively_confirmed);
    assert!(!judged(&echo).corroborated);
}

#[test]
fn a_yes_to_nonsense_spoils_what_the_probe_was_told_and_not_what_clients_were() {
    let told = (Probe, "probe.server.initialize-result", 0);
    let yes = (Probe, "probe.control.answered", 0);
    assert_eq!(judged(&[told, yes]).confidence, Confidence::Candidate);
    let seen = judged(&[(Wire, "wire.server.initialize-result", 0), told, yes]);
    assert_eq!((seen.confidence, seen.corroborated), (Confidence::Confirmed, false), "the wire alone blocks nothing");
}

#[test]
fn one_odd_message_on_the_wire_hides_no_server_from_a_probe() {
    let signatures = [
        (Wire, "wire.server.against-lsp", 0),
        (Wire, "wire.server.initialize-result", 0),
        (Probe, "probe.server.initialize-result", 0),
        (Probe, "probe.control.refused", 0),
    ];
    assert_eq!(judged(&signatures[..2]).confidence, Confidence::Candidate);
    assert_eq!(judged(&signatures).confidence, Confidence::Confirmed);
}

#[test]
fn what_answered_otherwise_last_month_may_be_a_server_today() {
    let signatures = [(Wire, "wire.server.against-jsonrpc", 0), (Wire, "wire.server.initialize-result", 30)];
    assert_eq!(judged(&signatures).confidence, Confidence::Confirmed);
    let other_way_round = [(Wire, "wire.server.against-jsonrpc", 30), (Wire, "wire.server.initialize-result", 0)];
    assert_eq!(judged(&other_way_round).confidence, Confidence::Candidate);
}

#[test]
fn active_confirmation_needs_the_negative_control() {
    let asked = judged(&[(Probe, "probe.server.discover-result", 0)]);
    assert_eq!((asked.confidence, asked.actively_confirmed), (Confidence::Probable, false));
    assert!(judged(&[(Probe, "probe.server.discover-result", 0), (Probe, "probe.control.refused", 0)]).actively_confirmed);
}

#[test]
fn a_listening_port_or_a_client_corroborates_nothing() {
    let wire = (Wire, "wire.server.initialize-result", 0);
    assert!(!judged(&[wire]).corroborated);
    assert!(!judged(&[wire, (Host, "host.context.listener", 0)]).corroborated);
    assert!(!judged(&[wire, (Probe, "probe.context.http", 0)]).corroborated);
    assert!(judged(&[wire, (Host, "host.context.sdk-process", 0)]).corroborated);
    assert!(judged(&[wire, (Probe, "probe.server.initialize-result", 0)]).corroborated);
}

#[test]
fn a_mark_of_a_newer_sensor_is_weak_and_named() {
    let judgement = judged(&[(Wire, "wire.server.not-yet-invented", 0)]);
    assert_eq!(judgement.confidence, Confidence::Candidate);
    assert_eq!(judgement.reasons, ["mark wire.server.not-yet-invented"]);
}
