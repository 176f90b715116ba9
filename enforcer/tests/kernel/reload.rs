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

/// Counts datagrams that reach an address, and sends to it as fast as once per 200 µs until told to stop.
struct Flow {
    sent: Arc<AtomicUsize>,
    got: Arc<AtomicUsize>,
}

fn flow(lab: &crate::lab::Lab, to: &str, stop: &Arc<AtomicBool>) -> (Flow, std::thread::JoinHandle<()>) {
    let to = SocketAddr::new(to.parse().unwrap(), PORT);
    let (sent, got) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let sink = lab.within("server", move || UdpSocket::bind(to).unwrap());
    let counted = got.clone();
    std::thread::spawn(move || {
        while sink.recv(&mut [0; 8]).is_ok() {
            counted.fetch_add(1, Ordering::Relaxed);
        }
    });
    let (stop, count) = (stop.clone(), sent.clone());
    let thread = lab.spawn("agent", move || {
        let socket = UdpSocket::bind(if to.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" }).unwrap();
        while !stop.load(Ordering::Relaxed) {
            // Unconnected, so that rejections of earlier datagrams do not come back as errors.
            if socket.send_to(b"d", to).is_ok() {
                count.fetch_add(1, Ordering::Relaxed);
            }
            std::thread::sleep(Duration::from_micros(200));
        }
    });
    (Flow { sent, got }, thread)
}

#[test]
fn a_hundred_updates_leak_nothing_and_hurt_nobody() {
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
    let flows: Vec<_> = [SHADOW[0], SHADOW[1], INNOCENT[0], INNOCENT[1]].iter().map(|a| flow(&lab, a, &stop)).collect();
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
    // What is under way arrives.
    crate::talk::within(Duration::from_secs(2), || flows[2..].iter().all(|f| count(&f.got) == count(&f.sent)));
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
