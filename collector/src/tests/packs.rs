//! The site's own signature packs: what changes on the disk changes how sure we are, and what is broken changes nothing.

use super::{doors::Admin, *};
use serde_json::Value;
use std::time::{Duration, Instant};

const WEAK: &str = "marks:\n  - id: wire.server.initialize-result\n    strength: weak\n";

fn on_the_wire() -> Vec<Said> {
    vec![evidence("10.0.0.5:3001/mcp", Source::Wire, "wire.server.initialize-result", day(0))]
}

async fn confidence(admin: &Admin) -> String {
    let servers = admin.get("/v1/servers").await;
    servers.to_string().split("\"confidence\":\"").nth(1).and_then(|s| s.split('"').next()).unwrap_or_default().to_owned()
}

/// The status's word on the packs, as soon as `wanted` holds of it.
async fn packs(admin: &Admin, wanted: impl Fn(&Value) -> bool) -> Value {
    let start = Instant::now();
    loop {
        let said = admin.get("/v1/status").await["packs"].clone();
        if wanted(&said) {
            return said;
        }
        // Well below the minute after which the directory is looked at unasked: the watch has to do it.
        assert!(start.elapsed() < Duration::from_secs(20), "{said}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test]
async fn a_pack_that_changes_changes_the_confidence_and_a_broken_one_leaves_the_last_good_in_force() {
    let (data, dir) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let file = dir.path().join("10-site.yaml");
    std::fs::write(&file, WEAK).unwrap();
    std::fs::write(dir.path().join("notes.txt"), "no pack").unwrap();
    let config = Config { packs: Some(dir.path().to_owned()), ..config(data.path()) };
    let (running, stop) = run(&config).await;
    let admin = Admin::of(&running, &config);
    running.handle().accept(batch(1, 1, day(0), on_the_wire())).await.unwrap();
    let first = admin.get("/v1/status").await["packs"].clone();
    assert_eq!(first["files"], serde_json::json!(["10-site.yaml"]));
    assert_eq!(confidence(&admin).await, "candidate");

    // Written beside it and moved over it, as careful people do.
    let beside = dir.path().join(".10-site.yaml.new");
    std::fs::write(&beside, WEAK.replace("weak", "decisive")).unwrap();
    std::fs::rename(&beside, &file).unwrap();
    let second = packs(&admin, |p| p["sha256"] != first["sha256"]).await;
    assert_eq!(confidence(&admin).await, "confirmed");

    std::fs::write(&file, WEAK.replace("strength", "strenght")).unwrap();
    let broken = packs(&admin, |p| !p["refused"].is_null()).await;
    let why = broken["refused"]["why"].as_str().unwrap();
    assert!(why.starts_with("10-site.yaml:3:5: unknown key `strenght`") && why.contains("did you mean `strength`?"), "{why}");
    assert_eq!(broken["sha256"], second["sha256"]);
    assert_eq!(confidence(&admin).await, "confirmed", "the last good one stays");

    std::fs::write(&file, WEAK).unwrap();
    let repaired = packs(&admin, |p| p["refused"].is_null()).await;
    assert_eq!(repaired["sha256"], first["sha256"]);
    assert_eq!(confidence(&admin).await, "candidate");

    std::fs::remove_file(&file).unwrap();
    packs(&admin, |p| p["files"] == serde_json::json!([])).await;
    assert_eq!(confidence(&admin).await, "confirmed", "as shipped");

    let journal = admin.get("/v1/journal?limit=200").await.to_string();
    assert_eq!(journal.matches("\"packs-loaded\"").count(), 4, "{journal}");
    assert_eq!(journal.matches("\"packs-refused\"").count(), 1, "{journal}");
    end(running, stop).await;
}

#[tokio::test]
async fn a_pack_that_broke_while_nobody_looked_leaves_the_last_good_one_in_force() {
    let (data, dir) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let file = dir.path().join("10-site.yaml");
    std::fs::write(&file, WEAK).unwrap();
    let config = Config { packs: Some(dir.path().to_owned()), ..config(data.path()) };
    let (running, stop) = run(&config).await;
    running.handle().accept(batch(1, 1, day(0), on_the_wire())).await.unwrap();
    let good = Admin::of(&running, &config).get("/v1/status").await["packs"].clone();
    end(running, stop).await;

    std::fs::write(&file, "marks: [").unwrap();
    let (running, stop) = run(&config).await;
    let admin = Admin::of(&running, &config);
    let said = admin.get("/v1/status").await["packs"].clone();
    assert!(said["refused"]["why"].as_str().unwrap().starts_with("10-site.yaml:1:"), "{said}");
    assert_eq!((&said["sha256"], &said["files"]), (&good["sha256"], &good["files"]));
    assert_eq!(confidence(&admin).await, "candidate", "as the last good one says, not as shipped");
    end(running, stop).await;

    // Another directory is not this one, and its packs are not those.
    let config = Config { packs: Some(dir.path().join("none")), ..config };
    let (running, stop) = run(&config).await;
    assert_eq!(confidence(&Admin::of(&running, &config)).await, "confirmed");
    end(running, stop).await;
}

#[tokio::test]
async fn a_link_that_leads_elsewhere_is_a_change() {
    let (data, dir) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    for (release, text) in [("one", WEAK.to_owned()), ("two", WEAK.replace("weak", "strong"))] {
        std::fs::create_dir(dir.path().join(release)).unwrap();
        std::fs::write(dir.path().join(release).join("a.yaml"), text).unwrap();
    }
    let (link, aside) = (dir.path().join("current"), dir.path().join("aside"));
    std::os::unix::fs::symlink("one", &link).unwrap();
    let config = Config { packs: Some(link.clone()), ..config(data.path()) };
    let (running, stop) = run(&config).await;
    let admin = Admin::of(&running, &config);
    let first = packs(&admin, |p| p["files"] == serde_json::json!(["a.yaml"])).await;
    std::os::unix::fs::symlink("two", &aside).unwrap();
    std::fs::rename(&aside, &link).unwrap();
    let second = packs(&admin, |p| p["sha256"] != first["sha256"]).await;

    // And a file that is a link to one elsewhere, which is written anew.
    let elsewhere = dir.path().join("elsewhere.yaml");
    std::fs::write(&elsewhere, WEAK).unwrap();
    std::os::unix::fs::symlink(&elsewhere, dir.path().join("two/b.yaml")).unwrap();
    let third = packs(&admin, |p| p["sha256"] != second["sha256"]).await;
    std::fs::write(&elsewhere, WEAK.replace("weak", "decisive")).unwrap();
    packs(&admin, |p| p["sha256"] != third["sha256"]).await;
    end(running, stop).await;
}

#[tokio::test]
async fn what_is_no_small_regular_file_is_refused_and_so_is_a_directory_that_is_not_there() {
    let (data, dir) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let config = Config { packs: Some(dir.path().to_owned()), ..config(data.path()) };
    let refused = async |what: &str| {
        let (running, stop) = run(&config).await;
        let said = Admin::of(&running, &config).get("/v1/status").await["packs"]["refused"]["why"].to_string();
        end(running, stop).await;
        assert!(said.contains(what), "{said}");
    };
    let path = dir.path().join("a.yaml");
    nix::unistd::mkfifo(&path, nix::sys::stat::Mode::S_IRWXU).unwrap();
    refused("a.yaml: not a regular file").await;
    std::fs::remove_file(&path).unwrap();
    std::fs::write(&path, "#".repeat(256 * 1024 + 1)).unwrap();
    refused("a.yaml: larger than 262144 bytes").await;
    std::fs::write(&path, b"marks:\n- \xff").unwrap();
    refused("a.yaml:2:3: not UTF-8").await;
    std::fs::remove_file(&path).unwrap();
    (0..65).for_each(|n| std::fs::write(dir.path().join(format!("{n}.yaml")), "marks: []\n").unwrap());
    refused("more than 64 packs").await;
    std::fs::remove_dir_all(dir.path()).unwrap();
    refused("cannot be read").await;
}
