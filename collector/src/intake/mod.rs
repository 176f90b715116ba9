//! Observations, each taken once.
//!
//! A batch is checked, stored and folded into the inventory in one transaction; the acknowledgement names the highest number
//! below which nothing is missing, after the commit. What was said before is known by its number for as long as the sensor's epoch
//! lasts, even when the raw observation was pruned.
#![deny(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod received;

pub(crate) use received::Received;

use crate::{
    journal,
    sensors::{Role, Sensor},
    state::State,
    store::{Outcome, Turn, Unavailable, rows},
};
use rules::{
    observation::{Applied, Observation, Phase, Said},
    printable::printable,
    wire::v1::{Ack, Batch, Record},
};
use rusqlite::params;
use serde_json::json;

/// Why a batch was not taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AcceptError {
    /// The sender's mistake; sending it again will not help.
    #[error("the batch is not acceptable: {0}")]
    Malformed(String),
    /// An older epoch than one already seen: a copied or restored sensor.
    #[error("epoch {got} is over, this sensor is at {current}")]
    EpochOver { got: u64, current: u64 },
    #[error("{0}")]
    Forbidden(String),
    /// Ours to mend; send it again later.
    #[error(transparent)]
    Unavailable(#[from] Unavailable),
}

/// Who speaks, as far as the connection proves it.
#[derive(Clone, Debug)]
pub(crate) enum Speaker {
    /// This process; the name is the batch's word.
    InProcess { site: String },
    /// The name in a client certificate that stands.
    Certified { name: String, serial: String },
}

impl Speaker {
    fn name<'a>(&'a self, batch: &'a Batch) -> &'a str {
        match self {
            Speaker::InProcess { .. } => &batch.sensor,
            Speaker::Certified { name, .. } => name,
        }
    }
}

/// 1 to 63 characters of a-z, 0-9, `.` and `-`, beginning with a letter or digit.
pub(crate) fn is_name(text: &str) -> bool {
    (1..=63).contains(&text.len())
        && text.bytes().next().is_some_and(|b| b.is_ascii_lowercase() || b.is_ascii_digit())
        && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'.' || b == b'-')
}

/// Checks what can be checked without the state.
pub(crate) fn check(batch: &Batch) -> Result<(), AcceptError> {
    let bad = |why: String| Err(AcceptError::Malformed(why));
    if batch.records.len() > Batch::MAX {
        return bad(format!("{} records; at most {} go into one batch", batch.records.len(), Batch::MAX));
    }
    if !is_name(&batch.sensor) {
        return bad(format!("`{}` is not a sensor's name (1 to 63 of a-z, 0-9, . and -)", printable(&batch.sensor, 80)));
    }
    if batch.epoch > i64::MAX as u64 || batch.records.iter().any(|r| r.seq > i64::MAX as u64) {
        return bad("epoch and sequence numbers end at 9223372036854775807".to_owned());
    }
    Ok(())
}

/// One batch inside a transaction. Refusals are values: they too are journalled and counted.
pub(crate) fn take(turn: &mut Turn<'_>, speaker: &Speaker, batch: &Batch) -> Outcome<Result<Ack, AcceptError>> {
    let name = speaker.name(batch).to_owned();
    if name != batch.sensor {
        turn.state.lose("foreign-batches", 1);
        // Once is enough for the journal; how often is counted.
        if turn.state.complained.insert(name.clone()) {
            let reason = format!("its certificate says `{name}`, its batch `{}`", batch.sensor);
            journal::write(turn, &format!("sensor:{name}"), "batch-refused", &name, &reason, json!({}))?;
        }
        return Ok(Err(AcceptError::Forbidden(format!("the batch names `{}`, the certificate `{name}`", printable(&batch.sensor, 80)))));
    }
    let Some(mut sensor) = known(turn.state, speaker, &name, batch) else {
        turn.state.lose("sensors-beyond-limit", 1);
        return Ok(Err(AcceptError::Forbidden(format!("`{name}` is not enrolled, or there are too many sensors"))));
    };
    if batch.epoch < sensor.received.epoch {
        return refuse_past_epoch(turn, &name, sensor, batch.epoch).map(Err);
    }
    if batch.epoch > sensor.received.epoch {
        if sensor.received.epoch > 0 {
            let reason = format!("epoch {} begins after {}", batch.epoch, sensor.received.epoch);
            journal::write(turn, &format!("sensor:{name}"), "epoch-began", &name, &reason, json!({}))?;
        }
        sensor.received = Received::new(batch.epoch);
    }
    let site = sensor.site.clone();
    turn.state.site(turn.db, &site, turn.now)?;
    for record in &batch.records {
        if !take_record(turn, &name, &mut sensor, record)? {
            // The rest waits: the acknowledgement tells the sensor where to go on.
            turn.state.lose("too-many-holes", 1);
            break;
        }
    }
    sensor.heard_at = Some(turn.now);
    let ack = Ack { epoch: batch.epoch, seq: sensor.received.acked() };
    rows::SENSORS.put(turn.db, &name, &sensor)?;
    turn.state.sensors.insert(name, sensor);
    Ok(Ok(ack))
}

fn known(state: &State, speaker: &Speaker, name: &str, batch: &Batch) -> Option<Sensor> {
    // In this process nobody enrols: who reports on decision sets is an enforcer, whose silence is no blindness.
    let reports = batch.records.iter().any(|r| matches!(r.said, Said::Applied(_)));
    let role = if reports { Role::Enforcer } else { Role::Sensor };
    match (state.sensors.get(name), speaker) {
        (Some(sensor), Speaker::Certified { serial, .. }) => {
            (sensor.stands(serial) && sensor.role != Role::Gateway).then(|| sensor.clone())
        }
        (Some(sensor), Speaker::InProcess { .. }) => Some(sensor.clone()),
        (None, Speaker::InProcess { site }) => (state.sensors.len() < state.config.limits.sensors).then(|| Sensor::new(site, role)),
        (None, Speaker::Certified { .. }) => None,
    }
}

/// Journalled once per sensor and epoch; a sensor that keeps trying is counted.
fn refuse_past_epoch(turn: &mut Turn<'_>, name: &str, mut sensor: Sensor, got: u64) -> Outcome<AcceptError> {
    let current = sensor.received.epoch;
    sensor.stale = sensor.stale.saturating_add(1);
    if sensor.stale == 1 {
        let reason = format!("sent epoch {got}, which ended when {current} began");
        journal::write(turn, &format!("sensor:{name}"), "batch-refused", name, &reason, json!({"epoch": got, "current": current}))?;
    }
    rows::SENSORS.put(turn.db, name, &sensor)?;
    turn.state.sensors.insert(name.to_owned(), sensor);
    Ok(AcceptError::EpochOver { got, current })
}

/// Counted; once is enough for the journal.
fn refuse_role(turn: &mut Turn<'_>, name: &str, role: Role) -> Outcome<()> {
    turn.state.lose("records-of-another-role", 1);
    // No name has a slash.
    if turn.state.complained.insert(format!("{name}/role")) {
        let reason = format!("it is enrolled as {role:?} and says what only another role may say");
        journal::write(turn, &format!("sensor:{name}"), "record-refused", name, &reason, json!({"role": role}))?;
    }
    Ok(())
}

/// False when the record must wait because too many before it are missing.
fn take_record(turn: &mut Turn<'_>, name: &str, sensor: &mut Sensor, record: &Record) -> Outcome<bool> {
    if sensor.received.contains(record.seq) {
        return Ok(true);
    }
    let record = match Observation::admit(name, sensor.received.epoch, record.clone(), turn.now) {
        Ok(Observation { seq, at, said, .. }) => Record { seq, at, said },
        // It will not get better by being sent again: its number is taken, what it said is not.
        Err(_) => {
            turn.state.lose("records-refused", 1);
            return Ok(sensor.received.take(record.seq, record.seq));
        }
    };
    if !sensor.may_say(&record.said) {
        refuse_role(turn, name, sensor.role)?;
        return Ok(sensor.received.take(record.seq, record.seq));
    }
    if let Said::Gap { from_seq, to_seq, .. } = &record.said
        && !sensor.received.take(*from_seq, (*to_seq).min(record.seq))
    {
        return Ok(false);
    }
    if !sensor.received.take(record.seq, record.seq) {
        return Ok(false);
    }
    if let Said::Applied(applied) = &record.said
        && sensor.applied.as_ref() == Some(applied)
    {
        // A sign of life: it is noted as such, and not kept a thousand times a day.
        return Ok(true);
    }
    let sql = "INSERT INTO observations (sensor, epoch, seq, stored_ms, body) VALUES (?1, ?2, ?3, ?4, ?5) ON CONFLICT DO NOTHING";
    let (epoch, seq) = (sensor.received.epoch as i64, record.seq as i64);
    turn.db.prepare_cached(sql)?.execute(params![name, epoch, seq, turn.now.as_millisecond(), rows::encode(&record)?])?;
    match record.said {
        Said::Evidence(evidence) => observe(turn, name, &sensor.site, &evidence)?,
        Said::Coverage(coverage) => {
            if !sensor.see(coverage, turn.now) {
                turn.state.lose("interfaces", 1);
            }
        }
        Said::Applied(applied) => report_applied(turn, name, sensor, applied)?,
        Said::Probed(account) => {
            let a = &*account;
            let targets = a.targets.join(" ");
            let why = match a.phase {
                Phase::Began | Phase::Refused => format!("{} by {} of {targets}", a.what, a.by),
                Phase::Ended | Phase::Stopped => format!(
                    "{} by {} of {targets}: {} packets, {} connections, {} requests; {} sessions opened, {} ended",
                    a.what, a.by, a.packets, a.connections, a.requests, a.sessions_minted, a.sessions_ended
                ),
            };
            let detail = serde_json::to_value(a).unwrap_or_default();
            journal::write(turn, &format!("sensor:{name}"), &format!("probe-{}", a.phase.as_str()), name, &why, detail)?;
        }
        Said::Gap { from_seq, to_seq, reason } => {
            let lost = to_seq.saturating_sub(from_seq).saturating_add(1);
            sensor.gaps = sensor.gaps.saturating_add(lost);
            let why = format!("{lost} observations were lost before they were sent: {reason}");
            journal::write(turn, &format!("sensor:{name}"), "gap", name, &why, json!({"from": from_seq, "to": to_seq}))?;
        }
    }
    Ok(true)
}

fn observe(turn: &mut Turn<'_>, sensor: &str, site: &str, evidence: &rules::evidence::Evidence) -> Outcome<()> {
    let pack = turn.state.pack.clone();
    let observed = turn.state.site(turn.db, site, turn.now)?.inventory.observe(sensor, evidence, &pack);
    let touched = &mut turn.state.touched;
    touched.doors.extend(observed.evicted.map(|gone| (site.to_owned(), gone)));
    if observed.kept {
        touched.doors.insert((site.to_owned(), evidence.place.endpoint));
    }
    touched.renamed.extend(observed.renamed.into_iter().map(|(from, to)| (site.to_owned(), from, to)));
    Ok(())
}

/// An enforcer's word; journalled when it says something new.
fn report_applied(turn: &mut Turn<'_>, name: &str, sensor: &mut Sensor, applied: Applied) -> Outcome<()> {
    // What a person did there while we could not be told, each act once.
    for act in &applied.status.acts {
        if sensor.acts_upto.is_none_or(|upto| act.at > upto) {
            journal::write(turn, &format!("point:{name}"), "person-acted", &act.at.to_string(), &act.what, json!({"at": act.at}))?;
            sensor.acts_upto = Some(act.at);
        }
    }
    if sensor.take_word(applied.clone(), turn.now) {
        let reason = format!("generation {}: {:?}, {} elements {}", applied.generation, applied.outcome, applied.elements, applied.reason);
        let detail = serde_json::to_value(&applied).unwrap_or_default();
        journal::write(turn, &format!("point:{name}"), "applied", &format!("generation {}", applied.generation), &reason, detail)?;
    }
    Ok(())
}
