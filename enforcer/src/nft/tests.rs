use super::*;
use std::{io::Write, os::unix::fs::PermissionsExt, time::Instant};

/// An `nft` that does what the script says.
fn fake(script: &str) -> (tempfile::TempDir, Nft) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("nft");
    let mut file = std::fs::File::create(&path).unwrap();
    write!(file, "#!/bin/sh\n{script}\n").unwrap();
    file.set_permissions(std::fs::Permissions::from_mode(0o755)).unwrap();
    drop(file);
    (directory, Nft { path, timeout: Duration::from_millis(300) })
}

fn unavailable(result: Result<impl std::fmt::Debug, Error>) -> String {
    match result {
        Err(Error::Unavailable(why)) => why,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_missing_nft_is_said_with_what_to_do() {
    let nft = Nft { path: "/nonexistent/nft".into(), timeout: Duration::from_secs(1) };
    let why = unavailable(nft.probe(&Shape::default()).await);
    assert!(why.contains("install nftables"), "{why}");
}

#[tokio::test]
async fn a_hanging_nft_is_killed() {
    let (_directory, nft) = fake("exec sleep 60");
    let begin = Instant::now();
    let why = unavailable(nft.commit("").await);
    assert!(why.contains("was killed") && begin.elapsed() < Duration::from_secs(30), "{why}");
}

#[tokio::test]
async fn what_a_script_started_is_killed_with_it() {
    // Nobody else sleeps so long.
    let seconds = 1_000_000 + std::process::id();
    let (_directory, nft) = fake(&format!("sleep {seconds} & wait"));
    let sleeps = move || {
        let all = std::fs::read_dir("/proc").unwrap().flatten();
        all.filter(|p| std::fs::read(p.path().join("cmdline")).is_ok_and(|c| c == format!("sleep\0{seconds}\0").as_bytes())).count()
    };
    let watching = std::thread::spawn(move || {
        (0..100).any(|_| {
            std::thread::sleep(Duration::from_millis(5));
            sleeps() > 0
        })
    });
    unavailable(nft.commit("").await);
    assert!(watching.join().unwrap(), "it was there");
    let begin = Instant::now();
    while sleeps() > 0 {
        assert!(begin.elapsed() < Duration::from_secs(5), "it outlived the script");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn an_nft_that_is_too_old_or_another_program_is_not_used() {
    let (_a, old) = fake("echo 'nftables v0.9.0 (Fearless Fosdick)'");
    assert!(unavailable(old.probe(&Shape::default()).await).contains("install a newer"));
    let (_b, other) = fake("echo hello");
    assert!(unavailable(other.probe(&Shape::default()).await).contains("does not say its version"));
    let (_c, garbled) = fake("echo '{\"nftables\": [{'");
    assert!(unavailable(garbled.list().await).contains("does not read"));
}

#[tokio::test]
async fn a_refusal_is_made_printable_and_short() {
    let (_directory, nft) = fake(r"cat >/dev/null; printf 'Error: \033[31mno\n1\n2\n3\n' >&2; exit 1");
    match nft.commit("x").await {
        Err(Error::Refused(why)) => assert_eq!(why, r"Error: \u{1b}[31mno | 1"),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn our_environment_does_not_reach_it() {
    let (_directory, nft) = fake("echo \"nftables v9.9.9 $(env | grep -cv '^LC_ALL=C$\\|^PWD=\\|^_=\\|^SHLVL=\\|^OLDPWD=')\"");
    assert_eq!(nft.probe(&Shape::default()).await.unwrap(), "nftables v9.9.9 0");
}

#[test]
fn versions() {
    assert_eq!(version("nftables v1.0.6 (Lester Gooch #5)"), Some((1, 0, 6)));
    assert_eq!(version("nftables v1.1 (x)"), Some((1, 1, 0)));
    assert_eq!(version("iptables v1.8.9"), None);
}
