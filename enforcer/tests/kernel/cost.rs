//! Figures, not assertions, each beside a peer of the same run: `packaging/bench.d/enforcer`, or by hand
//! `GNOMON_NETNS=1 cargo test --release -p enforcer --test kernel cost -- --ignored --nocapture --test-threads=1`

use crate::{
    lab::{Lab, PORT, decision, empty, lab, put, sh, sign},
    talk::{connect, echo, serve},
};
use enforcer::{
    Config, Limits,
    point::{ApplyOptions, Point},
};
use rules::{
    Timestamp,
    decision::{Action, DecisionSet},
    observation::{Applied, Outcome},
};
use std::{
    fmt::Write,
    io::{BufRead, BufReader, ErrorKind},
    net::{SocketAddr, TcpStream},
    process::{Command, Stdio},
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

const MANY: usize = 100_000;

fn row(what: impl std::fmt::Display, figure: impl std::fmt::Display) {
    println!("row: {what} | {figure}");
}

fn percentile(sorted: &mut [Duration], p: usize) -> Duration {
    sorted.sort();
    sorted[(sorted.len() - 1) * p / 100]
}

fn addresses(size: usize) -> impl Iterator<Item = String> {
    (0..size).map(|n| format!("10.{}.{}.{}", 100 + n / 62_500, n / 250 % 250, n % 250))
}

/// A week's set that blocks `size` places, none of which is there.
fn of(size: usize) -> DecisionSet {
    let mut set = empty(1, 3600);
    set.not_after = rules::period::Period::days(7).after(set.issued_at);
    set.decisions = addresses(size).map(|address| decision(&address, PORT, Action::Block)).collect();
    set.decisions.sort_by_key(|d| d.endpoint);
    set
}

fn config(lab: &Lab) -> Config {
    let limits = Limits { max_blocks: 200_000, max_new_per_hour: 200_000, ..Limits::default() };
    Config { limits, ..lab.config("router") }
}

/// What everybody else would do: a script with the same elements in a set that packets meet, for `nft -f`.
fn peer(lab: &Lab, size: usize) -> std::path::PathBuf {
    let mut script = String::from(
        "table inet peer {\n set blk { type ipv4_addr . inet_service; flags timeout; counter; }\n chain on_forward { type filter hook forward priority -9\n ip daddr . th dport @blk reject\n }\n}\nadd element inet peer blk { ",
    );
    for address in addresses(size) {
        write!(script, "{address} . {PORT} timeout 3600s comment \"F-00000000\", ").unwrap();
    }
    let path = lab.data.path().join("peer.nft");
    std::fs::write(&path, script + "}\n").unwrap();
    path
}

#[test]
#[ignore = "figures"]
fn cost_from_scratch() {
    let Some(lab) = lab() else { return };
    let file = lab.data.path().join("set.json");
    let config = Config { sets: Some(file.clone()), ..config(&lab) };
    let path = lab.data.path().join("config.json");
    std::fs::write(&path, serde_json::to_vec(&config).unwrap()).unwrap();
    let mut command = Command::new("ip");
    command.args(["netns", "exec", &lab.ns("router"), env!("CARGO_BIN_EXE_enforcer")]).arg(path);
    let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
    // It is up when it has said something about a first, small set.
    let mut said = BufReader::new(child.stdout.take().unwrap()).lines();
    put(&file, &sign(&of(1)));
    let mut applied = || assert!(said.next().unwrap().unwrap().contains("\"applied\""));
    applied();
    let signed = sign(&DecisionSet { generation: 2, ..of(MANY) });
    let begin = Instant::now();
    put(&file, &signed);
    applied();
    let took = begin.elapsed();
    let status = std::fs::read_to_string(format!("/proc/{}/status", child.id())).unwrap();
    let of =
        |key: &str| status.lines().find(|l| l.starts_with(key)).unwrap().split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() >> 10;
    row(
        "100,000 blocks from nothing: file read (looked for every 200 ms), verified, checked, in the kernel, read back",
        format!("{took:.2?}"),
    );
    row(
        "resident memory of the enforcer with 100,000 blocks, now (and at most since it began)",
        format!("{} MiB ({} MiB)", of("VmRSS"), of("VmHWM")),
    );
    child.kill().unwrap();
    child.wait().unwrap();
    let script = peer(&lab, MANY);
    let begin = Instant::now();
    lab.nft("router", &format!("-f {}", script.display()));
    row("`nft -f` of the same 100,000 elements, no check, no read-back", format!("{:.2?}", begin.elapsed()));
}

fn how(before: Option<&DecisionSet>) -> ApplyOptions<'_> {
    ApplyOptions { now: Timestamp::now(), trial: None, many_new: true, hold_back: false, before, new_this_hour: 0, left: Duration::MAX }
}

#[test]
#[ignore = "figures"]
fn cost_of_one_more() {
    let Some(lab) = lab() else { return };
    let config = config(&lab);
    let mut took: Vec<Duration> = lab.run("router", move || async move {
        let mut point = Point::open(config).unwrap();
        let held = point.store.lock().await.unwrap();
        let (base, mut trusted) = (Arc::new(of(MANY)), None);
        point.enact(&held, &base, how(None), &mut trusted).await.unwrap();
        let mut took = Vec::new();
        let mut before = base.clone();
        for n in 0..200 {
            let mut next = DecisionSet { generation: 2 + n, ..(*base).clone() };
            if n % 2 == 0 {
                let one = decision(&format!("10.150.0.{}", n % 250), PORT, Action::Block);
                next.decisions.push(one);
                next.decisions.sort_by_key(|d| d.endpoint);
            }
            let next = Arc::new(next);
            let begin = Instant::now();
            point.enact(&held, &next, how(Some(&before)), &mut trusted).await.unwrap();
            if n % 2 == 0 {
                took.push(begin.elapsed());
            }
            before = next;
        }
        took
    });
    row(
        "one block more beside 100,000: compared, planned, checked, in the kernel, read back; p50 (p99 of 100)",
        format!("{:.2?} ({:.2?})", percentile(&mut took, 50), percentile(&mut took, 99)),
    );
    let script = peer(&lab, MANY);
    lab.nft("router", &format!("-f {}", script.display()));
    let mut took: Vec<Duration> = (0..50)
        .map(|n| {
            let element = format!("add element inet peer blk {{ 10.150.0.{n} . {PORT} timeout 3600s comment \"F-00000000\" }}");
            let begin = Instant::now();
            let out = Command::new("ip").args(["netns", "exec", &lab.ns("router"), "/usr/sbin/nft", &element]).output().unwrap();
            assert!(out.status.success());
            begin.elapsed()
        })
        .collect();
    row(
        "`nft add element` beside 100,000 in a set that packets meet, no check, no read-back; p50",
        format!("{:.2?}", percentile(&mut took, 50)),
    );
}

#[test]
#[ignore = "figures"]
fn cost_of_a_decision() {
    for (size, rounds) in [(10, 100), (1_000, 100), (10_000, 100), (MANY, 10)] {
        let Some(lab) = lab() else { return };
        let _ends = serve(&lab);
        let (sets, arriving) = mpsc::channel(1);
        let (say, mut reports) = mpsc::channel(64);
        let shutdown = CancellationToken::new();
        let (config, token) = (config(&lab), shutdown.clone());
        let thread = lab.spawn("router", move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(enforcer::run(config, arriving, say, token))
        });
        let mut set = of(size);
        let wait = |reports: &mut mpsc::Receiver<Applied>| {
            let said = reports.blocking_recv().unwrap();
            assert_eq!(said.outcome, Outcome::Applied, "{}", said.reason);
        };
        sets.blocking_send(Arc::new(sign(&set))).unwrap();
        wait(&mut reports);
        // One more block, then one less, as often as it takes for a figure.
        let target: SocketAddr = format!("10.92.0.2:{PORT}").parse().unwrap();
        let mut took = Vec::new();
        for _ in 0..rounds {
            let before = set.decisions.clone();
            set.decisions.push(decision("10.92.0.2", PORT, Action::Block));
            set.decisions.sort_by_key(|d| d.endpoint);
            set.generation += 1;
            let signed = Arc::new(sign(&set));
            let begin = Instant::now();
            sets.blocking_send(signed).unwrap();
            took.push(lab.within("agent", move || {
                // Asked once per millisecond: faster would measure the server's accept queue.
                let refused = |kind| kind == ErrorKind::ConnectionRefused || kind == ErrorKind::ConnectionReset;
                while !TcpStream::connect_timeout(&target, Duration::from_secs(1)).is_err_and(|why| refused(why.kind())) {
                    assert!(begin.elapsed() < Duration::from_secs(60));
                    std::thread::sleep(Duration::from_millis(1));
                }
                begin.elapsed()
            }));
            wait(&mut reports);
            set.decisions = before;
            set.generation += 1;
            sets.blocking_send(Arc::new(sign(&set))).unwrap();
            wait(&mut reports);
        }
        row(
            format!("signed set with one block beside {size}, to the first refused connection; p50 (p99 of {rounds})"),
            format!("{:.1?} ({:.1?})", percentile(&mut took, 50), percentile(&mut took, 99)),
        );
        shutdown.cancel();
        thread.join().unwrap().unwrap();
    }
}

/// Bytes and connections through the router, with 100,000 blocks and without, in turns (with, without, without, with, …), so that what
/// else the machine does falls on both alike. The ratio is the median of those of neighbours.
#[test]
#[ignore = "figures"]
fn cost_to_others() {
    let Some(lab) = lab() else { return };
    let _ends = serve(&lab);
    let (held, set) = (config(&lab), sign(&of(MANY)));
    let meant = enforcer::Approval { many_new: true, ..enforcer::Approval::default() };
    lab.run("router", move || async move { enforcer::apply(&held, &set, meant).await }).unwrap();
    let mut server =
        Command::new("ip").args(["netns", "exec", &lab.ns("server"), "iperf3", "-s", "-p", "5201"]).stdout(Stdio::null()).spawn().unwrap();
    let to = crate::talk::addresses()[2];
    crate::talk::within(Duration::from_secs(5), || connect(&lab, SocketAddr::new(to.ip(), 5201)).is_ok());
    let bytes = || {
        let said = sh(&format!("ip netns exec {} iperf3 -c {} -p 5201 -t 1 -J", lab.ns("agent"), to.ip()));
        let said: serde_json::Value = serde_json::from_str(&said).unwrap();
        said["end"]["sum_received"]["bits_per_second"].as_f64().unwrap() / 1e9
    };
    let (with, without, ratio) = in_turns(&lab, 6, bytes);
    row("forwarded through 100,000 blocks, and without (iperf3, median of 6)", format!("{with:.1} Gbit/s, {without:.1}: ratio {ratio:.2}"));
    server.kill().unwrap();
    server.wait().unwrap();
    let (with, without, ratio) = in_turns(&lab, 30, || connections(&lab, to));
    row("new connections through 100,000 blocks, and without (median of 30)", format!("{with:.0}/s, {without:.0}: ratio {ratio:.2}"));
}

fn in_turns(lab: &Lab, pairs: usize, measure: impl Fn() -> f64) -> (f64, f64, f64) {
    let hooks = lab.data.path().join("hooks.nft");
    std::fs::write(&hooks, enforcer::render::skeleton::text(&[enforcer::Hook::Forward].into())).unwrap();
    let one = |with: bool| {
        // Without: no hook of ours, so no packet meets the table.
        let change = if with {
            format!("-f {}", hooks.display())
        } else {
            "'add chain inet gnomon on_forward; flush chain inet gnomon on_forward; delete chain inet gnomon on_forward'".to_owned()
        };
        lab.nft("router", &change);
        measure()
    };
    let mut got: Vec<(f64, f64)> = Vec::new();
    for turn in 0..pairs {
        got.push(if turn % 2 == 0 {
            let with = one(true);
            (with, one(false))
        } else {
            let without = one(false);
            (one(true), without)
        });
    }
    let median = |pick: fn(&(f64, f64)) -> f64| {
        let mut all: Vec<f64> = got.iter().map(pick).collect();
        all.sort_by(f64::total_cmp);
        (all[(all.len() - 1) / 2] + all[all.len() / 2]) / 2.0
    };
    (median(|g| g.0), median(|g| g.1), median(|g| g.0 / g.1))
}

/// Connect, one byte there and back, reset; as often as it goes in half a second.
fn connections(lab: &Lab, to: SocketAddr) -> f64 {
    lab.within("agent", move || {
        let (begin, mut count) = (Instant::now(), 0.0);
        while begin.elapsed() < Duration::from_millis(500) {
            let mut stream = TcpStream::connect_timeout(&to, Duration::from_secs(1)).unwrap();
            echo(&mut stream).unwrap();
            nix::sys::socket::setsockopt(&stream, nix::sys::socket::sockopt::Linger, &nix::libc::linger { l_onoff: 1, l_linger: 0 })
                .unwrap();
            count += 1.0;
        }
        count / begin.elapsed().as_secs_f64()
    })
}
