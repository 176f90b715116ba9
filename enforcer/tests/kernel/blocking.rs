//! Blocks cut, refuse, spare others, and lapse; at each hook.

use crate::{
    lab::{Lab, blocking, decision, lab, sign},
    talk::{Bystander, assert_blocked, assert_flows, connect, echo, serve, shadow, stream, within},
};
use enforcer::Approval;
use rules::{decision::Action, observation::Outcome, wire::v1::Signed};
use std::{io::ErrorKind, io::Read, time::Duration};

pub fn apply(lab: &Lab, role: &str, signed: Signed) -> rules::observation::Applied {
    let config = lab.config(role);
    lab.run(role, move || async move { enforcer::apply(&config, &signed, Approval::default()).await }).unwrap()
}

fn blocks_at(role: &str) {
    let Some(lab) = lab() else { return };
    let ends = serve(&lab);
    // Positive control: all of it flows.
    for to in crate::talk::addresses() {
        assert_flows(&lab, to);
    }
    let mut talking: Vec<_> = shadow().into_iter().map(|to| (to, connect(&lab, to).unwrap())).collect();
    talking.iter_mut().for_each(|(_, s)| echo(s).unwrap());
    let mut pushing: Vec<_> = shadow().into_iter().map(|to| (to, stream(&lab, to))).collect();
    let bystander = Bystander::start(&lab);
    while ends.try_recv().is_ok() {}

    let applied = apply(&lab, role, sign(&blocking(1, 6)));
    assert_eq!((applied.outcome, applied.elements), (Outcome::Applied, 2), "{}", applied.reason);

    for (to, open) in &mut talking {
        assert_eq!(echo(open).unwrap_err().kind(), ErrorKind::ConnectionReset, "the open connection to {to}");
    }
    // The server learns at its next push, without a word from the client.
    let mut cut = Vec::new();
    while cut.len() < 2 {
        let (at, end) = ends.recv_timeout(Duration::from_secs(1)).expect("both pushing servers are told within a second");
        if shadow().contains(&at) && end == ErrorKind::ConnectionReset {
            cut.push(at);
        }
    }
    // And the client, which never says a word, is told as well.
    for (to, open) in &mut pushing {
        let mut rest = Vec::new();
        let end = open.read_to_end(&mut rest).unwrap_err().kind();
        assert!(rest.len() < 100, "{to} still pushes: {}", rest.len());
        assert_eq!(end, ErrorKind::ConnectionReset, "the client's end of {to}");
    }
    for to in shadow() {
        assert_blocked(&lab, to);
    }
    // Nobody refreshes: the kernel ends it by itself.
    within(Duration::from_secs(9), || connect(&lab, shadow()[0]).is_ok());
    for to in crate::talk::addresses() {
        assert_flows(&lab, to);
    }
    bystander.assert_untouched();
}

#[test]
fn a_router_cuts_what_is_open_refuses_what_is_new_and_lets_go_by_itself() {
    blocks_at("router");
}

#[test]
fn so_does_the_agents_host() {
    blocks_at("agent");
}

#[test]
fn and_the_servers_host() {
    blocks_at("server");
}

#[test]
fn shadow_mode_counts_and_lets_pass() {
    let Some(lab) = lab() else { return };
    let _ends = serve(&lab);
    let mut set = blocking(1, 60);
    set.decisions = crate::lab::SHADOW.iter().map(|a| decision(a, crate::lab::PORT, Action::Shadow)).collect();
    apply(&lab, "router", sign(&set));
    for to in shadow() {
        assert_flows(&lab, to);
    }
    let config = lab.config("router");
    let status = lab.run("router", move || async move { enforcer::status(&config).await }).unwrap();
    assert_eq!((status.desired, status.enforced), (2, 2));
    for element in status.elements {
        assert!(element.packets >= 6, "{element:?}");
    }
}
