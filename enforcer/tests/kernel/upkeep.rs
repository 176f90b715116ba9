//! What happens later: drift, trials, crashes, removal, refused sets.

use crate::{
    blocking::apply,
    lab::{Lab, PORT, SHADOW, blocking, decision, empty, lab, put, sh, sign},
    talk::{assert_blocked, assert_flows, connect, serve, shadow, within},
};
use enforcer::{Approval, Error, Mode, intake::Refused};
use rules::{
    decision::Action,
    observation::{Applied, Outcome},
    period::Period,
    wire::v1::Signed,
};
use std::{
    io::{BufRead, BufReader},
    path::PathBuf,
    process::{Child, Command, Stdio},
    sync::{Arc, mpsc::Receiver},
    thread::JoinHandle,
    time::{Duration, Instant},
};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

/// The loop in the router's namespace, or another one.
pub struct Running {
    sets: mpsc::Sender<Arc<Signed>>,
    reports: mpsc::Receiver<Applied>,
    shutdown: CancellationToken,
    thread: Option<JoinHandle<Result<(), Error>>>,
}

impl Running {
    pub fn start(lab: &Lab, config: enforcer::Config) -> Running {
        Running::start_at(lab, "router", config)
    }

    pub fn start_at(lab: &Lab, role: &str, config: enforcer::Config) -> Running {
        let (sets, arriving) = mpsc::channel(1);
        let (say, reports) = mpsc::channel(64);
        let shutdown = CancellationToken::new();
        let token = shutdown.clone();
        let thread = lab.spawn(role, move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(enforcer::run(config, arriving, say, token))
        });
        Running { sets, reports, shutdown, thread: Some(thread) }
    }

    pub fn send(&self, signed: Signed) {
        self.sets.blocking_send(Arc::new(signed)).unwrap();
    }

    /// The next report; every word of it is awaited, none is slept for.
    pub fn report(&mut self) -> Applied {
        let begin = std::time::Instant::now();
        loop {
            match self.reports.try_recv() {
                Ok(applied) => return applied,
                Err(_) => assert!(begin.elapsed() < Duration::from_secs(10), "no report"),
            }
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    pub fn stop(mut self) {
        self.shutdown.cancel();
        self.thread.take().unwrap().join().unwrap().unwrap();
    }
}

pub fn is_blocked(lab: &Lab) -> bool {
    shadow().into_iter().all(|to| connect(lab, to).is_err())
}

#[test]
fn fault_16_17_drift_is_mended_within_a_second_and_a_fight_is_given_up() {
    let Some(lab) = lab() else { return };
    let _ends = serve(&lab);
    let mut running = Running::start(&lab, lab.config("router"));
    running.send(sign(&blocking(1, 60)));
    assert_eq!(running.report().outcome, Outcome::Applied);
    let [v4, v6] = SHADOW;
    let damages = [
        "flush ruleset".to_owned(),
        format!("delete element inet gnomon block4 {{ {v4} . {PORT} }}"),
        format!("delete element inet gnomon block6 {{ {v6} . {PORT} }}"),
        "insert rule inet gnomon judge accept".to_owned(),
        "flush chain inet gnomon on_forward".to_owned(),
    ];
    for damage in damages {
        assert!(is_blocked(&lab));
        lab.nft("router", &format!("'{damage}'"));
        let mended = running.report();
        assert_eq!(mended.outcome, Outcome::Applied, "{damage}: {}", mended.reason);
        assert!(mended.reason.contains("nft (pid "), "{damage}: {}", mended.reason);
        let took = within(Duration::from_secs(1), || is_blocked(&lab));
        eprintln!("{damage}: blocked again after {took:?} more");
    }
    let gave_up = running.report();
    assert_eq!(gave_up.outcome, Outcome::Failed);
    assert!(gave_up.reason.contains("no more repairs"), "{}", gave_up.reason);
    lab.nft("router", "'flush ruleset'");
    for to in shadow() {
        assert_flows(&lab, to);
    }
    running.stop();
}

#[test]
fn a_set_that_cannot_be_written_down_is_not_in_force_before_it_is() {
    let Some(lab) = lab() else { return };
    let config = lab.config("router");
    let data = config.data.clone();
    // As on a full disk: there is room for the short state, and none for the set.
    let full = data.join(".set-1.json.new");
    std::fs::create_dir_all(&full).unwrap();
    let mut running = Running::start(&lab, config);
    running.send(sign(&blocking(1, 60)));
    let report = running.report();
    assert_eq!(report.outcome, Outcome::Failed, "{}", report.reason);
    std::fs::remove_dir(&full).unwrap();
    within(Duration::from_secs(10), || data.join("set-1.json").exists());
    let mut last = running.report();
    while last.outcome == Outcome::Failed {
        last = running.report();
    }
    assert_eq!((last.outcome, last.generation), (Outcome::Applied, 1), "{}", last.reason);
    running.stop();
}

#[test]
fn a_busy_host_is_not_drift() {
    let Some(lab) = lab() else { return };
    let mut running = Running::start(&lab, lab.config("router"));
    running.send(sign(&blocking(1, 60)));
    assert_eq!(running.report().outcome, Outcome::Applied);
    for n in 0..20 {
        lab.nft("router", &format!("add table ip other{n}"));
    }
    // The next word is about the next set: nothing was said of the twenty.
    running.send(sign(&blocking(2, 60)));
    assert_eq!((running.report().generation), 2);
    running.stop();
    assert!(lab.nft("router", "list tables").contains("other19"));
}

#[test]
fn what_a_person_does_at_the_command_line_is_not_drift() {
    let Some(lab) = lab() else { return };
    let mut running = Running::start(&lab, lab.config("router"));
    running.send(sign(&blocking(1, 60)));
    assert_eq!(running.report().outcome, Outcome::Applied);
    apply(&lab, "router", sign(&blocking(2, 60)));
    let (config, signed) = (lab.config("router"), sign(&blocking(3, 60)));
    lab.run("router", move || async move {
        enforcer::apply(&config, &signed, Approval { confirm_within: Some(Period::seconds(20)), many_new: false }).await?;
        enforcer::confirm(&config).await
    })
    .unwrap();
    // The loop learns of it, and has nothing to repair: its next word is about the next set.
    std::thread::sleep(Duration::from_millis(1500));
    running.send(sign(&blocking(4, 60)));
    let next = running.report();
    assert_eq!((next.generation, next.outcome), (4, Outcome::Applied), "{}", next.reason);
    running.stop();
}

#[test]
fn leases_are_kept_up_while_the_loop_lives_and_lapse_when_it_ends() {
    let Some(lab) = lab() else { return };
    let _ends = serve(&lab);
    let mut running = Running::start(&lab, lab.config("router"));
    running.send(sign(&blocking(1, 3)));
    assert_eq!(running.report().outcome, Outcome::Applied);
    // Three leases long, asked all the time.
    let begin = std::time::Instant::now();
    while begin.elapsed() < Duration::from_secs(9) {
        assert!(is_blocked(&lab));
    }
    running.stop();
    within(Duration::from_secs(5), || connect(&lab, shadow()[0]).is_ok());
}

#[test]
fn fault_28_29_a_refused_set_leaves_the_last_good_one() {
    let Some(lab) = lab() else { return };
    let _ends = serve(&lab);
    let mut running = Running::start(&lab, lab.config("router"));
    running.send(sign(&blocking(5, 60)));
    assert_eq!(running.report().outcome, Outcome::Applied);
    let good = sign(&blocking(6, 60));
    let other = rules::decision::DecisionSet { site: "other".into(), ..blocking(6, 60) };
    let expired = rules::decision::DecisionSet { not_after: Period::seconds(1).before(rules::Timestamp::now()), ..blocking(6, 60) };
    let mut contradicts = blocking(6, 60);
    contradicts.protected_endpoints = contradicts.decisions.iter().map(|d| d.endpoint).collect();
    let mut world = blocking(6, 60);
    world.agents.push("0.0.0.0/0".parse().unwrap());
    let bad = [
        ("garbled", Signed { payload: good.payload.replace('A', "B"), ..good.clone() }, "signature"),
        ("foreign key", Signed { key_id: "0000000000000000".into(), ..good.clone() }, "trusted_keys"),
        ("older", sign(&blocking(4, 60)), "older than 5"),
        ("other site", sign(&other), "other"),
        ("expired", sign(&expired), "expired"),
        ("contradicts itself", sign(&contradicts), "registered or protected"),
        ("everybody is an agent", sign(&world), "wider than"),
    ];
    for (case, signed, why) in bad {
        running.send(signed);
        let report = running.report();
        assert_eq!(report.outcome, Outcome::Refused, "{case}: {report:?}");
        assert!(report.reason.contains(why), "{case}: {}", report.reason);
        assert!(is_blocked(&lab), "{case}");
    }
    running.send(sign(&empty(7, 60)));
    assert_eq!(running.report().outcome, Outcome::Applied);
    for to in shadow() {
        assert_flows(&lab, to);
    }
    running.stop();
}

#[test]
fn fault_30_too_many_new_blocks_are_held_back_set_after_set_while_lifts_are_done() {
    let Some(lab) = lab() else { return };
    let _ends = serve(&lab);
    let mut config = lab.config("router");
    config.limits.max_new_per_hour = 2;
    let mut running = Running::start(&lab, config);
    running.send(sign(&blocking(1, 60)));
    assert_eq!(running.report().elements, 2);
    for generation in [2, 3] {
        let mut next = blocking(generation, 60);
        next.decisions.remove(0);
        next.decisions.extend(crate::lab::INNOCENT.iter().map(|a| decision(a, PORT, Action::Block)));
        running.send(sign(&next));
        let report = running.report();
        assert_eq!((report.outcome, report.generation, report.elements), (Outcome::Applied, generation, 1), "{}", report.reason);
        assert!(report.reason.starts_with("2 withheld here") && report.reason.contains("max_new_per_hour"), "{}", report.reason);
        assert_flows(&lab, shadow()[0]);
        assert_blocked(&lab, shadow()[1]);
        for to in crate::talk::addresses().into_iter().skip(2) {
            assert_flows(&lab, to);
        }
    }
    running.stop();
}

#[test]
fn dry_run_changes_nothing() {
    let Some(lab) = lab() else { return };
    let _ends = serve(&lab);
    let before = lab.nft("router", "list ruleset");
    let mut running = Running::start(&lab, enforcer::Config { mode: Mode::DryRun, ..lab.config("router") });
    running.send(sign(&blocking(1, 60)));
    let report = running.report();
    assert_eq!((report.outcome, report.elements), (Outcome::DryRun, 2), "{report:?}");
    for to in shadow() {
        assert_flows(&lab, to);
    }
    assert_eq!(lab.nft("router", "list ruleset"), before);
    // What arrived can be planned and applied by a person.
    let config = lab.config("router");
    let plan = lab
        .run("router", move || async move {
            let signed = enforcer::latest(&config).await?.unwrap();
            enforcer::plan(&config, &signed).await
        })
        .unwrap();
    assert_eq!((plan.blocks.len(), plan.objections.len()), (2, 0));
    assert!(plan.nft.contains("block6") && plan.blocks.iter().all(|b| b.new && b.reason == "unregistered"));
    running.stop();
}

#[test]
fn fault_02_an_unconfirmed_trial_lapses_to_what_was_before_with_nobody_there() {
    let Some(lab) = lab() else { return };
    let _ends = serve(&lab);
    let mut first = empty(1, 60);
    first.decisions = vec![decision(SHADOW[0], PORT, Action::Block)];
    apply(&lab, "router", sign(&first));
    let mut second = empty(2, 60);
    second.decisions = vec![decision(SHADOW[1], PORT, Action::Block)];
    let (config, signed) = (lab.config("router"), sign(&second));
    let trial = Approval { confirm_within: Some(Period::seconds(3)), many_new: false };
    lab.run("router", move || async move { enforcer::apply(&config, &signed, trial).await }).unwrap();
    let [v4, v6] = shadow()[..] else { unreachable!() };
    assert_blocked(&lab, v6);
    assert_blocked(&lab, v4);
    // Nobody confirms, and no process of ours runs.
    within(Duration::from_secs(5), || connect(&lab, v6).is_ok());
    assert_blocked(&lab, v4);
    let config = lab.config("router");
    let late = lab.run("router", move || async move { enforcer::confirm(&config).await });
    assert!(matches!(late, Err(Error::NoTrial)), "{late:?}");
}

#[test]
fn a_confirmed_trial_stays_and_a_rollback_brings_back_the_set_before() {
    let Some(lab) = lab() else { return };
    let _ends = serve(&lab);
    let mut first = empty(1, 60);
    first.decisions = vec![decision(SHADOW[0], PORT, Action::Block)];
    apply(&lab, "router", sign(&first));
    let mut second = empty(2, 60);
    second.decisions = vec![decision(SHADOW[1], PORT, Action::Block)];
    let (config, signed) = (lab.config("router"), sign(&second));
    let status = lab
        .run("router", move || async move {
            let trial = Approval { confirm_within: Some(Period::seconds(20)), many_new: false };
            enforcer::apply(&config, &signed, trial).await?;
            enforcer::confirm(&config).await?;
            enforcer::status(&config).await
        })
        .unwrap();
    assert_eq!((status.generation, status.confirm_by, status.desired, status.enforced), (2, None, 1, 1));
    assert!(status.elements[0].lease_left.0 > Duration::from_secs(50));
    let [v4, v6] = shadow()[..] else { unreachable!() };
    assert_blocked(&lab, v6);
    assert_flows(&lab, v4);

    let config = lab.config("router");
    let back = lab.run("router", move || async move { enforcer::rollback(&config).await }).unwrap();
    assert_eq!((back.outcome, back.generation), (Outcome::RolledBack, 1));
    assert_blocked(&lab, v4);
    assert_flows(&lab, v6);
    let config = lab.config("router");
    lab.run("router", move || async move { enforcer::rollback(&config).await }).unwrap();
    assert_flows(&lab, v4);
    assert_eq!(lab.nft("router", "list ruleset"), "");

    // Older than what was applied: refused, whatever was rolled back since.
    let (config, old) = (lab.config("router"), sign(&first));
    let refused = lab.run("router", move || async move { enforcer::apply(&config, &old, Approval::default()).await });
    assert!(matches!(refused, Err(Error::Refused(Refused::Older { .. }))), "{refused:?}");
}

#[test]
fn panic_stops_everything_until_resume() {
    let Some(lab) = lab() else { return };
    let _ends = serve(&lab);
    let mut running = Running::start(&lab, lab.config("router"));
    running.send(sign(&blocking(1, 60)));
    assert_eq!(running.report().outcome, Outcome::Applied);
    let config = lab.config("router");
    lab.run("router", move || async move { enforcer::panic(&config, "the build is down").await }).unwrap();
    for to in shadow() {
        assert_flows(&lab, to);
    }
    let said = running.report();
    assert!(said.outcome == Outcome::RolledBack && said.reason.contains("the build is down"), "{said:?}");
    running.send(sign(&blocking(2, 60)));
    assert_eq!(running.report().outcome, Outcome::Refused);
    for to in shadow() {
        assert_flows(&lab, to);
    }
    let config = lab.config("router");
    lab.run("router", move || async move { enforcer::resume(&config).await }).unwrap();
    within(Duration::from_secs(8), || is_blocked(&lab));
    running.stop();
}

/// The standalone process, told by a file.
pub struct Process(Child);

impl Process {
    /// SIGKILL: no code of ours runs after this.
    pub fn kill(mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

/// A test that failed leaves no process behind.
impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

pub fn process(lab: &Lab, config: &enforcer::Config) -> Process {
    Process(command(lab, config).stdout(Stdio::null()).spawn().unwrap())
}

fn command(lab: &Lab, config: &enforcer::Config) -> Command {
    let path = lab.data.path().join("config.json");
    std::fs::write(&path, serde_json::to_vec(config).unwrap()).unwrap();
    let mut command = Command::new("ip");
    command.args(["netns", "exec", &lab.ns("router"), env!("CARGO_BIN_EXE_enforcer")]).arg(path);
    command
}

/// A process whose reports are read.
pub struct Talking {
    process: Process,
    reports: Receiver<Applied>,
}

/// With an environment of its own.
pub fn talking(lab: &Lab, config: &enforcer::Config, environment: Vec<(&'static str, PathBuf)>) -> Talking {
    let mut child = command(lab, config).envs(environment).stdout(Stdio::piped()).spawn().unwrap();
    let (tell, reports) = std::sync::mpsc::channel();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
    std::thread::spawn(move || {
        for applied in lines.filter_map(|line| serde_json::from_str(&line).ok()) {
            // A test that heard enough hears no more.
            let _ = tell.send(applied);
        }
    });
    Talking { process: Process(child), reports }
}

impl Talking {
    /// The next report with this outcome, whose reason has these words.
    pub fn says(&mut self, outcome: Outcome, words: &str) -> Applied {
        let by = Instant::now() + Duration::from_secs(10);
        let mut heard = Vec::new();
        loop {
            let Ok(applied) = self.reports.recv_timeout(by.saturating_duration_since(Instant::now())) else {
                panic!("no word of {outcome:?} with {words:?}, but {heard:?}")
            };
            if applied.outcome == outcome && applied.reason.contains(words) {
                return applied;
            }
            heard.push((applied.outcome, applied.reason));
        }
    }

    pub fn kill(self) {
        self.process.kill();
    }
}

#[test]
fn fault_01_killed_with_blocks_in_force_they_hold_a_restart_takes_them_over_and_without_one_they_lapse() {
    let Some(lab) = lab() else { return };
    let _ends = serve(&lab);
    let file = lab.data.path().join("set.json");
    put(&file, &sign(&blocking(1, 4)));
    let config = enforcer::Config { sets: Some(file.clone()), ..lab.config("router") };
    let child = process(&lab, &config);
    within(Duration::from_secs(5), || is_blocked(&lab));
    child.kill();
    assert!(is_blocked(&lab), "a crash must not open the door at once");
    // The set is not told again: what was applied is on disk.
    std::fs::remove_file(&file).unwrap();
    let child = process(&lab, &config);
    let begin = std::time::Instant::now();
    while begin.elapsed() < Duration::from_secs(6) {
        assert!(is_blocked(&lab), "no gap within the lease");
    }
    child.kill();
    within(Duration::from_secs(6), || connect(&lab, shadow()[0]).is_ok());
    for to in shadow() {
        assert_flows(&lab, to);
    }
}

#[test]
fn removal_leaves_the_ruleset_as_it_was_found() {
    let Some(lab) = lab() else { return };
    let neighbour = lab.data.path().join("neighbour.nft");
    let rules = "table inet neighbour { set s { type ipv4_addr; elements = { 192.0.2.1 } }\n chain c { type filter hook forward priority 0; ip saddr @s counter drop; }\n}\n";
    std::fs::write(&neighbour, rules).unwrap();
    lab.nft("router", &format!("-f {}", neighbour.display()));
    let before = lab.nft("router", "list ruleset");
    apply(&lab, "router", sign(&blocking(1, 60)));
    assert_ne!(lab.nft("router", "list ruleset"), before);
    let config = lab.config("router");
    lab.run("router", move || async move { enforcer::remove(&config).await }).unwrap();
    assert_eq!(lab.nft("router", "list ruleset"), before);
    // Again, with nothing there.
    let config = lab.config("router");
    lab.run("router", move || async move { enforcer::remove(&config).await }).unwrap();
    assert_eq!(lab.nft("router", "list ruleset"), before);

    let mut running = Running::start(&lab, enforcer::Config { remove_on_exit: true, ..lab.config("router") });
    running.send(sign(&blocking(2, 60)));
    assert_eq!(running.report().outcome, Outcome::Applied);
    running.stop();
    assert_eq!(lab.nft("router", "list ruleset"), before);
}

#[test]
fn fault_13_without_nft_it_says_so_and_catches_up_when_it_is_there() {
    let Some(lab) = lab() else { return };
    let _ends = serve(&lab);
    let nft = lab.data.path().join("nft");
    let mut running = Running::start(&lab, enforcer::Config { nft: nft.clone(), ..lab.config("router") });
    running.send(sign(&blocking(1, 60)));
    let said = running.report();
    assert!(said.outcome == Outcome::Failed && said.reason.contains("install nftables"), "{said:?}");
    sh(&format!("ln -s /usr/sbin/nft {}", nft.display()));
    assert_eq!(running.report().outcome, Outcome::Applied);
    assert!(is_blocked(&lab));
    running.stop();
}

#[test]
fn a_table_of_an_older_make_is_replaced() {
    let Some(lab) = lab() else { return };
    let _ends = serve(&lab);
    lab.nft("router", "'table inet gnomon { map blk4 { type ipv4_addr . inet_service : verdict; flags timeout; counter; }; chain old { type filter hook forward priority -10; ip daddr . th dport vmap @blk4; }; }'");
    assert!(!is_blocked(&lab));
    let mut running = Running::start(&lab, lab.config("router"));
    running.send(sign(&blocking(1, 60)));
    let said = running.report();
    assert_eq!(said.outcome, Outcome::Applied, "{}", said.reason);
    assert!(is_blocked(&lab));
    running.stop();
}

/// The commit that takes the table away is heard within a millisecond, the person's word is read with the next look.
#[test]
fn what_a_person_removed_beside_the_loop_is_not_put_back() {
    let Some(lab) = lab() else { return };
    let _ends = serve(&lab);
    let mut running = Running::start(&lab, lab.config("router"));
    running.send(sign(&blocking(1, 60)));
    assert_eq!(running.report().outcome, Outcome::Applied);
    for generation in 2..6 {
        let config = lab.config("router");
        lab.run("router", move || async move { enforcer::remove(&config).await }).unwrap();
        let end = std::time::Instant::now() + Duration::from_millis(1500);
        while std::time::Instant::now() < end {
            assert!(!is_blocked(&lab), "the table is back");
        }
        assert!(!lab.nft("router", "list ruleset").contains("gnomon"));
        // A newer set is another matter.
        running.send(sign(&blocking(generation, 60)));
        within(Duration::from_secs(5), || is_blocked(&lab));
    }
    running.stop();
}
