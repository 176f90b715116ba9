//! Figures, not assertions: how long from a signed decision to the first refused packet, and what 100,000 blocks cost.
//! `GNOMON_NETNS=1 cargo test --release -p enforcer --test kernel cost -- --ignored --nocapture`

use crate::{
    lab::{PORT, decision, empty, lab, sign},
    talk::serve,
};
use enforcer::{Config, Limits};
use rules::{decision::Action, observation::Outcome};
use std::{
    io::ErrorKind,
    net::{SocketAddr, TcpStream},
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

fn percentile(sorted: &[Duration], p: usize) -> Duration {
    sorted[(sorted.len() - 1) * p / 100]
}

#[test]
#[ignore = "figures; run by hand or by `make bench`"]
fn cost_of_a_decision() {
    for size in [10, 10_000, 100_000] {
        let Some(lab) = lab() else { return };
        let _ends = serve(&lab);
        let (sets, arriving) = watch::channel(None);
        let (say, mut reports) = mpsc::channel(64);
        let shutdown = CancellationToken::new();
        let limits = Limits { max_blocks: 200_000, max_new_per_hour: 200_000, ..Limits::default() };
        let config = Config { limits, ..lab.config("router") };
        let token = shutdown.clone();
        let thread = lab.spawn("router", move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(enforcer::run(config, arriving, say, token))
        });
        let mut set = empty(1, 3600);
        set.not_after = rules::period::Period::days(7).after(set.issued_at);
        set.decisions =
            (0..size).map(|n| decision(&format!("10.{}.{}.{}", 100 + n / 62_500, n / 250 % 250, n % 250), PORT, Action::Block)).collect();
        let wait = |reports: &mut mpsc::Receiver<rules::observation::Applied>| {
            let said = reports.blocking_recv().unwrap();
            assert_eq!(said.outcome, Outcome::Applied, "{}", said.reason);
        };
        let signed = sign(&set);
        let begin = Instant::now();
        sets.send_replace(Some(Arc::new(signed)));
        wait(&mut reports);
        eprintln!("{size} blocks from nothing, verified to read back: {:?}", begin.elapsed());

        // One more block, then one less, as often as it takes for a figure.
        let target: SocketAddr = format!("10.92.0.2:{PORT}").parse().unwrap();
        let mut took = Vec::new();
        for _ in 0..if size > 50_000 { 5 } else { 20 } {
            let before = set.decisions.len();
            set.decisions.push(decision("10.92.0.2", PORT, Action::Block));
            set.generation += 1;
            let signed = sign(&set);
            let begin = Instant::now();
            sets.send_replace(Some(Arc::new(signed)));
            let refused = lab.within("agent", move || {
                // Asked once per millisecond: faster would measure the server's accept queue.
                let refused = |kind| kind == ErrorKind::ConnectionRefused || kind == ErrorKind::ConnectionReset;
                while !TcpStream::connect_timeout(&target, Duration::from_secs(1)).is_err_and(|why| refused(why.kind())) {
                    assert!(begin.elapsed() < Duration::from_secs(60));
                    std::thread::sleep(Duration::from_millis(1));
                }
                begin.elapsed()
            });
            took.push(refused);
            wait(&mut reports);
            set.decisions.truncate(before);
            set.generation += 1;
            sets.send_replace(Some(Arc::new(sign(&set))));
            wait(&mut reports);
        }
        took.sort();
        eprintln!(
            "{size} blocks and one more, signed to first refusal: p50 {:?}, max {:?} of {}",
            percentile(&took, 50),
            took[took.len() - 1],
            took.len()
        );
        shutdown.cancel();
        thread.join().unwrap().unwrap();
    }
}
