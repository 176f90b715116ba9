//! A database or a key that was there and is not: no start takes it for a new site.

use super::*;
use crate::{Beginning, store::database};
use std::fs;

async fn used(data: &Path) -> Config {
    let config = config(data);
    let (running, stop) = run(&config).await;
    running.handle().accept(batch(1, 1, day(0), confirmed("10.0.0.5:3001/mcp", day(0)))).await.unwrap();
    shown(&running.handle(), |s| !s.decisions.is_empty()).await;
    end(running, stop).await;
    config
}

async fn refused(config: &Config) -> Error {
    start(config.clone(), CancellationToken::new()).await.expect_err("it started as if nothing had happened")
}

async fn servers(config: &Config) -> usize {
    let (running, stop) = run(config).await;
    let n = running.handle().inner.writer.read(|s| s.sites["default"].inventory.len()).await.unwrap();
    end(running, stop).await;
    n
}

#[tokio::test]
async fn a_database_that_is_gone_or_emptied_is_no_new_site_unless_it_is_meant() {
    type Harm = fn(&Path);
    let harms: [Harm; 3] = [
        |path| fs::remove_file(path).unwrap(),
        |path| fs::write(path, b"").unwrap(),
        |path| {
            fs::remove_file(path).unwrap();
            rusqlite::Connection::open(path).unwrap().execute_batch("VACUUM").unwrap();
        },
    ];
    for harm in harms {
        let data = tempfile::tempdir().unwrap();
        let mut config = used(data.path()).await;
        harm(&database(data.path()));
        let why = refused(&config).await;
        assert!(matches!(&why, Error::Emptied { traces, .. } if traces.contains(&"signing.key".to_owned())), "{why}");
        config.beginning = Beginning::NewSite;
        assert_eq!(servers(&config).await, 0);
        // Asked for again, by a unit file: what is whole goes on.
        let (running, stop) = run(&config).await;
        running.handle().accept(batch(1, 1, day(0), confirmed("10.0.0.5:3001/mcp", day(0)))).await.unwrap();
        end(running, stop).await;
        assert_eq!(servers(&config).await, 1);
    }
}

#[tokio::test]
async fn a_damaged_database_is_refused_and_a_snapshot_brings_back_what_it_had() {
    let data = tempfile::tempdir().unwrap();
    let mut config = used(data.path()).await;
    let path = database(data.path());
    assert!(crate::store::snapshot::today(&path, 2, day(1)).unwrap());
    assert!(!crate::store::snapshot::today(&path, 2, day(1)).unwrap(), "once a day");
    let whole = fs::read(&path).unwrap();
    for harm in ["no database", "pages"] {
        let mut bytes = whole.clone();
        match harm {
            "pages" => bytes[4096..].iter_mut().skip(5).step_by(97).for_each(|b| *b = !*b),
            _ => bytes = b"something else entirely, longer than a header of SQLite, which is one hundred bytes".repeat(99),
        }
        fs::write(&path, bytes).unwrap();
        let why = refused(&config).await;
        assert!(matches!(why, Error::Damaged { .. }), "{harm}: {why}");
    }
    let newest = crate::newest_snapshot(&path).unwrap();
    config.beginning = Beginning::Restore(newest);
    assert_eq!(servers(&config).await, 1);
    config.beginning = Beginning::AsLeft;
    assert_eq!(servers(&config).await, 1);
    config.beginning = Beginning::Restore(data.path().join("signing.key"));
    let why = refused(&config).await;
    assert!(matches!(why, Error::Restore { .. }), "{why}");
    config.beginning = Beginning::AsLeft;
    assert_eq!(servers(&config).await, 1, "a snapshot that is none costs nothing");
}

#[tokio::test]
async fn what_a_killed_collector_left_in_its_log_is_restored_too() {
    let (data, killed, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (running, stop) = run(&config(data.path())).await;
    running.handle().accept(batch(1, 1, day(0), confirmed("10.0.0.5:3001/mcp", day(0)))).await.unwrap();
    for part in ["gnomon.db", "gnomon.db-wal"] {
        fs::copy(data.path().join(part), killed.path().join(part)).unwrap();
    }
    end(running, stop).await;
    assert!(fs::metadata(killed.path().join("gnomon.db-wal")).unwrap().len() > 0, "the server is in the log");
    for key in ["signing.key", "ca.key"] {
        fs::copy(data.path().join(key), other.path().join(key)).unwrap();
    }
    let mut config = config(other.path());
    config.beginning = Beginning::Restore(database(killed.path()));
    assert_eq!(servers(&config).await, 1);
}

#[tokio::test]
async fn with_a_new_key_everything_is_signed_anew_under_higher_numbers() {
    let data = tempfile::tempdir().unwrap();
    let mut config = used(data.path()).await;
    let newest = |handle: &Handle| {
        let (set, bundle) = (handle.decisions().borrow().clone().unwrap(), handle.bundle().borrow().clone().unwrap());
        (payload(&set).generation, bundle_of(&bundle).generation, [set.key_id.clone(), bundle.key_id.clone()])
    };
    let (running, stop) = run(&config).await;
    let (set, bundle, old) = newest(&running.handle());
    end(running, stop).await;
    fs::remove_file(data.path().join("signing.key")).unwrap();
    for beginning in [Beginning::NewKeys, Beginning::AsLeft] {
        config.beginning = beginning;
        let (running, stop) = run(&config).await;
        let key = running.handle().verifying_key().key_id;
        let (set_now, bundle_now, keys) = newest(&running.handle());
        end(running, stop).await;
        assert!(old.iter().all(|k| *k != key));
        assert_eq!(keys, [key.clone(), key]);
        assert!(set_now > set && bundle_now > bundle, "an enforcer or gateway goes back to no number it had");
    }
}

fn bundle_of(signed: &Signed) -> rules::wire::v1::Bundle {
    use base64::{Engine, engine::general_purpose::STANDARD};
    serde_json::from_slice(&STANDARD.decode(&signed.payload).unwrap()).unwrap()
}

#[tokio::test]
async fn a_key_that_is_gone_or_another_is_not_made_anew_unless_it_is_meant() {
    for name in ["signing.key", "ca.key"] {
        let (data, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let mut config = used(data.path()).await;
        used(other.path()).await;
        fs::remove_file(data.path().join(name)).unwrap();
        let why = refused(&config).await;
        assert!(matches!(&why, Error::Key { path, .. } if path.ends_with(name)), "{why}");
        assert!(!data.path().join(name).exists(), "a refusal makes nothing");
        fs::copy(other.path().join(name), data.path().join(name)).unwrap();
        let why = refused(&config).await;
        assert!(matches!(&why, Error::Key { path, .. } if path.ends_with(name)), "{why}");
        config.beginning = Beginning::NewKeys;
        assert_eq!(servers(&config).await, 1);
        config.beginning = Beginning::AsLeft;
        assert_eq!(servers(&config).await, 1);
    }
}

#[tokio::test]
async fn a_newer_schema_is_refused_and_an_older_one_is_brought_forward_with_a_snapshot_before() {
    let data = tempfile::tempdir().unwrap();
    let config = used(data.path()).await;
    let set = |to: i64| rusqlite::Connection::open(database(data.path())).unwrap().pragma_update(None, "user_version", to).unwrap();
    set(99);
    let why = refused(&config).await;
    assert!(matches!(why, Error::Newer { schema: 99, .. }), "{why}");
    set(1);
    assert_eq!(servers(&config).await, 1);
    assert!(data.path().join("snapshots/schema-1.db").exists());
}

#[test]
fn snapshots_are_kept_for_as_many_days_as_asked_and_are_ours_alone() {
    use std::os::unix::fs::PermissionsExt;
    let data = tempfile::tempdir().unwrap();
    let path = database(data.path());
    drop(crate::store::open(&path, None).unwrap());
    for n in 0..5 {
        crate::store::snapshot::today(&path, 3, day(n)).unwrap();
    }
    let mut kept: Vec<_> = fs::read_dir(data.path().join("snapshots")).unwrap().map(|f| f.unwrap()).collect();
    kept.sort_by_key(fs::DirEntry::file_name);
    let names: Vec<_> = kept.iter().map(|f| f.file_name().into_string().unwrap()).collect();
    assert_eq!(names, ["gnomon-2027-01-17.db", "gnomon-2027-01-18.db", "gnomon-2027-01-19.db"]);
    assert!(kept.iter().all(|f| f.metadata().unwrap().permissions().mode() & 0o077 == 0));
}
