//! Observations, each taken once.
//!
//! A batch is checked, stored and folded into the inventory in one transaction; the acknowledgement names the highest number
//! below which nothing is missing, after the commit. A record that was sent before is known by its number for as long as the sensor's epoch
//! lasts, even when the raw observation was pruned.
#![deny(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use crate::{
    commit::{Outcome, Transaction},
    image::Image,
    journal::{self, Actor, Verb},
    losses::Loss,
    sensors::{Received, Role, Sensor, is_name},
    store::Unavailable,
};
use rules::{
    observation::{Account, Applied, Observation, Outcome as PointOutcome, Phase, Said},
    printable::printable,
    wire::v1::{Ack, Batch, Record},
};
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

/// The sender of a batch, as far as the connection proves it.
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

/// The checks that need no knowledge of the sender.
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
pub(crate) fn take(tx: &mut Transaction<'_>, speaker: &Speaker, batch: &Batch) -> Outcome<Result<Ack, AcceptError>> {
    let name = speaker.name(batch).to_owned();
    if name != batch.sensor {
        tx.image.lose(Loss::ForeignBatches, 1);
        // Once is enough for the journal; how often is counted.
        if tx.image.complain(name.clone()) {
            let reason = format!("its certificate says `{name}`, its batch `{}`", batch.sensor);
            journal::write(tx, Actor::sensor(&name), Verb::BatchRefused, &name, &reason, json!({}))?;
        }
        return Ok(Err(AcceptError::Forbidden(format!("the batch names `{}`, the certificate `{name}`", printable(&batch.sensor, 80)))));
    }
    let Some(mut sensor) = known_sensor(tx.image, speaker, &name, batch) else {
        tx.image.lose(Loss::SensorsBeyondLimit, 1);
        return Ok(Err(AcceptError::Forbidden(format!("`{name}` is not enrolled, or there are too many sensors"))));
    };
    if batch.epoch < sensor.received.epoch {
        return refuse_past_epoch(tx, &name, sensor, batch.epoch).map(Err);
    }
    if batch.epoch > sensor.received.epoch {
        if sensor.received.epoch > 0 {
            let reason = format!("epoch {} begins after {}", batch.epoch, sensor.received.epoch);
            journal::write(tx, Actor::sensor(&name), Verb::EpochBegan, &name, &reason, json!({}))?;
        }
        sensor.received = Received::new(batch.epoch);
    }
    let site = sensor.site.clone();
    tx.image.site(tx.records, &site, tx.now)?;
    for record in &batch.records {
        if !take_record(tx, &name, &mut sensor, record)? {
            // The rest waits: the acknowledgement tells the sensor where to go on.
            tx.image.lose(Loss::TooManyHoles, 1);
            break;
        }
    }
    sensor.heard_at = Some(tx.now);
    let ack = Ack { epoch: batch.epoch, seq: sensor.received.acked() };
    tx.image.keep_sensor(tx.records, &name, sensor)?;
    Ok(Ok(ack))
}

fn known_sensor(image: &Image, speaker: &Speaker, name: &str, batch: &Batch) -> Option<Sensor> {
    // In this process nobody enrols. A reporter on decision sets is an enforcer: its silence is no blindness.
    let reports = batch.records.iter().any(|r| matches!(r.said, Said::Applied(_)));
    let role = if reports { Role::Enforcer } else { Role::Sensor };
    match (image.sensor(name), speaker) {
        (Some(sensor), Speaker::Certified { serial, .. }) => {
            (sensor.stands(serial) && sensor.role != Role::Gateway).then(|| sensor.clone())
        }
        (Some(sensor), Speaker::InProcess { .. }) => Some(sensor.clone()),
        (None, Speaker::InProcess { site }) => (image.sensors.size() < image.config.limits.sensors).then(|| Sensor::new(site, role)),
        (None, Speaker::Certified { .. }) => None,
    }
}

/// Journalled once per sensor and epoch; a sensor that keeps trying is counted.
fn refuse_past_epoch(tx: &mut Transaction<'_>, name: &str, mut sensor: Sensor, got: u64) -> Outcome<AcceptError> {
    let current = sensor.received.epoch;
    sensor.stale = sensor.stale.saturating_add(1);
    if sensor.stale == 1 {
        let reason = format!("sent epoch {got}, which ended when {current} began");
        journal::write(tx, Actor::sensor(name), Verb::BatchRefused, name, &reason, json!({"epoch": got, "current": current}))?;
    }
    tx.image.keep_sensor(tx.records, name, sensor)?;
    Ok(AcceptError::EpochOver { got, current })
}

/// Counted; once is enough for the journal.
fn refuse_role(tx: &mut Transaction<'_>, name: &str, role: Role) -> Outcome<()> {
    tx.image.lose(Loss::RecordsOfAnotherRole, 1);
    // No name has a slash.
    if tx.image.complain(format!("{name}/role")) {
        let reason = format!("it is enrolled as {role} and says what only another role may say");
        journal::write(tx, Actor::sensor(name), Verb::RecordRefused, name, &reason, json!({"role": role}))?;
    }
    Ok(())
}

/// False when the record must wait because too many before it are missing.
fn take_record(tx: &mut Transaction<'_>, name: &str, sensor: &mut Sensor, record: &Record) -> Outcome<bool> {
    if sensor.received.contains(record.seq) {
        return Ok(true);
    }
    let record = match Observation::admit(name, sensor.received.epoch, record.clone(), tx.now) {
        Ok(Observation { seq, at, said, .. }) => Record { seq, at, said },
        // Sent again it would be no better: its number is taken, its content is not.
        Err(_) => {
            tx.image.lose(Loss::RecordsRefused, 1);
            return Ok(sensor.received.take(record.seq, record.seq));
        }
    };
    if !sensor.may_say(&record.said) {
        refuse_role(tx, name, sensor.role)?;
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
    tx.records.put_observation(name, sensor.received.epoch, &record, tx.now)?;
    take_word(tx, name, sensor, record.said)?;
    Ok(true)
}

/// Folds in a record that is stored by now.
fn take_word(tx: &mut Transaction<'_>, name: &str, sensor: &mut Sensor, said: Said) -> Outcome<()> {
    match said {
        Said::Evidence(evidence) => observe(tx, name, &sensor.site, &evidence),
        Said::Coverage(coverage) => {
            if !sensor.see(coverage, tx.now) {
                tx.image.lose(Loss::Interfaces, 1);
            }
            Ok(())
        }
        Said::Applied(applied) => report_applied(tx, name, sensor, applied),
        Said::Probed(account) => report_probe(tx, name, &account),
        Said::Gap { from_seq, to_seq, reason } => {
            let lost = to_seq.saturating_sub(from_seq).saturating_add(1);
            sensor.gaps = sensor.gaps.saturating_add(lost);
            let why = format!("{lost} observations were lost before they were sent: {reason}");
            journal::write(tx, Actor::sensor(name), Verb::Gap, name, &why, json!({"from": from_seq, "to": to_seq}))
        }
    }
}

fn report_probe(tx: &mut Transaction<'_>, name: &str, a: &Account) -> Outcome<()> {
    let targets = a.targets.join(" ");
    let why = match a.phase {
        Phase::Began | Phase::Refused => format!("{} by {} of {targets}", a.what, a.by),
        Phase::Ended | Phase::Stopped => format!(
            "{} by {} of {targets}: {} packets, {} connections, {} requests; {} sessions opened, {} ended",
            a.what, a.by, a.packets, a.connections, a.requests, a.sessions_minted, a.sessions_ended
        ),
    };
    let verb = match a.phase {
        Phase::Began => Verb::ProbeBegan,
        Phase::Refused => Verb::ProbeRefused,
        Phase::Ended => Verb::ProbeEnded,
        Phase::Stopped => Verb::ProbeStopped,
    };
    journal::write(tx, Actor::sensor(name), verb, name, &why, serde_json::to_value(a).unwrap_or_default())
}

fn observe(tx: &mut Transaction<'_>, sensor: &str, site: &str, evidence: &rules::evidence::Evidence) -> Outcome<()> {
    let pack = tx.image.pack.clone();
    let observed = tx.image.site(tx.records, site, tx.now)?.inventory.observe(sensor, evidence, &pack);
    let touched = &mut *tx.touched;
    touched.endpoints.extend(observed.evicted.map(|gone| (site.to_owned(), gone)));
    if observed.kept {
        touched.endpoints.insert((site.to_owned(), evidence.place.endpoint));
    }
    touched.renamed.extend(observed.renamed.into_iter().map(|(from, to)| (site.to_owned(), from, to)));
    Ok(())
}

/// An enforcer's word; journalled when it says something new.
fn report_applied(tx: &mut Transaction<'_>, name: &str, sensor: &mut Sensor, applied: Applied) -> Outcome<()> {
    // Acts of a person at the enforcement point while it could not report them, each once.
    for act in &applied.status.acts {
        if sensor.acts_upto.is_none_or(|upto| act.at > upto) {
            journal::write(tx, Actor::Point(name.to_owned()), Verb::PersonActed, &act.at.to_string(), &act.what, json!({"at": act.at}))?;
            sensor.acts_upto = Some(act.at);
        }
    }
    if sensor.take_word(applied.clone(), tx.now) {
        let reason = format!(
            "generation {}: {}, {} elements {}",
            applied.generation,
            outcome_word(applied.outcome),
            applied.elements,
            applied.reason
        );
        let detail = serde_json::to_value(&applied).unwrap_or_default();
        journal::write(tx, Actor::Point(name.to_owned()), Verb::Applied, &format!("generation {}", applied.generation), &reason, detail)?;
    }
    Ok(())
}

fn outcome_word(outcome: PointOutcome) -> &'static str {
    match outcome {
        PointOutcome::Applied => "applied",
        PointOutcome::DryRun => "dry-run",
        PointOutcome::Refused => "refused",
        PointOutcome::Failed => "failed",
        PointOutcome::RolledBack => "rolled-back",
    }
}
