//! Clocks that are wrong, or set while we run. The machine's clock is everybody's: only the enforcer's process is told another time
//! (libfaketime, by a file), and the clock that nobody can set runs as it does, for it and for the kernel.

use crate::{
    blocking::apply,
    lab::{Lab, blocking, empty, lab, put, sign},
    talk::{assert_flows, serve, shadow, within},
    upkeep::{Talking, is_blocked, talking},
};
use enforcer::point::Point;
use rules::observation::Outcome;
use std::{
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

/// Of the sets here: one block is renewed every two seconds.
const LEASE: Duration = Duration::from_secs(6);

/// What the enforcer takes for the time.
struct Clock(PathBuf);

impl Clock {
    fn new(lab: &Lab) -> Clock {
        let clock = Clock(lab.data.path().join("clock"));
        clock.set("+0");
        clock
    }

    /// `+2d`, `-2d`: off by so much.
    fn set(&self, off: &str) {
        std::fs::write(self.0.with_extension("new"), off).unwrap();
        std::fs::rename(self.0.with_extension("new"), &self.0).unwrap();
    }

    fn environment(&self) -> Vec<(&'static str, PathBuf)> {
        let library = ["/usr/lib/x86_64-linux-gnu", "/usr/lib/aarch64-linux-gnu", "/usr/lib64"]
            .iter()
            .map(|directory| Path::new(directory).join("faketime/libfaketime.so.1"))
            .find(|path| path.exists())
            .expect("libfaketime is not installed (packaging/install-needs test)");
        vec![
            ("LD_PRELOAD", library),
            ("FAKETIME_TIMESTAMP_FILE", self.0.clone()),
            ("FAKETIME_NO_CACHE", "1".into()),
            ("FAKETIME_DONT_FAKE_MONOTONIC", "1".into()),
        ]
    }
}

/// Asked all the time.
fn stays_blocked(lab: &Lab, so_long: Duration) {
    let begin = Instant::now();
    while begin.elapsed() < so_long {
        assert!(is_blocked(lab), "open after {:?}", begin.elapsed());
    }
}

fn start(lab: &Lab, clock: &Clock, set: &Path) -> Talking {
    let config = enforcer::Config { sets: Some(set.to_owned()), ..lab.config("router") };
    talking(lab, &config, clock.environment())
}

#[test]
fn fault_12_a_jump_ahead_that_is_set_right_in_time_lifts_nothing_and_one_that_stays_ends_the_set() {
    let Some(lab) = lab() else { return };
    let (_ends, clock, set) = (serve(&lab), Clock::new(&lab), lab.data.path().join("set.json"));
    shadow().into_iter().for_each(|to| assert_flows(&lab, to));
    put(&set, &sign(&blocking(1, LEASE.as_secs())));
    let mut enforcer = start(&lab, &clock, &set);
    enforcer.says(Outcome::Applied, "");
    assert!(is_blocked(&lab));
    // The set holds for a day. Two days ahead, it is over; but who knows.
    clock.set("+2d");
    enforcer.says(Outcome::Failed, "expired");
    stays_blocked(&lab, LEASE / 4);
    clock.set("+0");
    stays_blocked(&lab, LEASE * 2);
    // Ahead for good.
    clock.set("+2d");
    within(LEASE + Duration::from_secs(1), || !is_blocked(&lab));
    shadow().into_iter().for_each(|to| assert_flows(&lab, to));
    // What arrives meanwhile is not for this time either, and says why; nor does a restart know better.
    put(&set, &sign(&blocking(2, LEASE.as_secs())));
    enforcer.says(Outcome::Refused, "this host's");
    enforcer.kill();
    let mut enforcer = start(&lab, &clock, &set);
    enforcer.says(Outcome::Refused, "this host's");
    shadow().into_iter().for_each(|to| assert_flows(&lab, to));
    // The clock set right, both that are on disk are good, and nobody has to tell again.
    clock.set("+0");
    within(Duration::from_secs(3), || is_blocked(&lab));
    enforcer.says(Outcome::Applied, "");
    enforcer.kill();
}

#[test]
fn fault_12_a_jump_back_lifts_nothing_and_gives_no_more_time() {
    let Some(lab) = lab() else { return };
    let (_ends, clock, set) = (serve(&lab), Clock::new(&lab), lab.data.path().join("set.json"));
    shadow().into_iter().for_each(|to| assert_flows(&lab, to));
    let begin = Instant::now();
    let over = LEASE * 3;
    let mut short = blocking(1, LEASE.as_secs());
    short.not_after = rules::Timestamp::now() + over;
    put(&set, &sign(&short));
    let mut enforcer = start(&lab, &clock, &set);
    enforcer.says(Outcome::Applied, "");
    clock.set("-2d");
    // Renewed by the clock that nobody can set, until the set's own end, and no longer.
    stays_blocked(&lab, (over - LEASE / 4).saturating_sub(begin.elapsed()));
    within(LEASE / 2, || !is_blocked(&lab));
    assert!(begin.elapsed() < over + Duration::from_secs(1), "{:?}", begin.elapsed());
    enforcer.says(Outcome::Failed, "expired");
    // Of the future, as this host sees it: told, kept in mind, and good as soon as the clock is.
    put(&set, &sign(&blocking(2, LEASE.as_secs())));
    enforcer.says(Outcome::Refused, "in this host's future");
    shadow().into_iter().for_each(|to| assert_flows(&lab, to));
    clock.set("+0");
    within(Duration::from_secs(3), || is_blocked(&lab));
    enforcer.kill();
}

/// As on a machine whose clock is not set before the network is there.
#[test]
fn fault_12_a_start_before_the_clock_is_right_takes_over_what_was_in_force_once_it_is() {
    let Some(lab) = lab() else { return };
    let (_ends, clock, set) = (serve(&lab), Clock::new(&lab), lab.data.path().join("set.json"));
    put(&set, &sign(&blocking(1, LEASE.as_secs())));
    let mut enforcer = start(&lab, &clock, &set);
    enforcer.says(Outcome::Applied, "");
    assert!(is_blocked(&lab));
    enforcer.kill();
    // Nobody tells the set again: what was applied is on disk.
    std::fs::remove_file(&set).unwrap();
    clock.set("-20y");
    let mut enforcer = start(&lab, &clock, &set);
    enforcer.says(Outcome::Failed, "in this host's future");
    within(LEASE + Duration::from_secs(1), || !is_blocked(&lab));
    shadow().into_iter().for_each(|to| assert_flows(&lab, to));
    clock.set("+0");
    within(Duration::from_secs(3), || is_blocked(&lab));
    stays_blocked(&lab, LEASE * 2);
    put(&set, &sign(&empty(2, LEASE.as_secs())));
    within(Duration::from_secs(3), || !is_blocked(&lab));
    enforcer.kill();
}

/// What the loop does at waking, since no test may put this machine to sleep; when it does so, `enforcer::core::tests` say.
#[test]
fn fault_12_what_a_host_kept_in_its_sleep_is_lifted_by_netlink_and_by_nft() {
    let Some(lab) = lab() else { return };
    let _ends = serve(&lab);
    for (generation, by_nft) in [(1, false), (2, true)] {
        apply(&lab, "router", sign(&blocking(generation, 600)));
        assert!(is_blocked(&lab));
        let config = lab.config("router");
        let lift = move || async move {
            let mut point = Point::open(config).unwrap();
            point.monitor = point.monitor.filter(|_| !by_nft);
            let held = point.store.lock().await.unwrap();
            (point.lift_all(&held).await.unwrap(), point.lift_all(&held).await.unwrap())
        };
        assert_eq!(lab.run("router", lift), (2, 0));
        shadow().into_iter().for_each(|to| assert_flows(&lab, to));
        assert!(lab.nft("router", "list table inet gnomon").contains("10.91.0.0/24"), "chains and agents stay");
    }
}
