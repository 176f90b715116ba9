//! Updates under traffic: nothing leaks, nobody else is hurt.

use crate::{
    blocking::apply,
    lab::{INNOCENT, PORT, SHADOW, blocking, decision, lab, sign},
};
use rules::decision::Action;
use std::{
    net::{SocketAddr, UdpSocket},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

/// Datagrams sent, and those that arrived (blocked) or were answered (innocent).
pub struct Flow {
    pub sent: Arc<AtomicUsize>,
    pub got: Arc<AtomicUsize>,
}

/// One every 200 µs; towards an innocent address each waits for its answer, so that a slow machine loses none by itself.
pub fn flow(lab: &crate::lab::Lab, to: &str, answered: bool, stop: &Arc<AtomicBool>) -> (Flow, std::thread::JoinHandle<()>) {
    let to = SocketAddr::new(to.parse().unwrap(), PORT);
    let flow = Flow { sent: Arc::default(), got: Arc::default() };
    let sink = lab.within("server", move || UdpSocket::bind(to).unwrap());
    let (sent, got, arrived) = (flow.sent.clone(), flow.got.clone(), flow.got.clone());
    std::thread::spawn(move || {
        while let Ok((_, from)) = sink.recv_from(&mut [0; 8]) {
            if answered {
                let _ = sink.send_to(b"a", from);
            } else {
                arrived.fetch_add(1, Ordering::Relaxed);
            }
        }
    });
    let stop = stop.clone();
    let thread = lab.spawn("agent", move || {
        let socket = UdpSocket::bind(if to.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" }).unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        while !stop.load(Ordering::Relaxed) {
            // Unconnected, so that rejections of earlier datagrams do not come back as errors.
            if socket.send_to(b"d", to).is_ok() {
                sent.fetch_add(1, Ordering::Relaxed);
            }
            if answered && socket.recv(&mut [0; 8]).is_ok() {
                got.fetch_add(1, Ordering::Relaxed);
            }
            std::thread::sleep(Duration::from_micros(200));
        }
    });
    (flow, thread)
}

#[test]
fn fault_23_a_hundred_updates_leak_nothing_and_hurt_nobody() {
    let Some(lab) = lab() else { return };
    let mut set = blocking(1, 600);
    set.decisions.extend((0..2000).map(|n| decision(&format!("10.204.{}.{}", n / 250, n % 250), PORT, Action::Block)));
    apply(
        &lab,
        "router",
        sign(&{
            let mut few = set.clone();
            few.decisions.truncate(400);
            few
        }),
    );
    let stop = Arc::new(AtomicBool::new(false));
    let all = [(SHADOW[0], false), (SHADOW[1], false), (INNOCENT[0], true), (INNOCENT[1], true)];
    let flows: Vec<_> = all.iter().map(|(to, answered)| flow(&lab, to, *answered, &stop)).collect();
    for generation in 2..102 {
        // Others come and go, agent ranges change, leases are renewed; the two stay.
        let mut next = set.clone();
        next.generation = generation;
        next.decisions.truncate(2 + (generation as usize * 37) % 400);
        next.agents.push(format!("10.210.{generation}.0/24").parse().unwrap());
        next.lease = rules::period::Period::seconds(600 + generation * 400);
        apply(&lab, "router", sign(&next));
    }
    stop.store(true, Ordering::Relaxed);
    let flows: Vec<Flow> = flows.into_iter().map(|(flow, thread)| thread.join().map(|()| flow).unwrap()).collect();
    let count = |n: &AtomicUsize| n.load(Ordering::Relaxed);
    for innocent in &flows[2..] {
        assert_eq!(count(&innocent.got), count(&innocent.sent));
        assert!(count(&innocent.sent) > 1000, "too few to tell: {}", count(&innocent.sent));
    }
    for blocked in &flows[..2] {
        assert!(count(&blocked.sent) > 1000, "too few to tell: {}", count(&blocked.sent));
        assert_eq!(count(&blocked.got), 0, "leaked of {}", count(&blocked.sent));
    }
    eprintln!(
        "100 updates: 0 of {} leaked, 0 of {} lost",
        count(&flows[0].sent) + count(&flows[1].sent),
        count(&flows[2].sent) + count(&flows[3].sent)
    );
}
