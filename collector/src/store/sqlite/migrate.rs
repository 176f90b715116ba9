//! Forward, one numbered step at a time. `PRAGMA user_version` is the number of steps that a database has taken.
//!
//! Each step is a transaction together with its number: a crash leaves the database at one step or the next, never in between.
//! A step that was released is never changed; what is new is a new step at the end. There is no way back but a snapshot, and
//! one is made before the first step of a database that was in use.

mod widen;

use super::Sql;
use rusqlite::{Connection, TransactionBehavior};

type Step = fn(&Connection) -> Sql<()>;

const STEPS: &[Step] = &[
    |db| db.execute_batch(include_str!("steps/1.sql")),
    // Findings' ids grew from 32 to 128 bits.
    widen::findings,
];

/// The schema this version writes.
pub(super) const SCHEMA: i64 = STEPS.len() as i64;

/// The step that a database is at: 0 for a new one.
pub(super) fn at(db: &Connection) -> Sql<i64> {
    db.query_row("PRAGMA user_version", [], |r| r.get(0))
}

/// Takes the steps that are missing; a database of a newer schema is left alone.
pub(super) fn forward(db: &mut Connection) -> Sql<()> {
    let taken = usize::try_from(at(db)?).unwrap_or(0);
    for (step, number) in STEPS.iter().zip(1i64..).skip(taken) {
        let transaction = db.transaction_with_behavior(TransactionBehavior::Immediate)?;
        step(&transaction)?;
        transaction.pragma_update(None, "user_version", number)?;
        transaction.commit()?;
        tracing::info!(schema = number, "the database was brought forward");
    }
    Ok(())
}

#[cfg(test)]
mod tests;
