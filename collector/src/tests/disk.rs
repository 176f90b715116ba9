//! A full disk, a locked database: nothing is acknowledged, and it goes on by itself afterwards.

use super::*;
use crate::{Unavailable, store::Read};

#[tokio::test]
async fn a_full_disk_refuses_and_recovers_when_there_is_room() {
    let data = tempfile::tempdir().unwrap();
    let mut config = config(data.path());
    config.limits.database_pages = Some(160);
    let (running, stop) = run(&config).await;
    let handle = running.handle();
    let mut acked = 0;
    let full = loop {
        let said: Vec<Said> =
            (0..50).map(|n| evidence(&format!("10.0.0.5:{}/mcp", acked + n + 1), Source::Wire, "wire.context.port", day(0))).collect();
        match handle.accept(batch(1, acked + 1, day(0), said)).await {
            Ok(ack) => acked = ack.seq,
            Err(why) => break why,
        }
        assert!(acked < 100_000, "it was never full");
    };
    assert_eq!(full, AcceptError::Unavailable(Unavailable::Full));
    let servers = handle.inner.writer.read(|s| s.sites["default"].inventory.len()).await.unwrap();
    assert_eq!(servers as u64, acked, "what was not stored is not known either");
    end(running, stop).await;

    config.limits.database_pages = None;
    let (running, stop) = run(&config).await;
    let ack = running.handle().accept(batch(1, acked + 1, day(0), confirmed("10.0.0.9:80/mcp", day(0)))).await.unwrap();
    assert_eq!(ack.seq, acked + 3);
    end(running, stop).await;
}

#[tokio::test]
async fn a_locked_database_refuses_and_recovers_when_it_is_let_go() {
    let data = tempfile::tempdir().unwrap();
    let (running, stop) = run(&config(data.path())).await;
    let other = rusqlite::Connection::open(crate::store::database(data.path())).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let refused = running.handle().accept(batch(1, 1, day(0), confirmed("10.0.0.5:3001/mcp", day(0)))).await.unwrap_err();
    assert_eq!(refused, AcceptError::Unavailable(Unavailable::Locked));
    other.execute_batch("ROLLBACK").unwrap();
    let ack = running.handle().accept(batch(1, 1, day(0), confirmed("10.0.0.5:3001/mcp", day(0)))).await.unwrap();
    assert_eq!(ack.seq, 3);
    end(running, stop).await;
}

#[tokio::test]
async fn a_changed_journal_is_noticed() {
    let data = tempfile::tempdir().unwrap();
    let (running, stop) = run(&config(data.path())).await;
    running.handle().accept(batch(1, 1, day(0), confirmed("10.0.0.5:3001/mcp", day(0)))).await.unwrap();
    shown(&running.handle(), |s| !s.decisions.is_empty()).await;
    end(running, stop).await;
    let store = crate::store::open(&crate::store::database(data.path()), None).unwrap();
    let db = store.raw();
    let rows = store.verify_journal().unwrap();
    assert!(rows > 3);
    db.execute_batch("BEGIN; UPDATE journal SET reason = 'nothing happened' WHERE id = 2").unwrap();
    assert_eq!(store.verify_journal(), Err(crate::journal::Broken::Changed(2)));
    db.execute_batch("ROLLBACK; BEGIN; DELETE FROM journal WHERE id = 3").unwrap();
    assert_eq!(store.verify_journal(), Err(crate::journal::Broken::Missing(3)));
    db.execute_batch("ROLLBACK").unwrap();
    assert_eq!(store.verify_journal(), Ok(rows));
}

#[tokio::test]
async fn old_observations_go_and_what_they_said_stays() {
    let data = tempfile::tempdir().unwrap();
    let mut config = config(data.path());
    config.retention.max_observations = 2;
    let (running, stop) = run(&config).await;
    let handle = running.handle();
    let first = batch(1, 1, day(0), confirmed("10.0.0.5:3001/mcp", day(0)));
    handle.accept(first.clone()).await.unwrap();
    handle.inner.writer.write(crate::retention::prune).await.unwrap();
    let stored = |db: &rusqlite::Connection| db.query_row("SELECT count(*) FROM observations", [], |r| r.get::<_, i64>(0)).unwrap();
    let db = rusqlite::Connection::open(crate::store::database(data.path())).unwrap();
    assert_eq!(stored(&db), 2);
    // A replay of what is no longer stored is still a replay.
    assert_eq!(handle.accept(first).await.unwrap().seq, 3);
    assert_eq!(stored(&db), 2);
    end(running, stop).await;
}
