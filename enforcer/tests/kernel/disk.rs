//! A data directory with no room left: what is in force stays, nothing new is pretended, and room is all that is needed to go on.

use crate::{
    lab::{Lab, blocking, empty, lab, put, sh, sign},
    talk::{assert_flows, serve, shadow, within},
    upkeep::{is_blocked, talking},
};
use rules::observation::Outcome;
use std::{
    fs::{self, File},
    io::{ErrorKind, Write},
    path::PathBuf,
    process::Command,
    time::{Duration, Instant},
};

/// Renewed every two seconds; what failed is tried again after five.
const LEASE: Duration = Duration::from_secs(6);

/// A file system of 256 KiB where the router's enforcer keeps its data.
struct Disk(PathBuf);

impl Disk {
    fn mount(lab: &Lab) -> Disk {
        let disk = Disk(lab.config("router").data);
        fs::create_dir_all(&disk.0).unwrap();
        sh(&format!("mount -t tmpfs -o size=256k,mode=0700 gnenf {}", disk.0.display()));
        disk
    }

    fn fill(&self) {
        let mut file = File::create(self.0.join("filler")).unwrap();
        while file.write_all(&[0; 4096]).is_ok() {}
        let why = fs::write(self.0.join("more"), [0; 4096]).unwrap_err();
        assert_eq!(why.kind(), ErrorKind::StorageFull);
        fs::remove_file(self.0.join("more")).unwrap();
    }

    fn free(&self) {
        fs::remove_file(self.0.join("filler")).unwrap();
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("--lazy").arg(&self.0).status();
    }
}

#[test]
fn on_a_full_disk_the_last_good_set_stays_and_the_next_one_is_in_force_when_there_is_room() {
    let Some(lab) = lab() else { return };
    let (_ends, set) = (serve(&lab), lab.data.path().join("set.json"));
    let disk = Disk::mount(&lab);
    shadow().into_iter().for_each(|to| assert_flows(&lab, to));
    put(&set, &sign(&blocking(1, LEASE.as_secs())));
    let config = enforcer::Config { sets: Some(set.clone()), ..lab.config("router") };
    let mut enforcer = talking(&lab, &config, vec![]);
    enforcer.says(Outcome::Applied, "");
    assert!(is_blocked(&lab));
    disk.fill();
    put(&set, &sign(&empty(2, LEASE.as_secs())));
    let said = enforcer.says(Outcome::Failed, "No space left");
    assert_eq!(said.status.in_force, 1);
    // Renewed, though nothing can be written down.
    let begin = Instant::now();
    while begin.elapsed() < LEASE * 2 {
        assert!(is_blocked(&lab), "open after {:?}", begin.elapsed());
    }
    // A restart finds what it wrote while there was room, and takes it over.
    enforcer.kill();
    let mut enforcer = talking(&lab, &config, vec![]);
    enforcer.says(Outcome::Applied, "");
    let begin = Instant::now();
    while begin.elapsed() < LEASE * 2 {
        assert!(is_blocked(&lab), "open {:?} after a restart", begin.elapsed());
    }
    disk.free();
    within(Duration::from_secs(10), || !is_blocked(&lab));
    while enforcer.says(Outcome::Applied, "").status.in_force != 2 {}
    shadow().into_iter().for_each(|to| assert_flows(&lab, to));
    enforcer.kill();
}

#[test]
fn on_a_full_disk_the_glass_breaks_and_stays_broken() {
    let Some(lab) = lab() else { return };
    let (_ends, set) = (serve(&lab), lab.data.path().join("set.json"));
    let disk = Disk::mount(&lab);
    put(&set, &sign(&blocking(1, 60)));
    let config = enforcer::Config { sets: Some(set), ..lab.config("router") };
    let mut enforcer = talking(&lab, &config, vec![]);
    enforcer.says(Outcome::Applied, "");
    assert!(is_blocked(&lab));
    disk.fill();
    let stop = config.clone();
    lab.run("router", move || async move { enforcer::panic(&stop, "outage").await }).unwrap();
    enforcer.says(Outcome::RolledBack, "stopped by a person");
    shadow().into_iter().for_each(|to| assert_flows(&lab, to));
    enforcer.kill();
    let mut enforcer = talking(&lab, &config, vec![]);
    enforcer.says(Outcome::RolledBack, "stopped by a person");
    shadow().into_iter().for_each(|to| assert_flows(&lab, to));
    disk.free();
    let config = lab.config("router");
    lab.run("router", move || async move { enforcer::resume(&config).await }).unwrap();
    within(Duration::from_secs(10), || is_blocked(&lab));
    enforcer.kill();
}
