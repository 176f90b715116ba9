//! What the process gave up, and that what it kept is enough. Each thing is possible before it is shown not to be.

use crate::{
    lab::{Lab, blocking, empty, lab, put, sign},
    talk::{assert_flows, connect, serve, shadow, within},
    upkeep::{is_blocked, process},
};
use enforcer::{Approval, confine::Confinement};
use std::{
    fs,
    io::ErrorKind,
    net::{TcpListener, TcpStream, UdpSocket},
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

fn confinement(lab: &Lab) -> Option<Confinement> {
    Confinement::of_running(&lab.config("router").data)
}

#[test]
fn a_confined_process_blocks_and_lifts() {
    let Some(lab) = lab() else { return };
    let _ends = serve(&lab);
    let file = lab.data.path().join("set.json");
    put(&file, &sign(&blocking(1, 60)));
    shadow().into_iter().for_each(|to| assert_flows(&lab, to));
    let child = process(&lab, &enforcer::Config { sets: Some(file.clone()), ..lab.config("router") });
    within(Duration::from_secs(5), || is_blocked(&lab));
    let known = confinement(&lab).unwrap();
    let told = fs::read_to_string(format!("/proc/{}/status", known.pid)).unwrap();
    let says = |key: &str| told.lines().find_map(|l| l.strip_prefix(key)).unwrap().trim().to_owned();
    // CAP_NET_ADMIN is number 12.
    for set in ["CapPrm:", "CapEff:", "CapBnd:", "CapInh:", "CapAmb:"] {
        assert_eq!(says(set), "0000000000001000", "{set}");
    }
    assert_eq!((says("NoNewPrivs:"), says("Seccomp:")), ("1".to_owned(), "2".to_owned()));
    put(&file, &sign(&empty(2, 60)));
    within(Duration::from_secs(5), || shadow().into_iter().all(|to| connect(&lab, to).is_ok()));
    child.kill();
    assert_eq!(confinement(&lab), None, "it does not run any more");
}

/// What a process could do with its rights to files, to the network and to its place. Each: whether it was refused.
fn attempts(outside: &Path) -> [(&'static str, bool); 7] {
    let refused = |r: std::io::Result<()>| r.is_err_and(|why| why.kind() == ErrorKind::PermissionDenied);
    [
        ("a datagram socket", refused(UdpSocket::bind("127.0.0.1:0").map(drop))),
        ("a listener", refused(TcpListener::bind("[::1]:0").map(drop))),
        ("a connection", refused(TcpStream::connect("127.0.0.1:9").map(drop))),
        ("a file written", refused(fs::write(outside.join("new"), "x"))),
        ("a file read", refused(fs::read(outside.join("theirs")).map(drop))),
        ("a command", refused(Command::new("/bin/true").status().map(drop))),
        ("another place", refused(nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNS).map_err(Into::into))),
    ]
}

#[test]
fn a_confined_thread_and_its_nft_apply_and_remove_and_reach_nothing_else() {
    let Some(lab) = lab() else { return };
    let _ends = serve(&lab);
    let elsewhere = tempfile::tempdir().unwrap();
    let outside: PathBuf = elsewhere.path().to_owned();
    fs::write(outside.join("theirs"), "x").unwrap();
    let (config, signed) = (lab.config("router"), sign(&blocking(1, 60)));
    let before = outside.clone();
    let free = lab.within("router", move || attempts(&before));
    assert!(free.iter().all(|(_, refused)| !refused), "unconfined, everything is possible: {free:?}");
    let (confined, now, applied, held, removed) = lab.within("router", move || {
        let confined = enforcer::confine(&config);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let applied = enforcer::apply(&config, &signed, Approval::default()).await;
            let held = enforcer::status(&config).await.unwrap();
            let removed = enforcer::remove(&config).await;
            (confined, attempts(&outside), applied, held, removed)
        })
    });
    assert_eq!((applied.unwrap().elements, held.enforced), (2, 2));
    removed.unwrap();
    assert!(lab.nft("router", "list ruleset").is_empty(), "the table is gone again");
    eprintln!("{confined}");
    let landlock = confined.in_force.iter().any(|l| l.starts_with("Landlock"));
    for (what, refused) in now {
        // The files are Landlock's; a kernel without it says so, and the rest holds.
        assert!(refused || (!landlock && (what.starts_with("a file") || what == "a command")), "{what}");
    }
    assert!(landlock || confined.lacking.iter().any(|l| l.starts_with("Landlock")), "{confined}");
}
