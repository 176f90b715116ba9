//! Whose packets are judged, and whose tries are noted.

use crate::{
    blocking::apply,
    lab::{INNOCENT, Lab, PORT, SHADOW, blocking, decision, empty, lab, sign},
    talk::{assert_blocked, assert_flows, connect, datagram, echo, serve, shadow},
};
use enforcer::Approval;
use rules::{decision::Action, observation::Attempt};
use std::{net::SocketAddr, process::Command};

fn attempts(lab: &Lab) -> Vec<Attempt> {
    let config = lab.config("router");
    lab.run("router", move || async move { enforcer::status(&config).await }).unwrap().attempts
}

fn told(all: &[Attempt]) -> Vec<String> {
    let mut told: Vec<String> = all.iter().map(|a| format!("{} {} {:?} {}", a.client, a.endpoint, a.action, a.count)).collect();
    told.sort();
    told
}

/// Connections and datagrams to what is blocked or counted; packets within a connection, and what goes to others, are no attempts.
#[test]
fn the_kernel_notes_who_tried_what_and_how_often() {
    let Some(lab) = lab() else { return };
    let _ends = serve(&lab);
    let mut set = blocking(1, 60);
    set.decisions.push(decision(INNOCENT[0], PORT, Action::Shadow));
    apply(&lab, "router", sign(&set));
    assert_eq!(told(&attempts(&lab)), Vec::<String>::new(), "nobody tried yet");
    for to in shadow() {
        for _ in 0..3 {
            connect(&lab, to).unwrap_err();
        }
        datagram(&lab, to).unwrap_err();
    }
    let counted = SocketAddr::new(INNOCENT[0].parse().unwrap(), PORT);
    let mut open = connect(&lab, counted).unwrap();
    (0..5).for_each(|_| echo(&mut open).unwrap());
    assert_flows(&lab, SocketAddr::new(INNOCENT[1].parse().unwrap(), PORT));
    let said = attempts(&lab);
    assert_eq!(told(&said), ["10.91.0.2 10.92.0.2:3001 Block 4", "10.91.0.2 10.92.0.3:3001 Shadow 1", "fd91::2 [fd92::2]:3001 Block 4"]);
    assert_eq!(said[0].endpoint.to_string(), "10.92.0.3:3001", "the latest comes first");
    // A renewed set, and a table made right again, keep the notes; what is lifted is told no more.
    let mut next = empty(2, 60);
    next.decisions = vec![decision(SHADOW[0], PORT, Action::Block)];
    apply(&lab, "router", sign(&next));
    assert_eq!(told(&attempts(&lab)), ["10.91.0.2 10.92.0.2:3001 Block 4"]);
}

/// One connection as a user of the agent's host.
fn reaches(lab: &Lab, account: u32, to: &str) -> bool {
    let script = format!("exec 3<>/dev/tcp/{to}/{PORT} && printf E >&3 && head -c 1 <&3");
    let agent = lab.ns("agent");
    let user = format!("--reuid={account}");
    let args = ["netns", "exec", &agent, "setpriv", &user, "--clear-groups", "timeout", "2", "bash", "-c", &script];
    Command::new("ip").args(args).output().unwrap().stdout == b"E"
}

#[test]
fn at_an_agents_host_people_keep_working_where_accounts_are_named() {
    let Some(lab) = lab() else { return };
    let _ends = serve(&lab);
    for to in SHADOW {
        assert!(reaches(&lab, 4711, to) && reaches(&lab, 4712, to) && reaches(&lab, 1000, to));
    }
    let mut config = lab.config("agent");
    config.accounts = [4711, 4712].into();
    let signed = sign(&blocking(1, 60));
    lab.run("agent", move || async move { enforcer::apply(&config, &signed, Approval { many_new: true, ..Approval::default() }).await })
        .unwrap();
    for to in SHADOW {
        assert!(!reaches(&lab, 4711, to) && !reaches(&lab, 4712, to), "{to}: an agent's account still gets through");
        assert!(reaches(&lab, 1000, to), "{to}: a person is cut off");
    }
    shadow().into_iter().for_each(|to| assert_flows(&lab, to));
    // Without accounts everybody on the host is bound again, by the same table.
    apply(&lab, "agent", sign(&blocking(2, 60)));
    for to in SHADOW {
        assert!(!reaches(&lab, 1000, to));
    }
    shadow().into_iter().for_each(|to| assert_blocked(&lab, to));
}
