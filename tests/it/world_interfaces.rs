//! Interfaces that are not there, and go away: each is told of, and the others are watched on.

use crate::lab;
use rules::{
    observation::{Coverage, Said},
    period::Period,
};
use sensor::capture::{Config, live};
use std::{
    net::UdpSocket,
    process::Command,
    sync::mpsc,
    time::{Duration, Instant},
};
use tokio_util::sync::CancellationToken;

const SOON: Duration = Duration::from_secs(10);

/// Waits for a word on `interface` of which `holds` is true.
fn until(told: &mpsc::Receiver<Coverage>, interface: &str, holds: impl Fn(&Coverage) -> bool) {
    let by = Instant::now() + SOON;
    while let Ok(coverage) = told.recv_timeout(by.saturating_duration_since(Instant::now())) {
        if coverage.interface == interface && holds(&coverage) {
            return;
        }
    }
    panic!("not told of {interface} within {SOON:?}");
}

#[test]
fn a_named_interface_that_is_not_there_or_goes_is_told_of() {
    let Some(mut lab) = lab::enter() else { return };
    let router = lab.stage.router.clone();
    let segment = lab.stage.world.segment(&router, "ifs", &["10.98.0.1/24", "fd98::1/64"]).unwrap();
    let host = lab.stage.world.host_on(&segment, "ears", &["10.98.0.9/24", "fd98::9/64"]).unwrap();
    let (stop, (tell, told)) = (CancellationToken::new(), mpsc::channel());
    let shutdown = stop.clone();
    let work = move || async move {
        let config = Config {
            interfaces: vec!["eth0".into(), "nope".into()],
            report_every: Period(Duration::from_millis(100)),
            ..Config::default()
        };
        let (voice, mut said) = tokio::sync::mpsc::channel(64);
        let watching = tokio::spawn(live::watch(config, voice, shutdown));
        while let Some((_, word)) = said.recv().await {
            if let Said::Coverage(coverage) = word {
                drop(tell.send(coverage));
            }
        }
        watching.await.unwrap().unwrap();
    };
    host.start(work).unwrap();
    until(&told, "nope", |c| c.lost.get("not-there") == Some(&1) && c.frames == 0);
    until(&told, "eth0", |c| c.lost.is_empty());
    // As an answer of LLMNR, which every capture takes.
    let talk = || UdpSocket::bind("10.98.0.9:5355").and_then(|socket| socket.send_to(b"x", "10.98.0.1:9"));
    host.enter(talk).unwrap().unwrap();
    until(&told, "eth0", |c| c.frames > 0 && c.lost.keys().all(|why| why != "interface-gone"));
    let gone = host.enter(|| Command::new("ip").args(["link", "del", "eth0"]).status()).unwrap().unwrap();
    assert!(gone.success());
    until(&told, "eth0", |c| c.frames > 0 && c.lost.get("interface-gone") == Some(&1));
    // Both were told once, and are not again, though the list is looked at every few seconds.
    std::thread::sleep(Duration::from_secs(6));
    assert_eq!(told.try_iter().map(|c| c.interface).collect::<Vec<_>>(), Vec::<String>::new());
    stop.cancel();
}
