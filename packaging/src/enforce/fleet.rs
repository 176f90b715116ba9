//! The enforcement points of a site and the wave of new blocks, as the collector knows them.

use super::{Options, Word};
use crate::{
    api::Api,
    failure::{Exit, Failure},
    out::{self, BOLD, ERROR, GOOD, WARN},
    table::{Table, ago, moment, some, word},
};
use enforcer::operator::Status;
use launch::{Global, global::admin_command};
use rules::{
    Timestamp,
    compose::WithheldBlock,
    fleet::{FleetCoverage, Wave},
    observation::Applied,
    printable::printable,
};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// What the collector says of its newest set.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Site {
    site: String,
    generation: u64,
    not_after: Timestamp,
    held: Vec<WithheldBlock>,
    wave: Option<Wave>,
    coverage: FleetCoverage,
    points: BTreeMap<String, Option<Applied>>,
    heard: BTreeMap<String, Timestamp>,
}

/// What is in force here, and at the site. `null`: no collector answered.
#[derive(Serialize)]
pub(super) struct WithSite<'a> {
    #[serde(flatten)]
    pub(super) status: &'a Status,
    pub(super) site: Option<&'a Site>,
}

pub(super) async fn ask(options: &Options, global: &Global) -> Result<Site, Failure> {
    read(Api::open(&options.access, global)?.blast().await?)
}

fn read(plan: serde_json::Value) -> Result<Site, Failure> {
    let strange = |why| {
        Failure::new(crate::failure::Side::Collector, format!("the answer is not understood: {why}"), "use the same version on both sides")
    };
    serde_json::from_value(plan).map_err(strange)
}

/// Two or three lines below the status of this host.
pub(super) fn summary(site: &Site) -> Result<(), Failure> {
    let c = site.coverage;
    let style = if c.enforced < c.desired { ERROR } else { GOOD };
    let line = match c.points {
        0 => format!("{WARN}no enforcement point enforces{WARN:#} (those there are run dry)"),
        n => format!(
            "{style}{} of {} blocks{style:#} are held at {n} enforcement points, {} of them heard lately",
            c.enforced, c.desired, c.heard
        ),
    };
    out::line(format!("{BOLD}site {}{BOLD:#}, generation {}: {line}", printable(&site.site, 64), site.generation))?;
    for held in site.held.iter().take(5) {
        out::line(format!("{WARN}held back{WARN:#} {} ({}): {}", held.endpoint, held.finding, printable(&held.reason, 300)))?;
    }
    if site.held.len() > 5 {
        out::line(format!("and {} more held back", site.held.len() - 5))?;
    }
    site.wave.as_ref().map_or(Ok(()), |w| out::line(under_way(w)))
}

fn under_way(wave: &Wave) -> String {
    let held = wave
        .held
        .as_ref()
        .map(|why| format!("; {WARN}it stands still{WARN:#}: {} ({})", printable(why, 300), admin_command("enforce wave go REASON")));
    let at = some(&wave.points, 6);
    let (new, points, since) = (wave.blocks.len(), wave.points.len(), moment(wave.since));
    format!("wave {}: {new} new blocks at {points} enforcement points ({at}) since {since}{}", wave.stage + 1, held.unwrap_or_default())
}

pub(super) async fn wave(options: &Options, global: &Global, word: Option<&Word>) -> Result<Exit, Failure> {
    let api = Api::open(&options.access, global)?;
    let by = std::env::var("SUDO_USER").or_else(|_| std::env::var("USER")).unwrap_or_else(|_| "somebody at the command line".to_owned());
    let site = match word {
        None => read(api.blast().await?)?,
        Some(Word::Hold { reason }) => read(api.wave(false, &by, reason).await?)?,
        Some(Word::Go { reason }) => read(api.wave(true, &by, reason).await?)?,
    };
    if global.json {
        out::object(&serde_json::json!({"site": site.site, "generation": site.generation, "wave": site.wave}))?;
    } else {
        out::line(site.wave.as_ref().map_or_else(|| "no wave is under way: all points make all blocks".to_owned(), under_way))?;
    }
    Ok(Exit::found(site.wave.is_some_and(|w| w.held.is_some())))
}

pub(super) async fn points(options: &Options, global: &Global) -> Result<Exit, Failure> {
    let site = ask(options, global).await?;
    if global.json {
        out::object(&site)?;
    } else {
        let mut table = Table::new(&["POINT", "HEARD", "GENERATION", "HELD", "LABELS", "LAST WORD", "WHY"]);
        for (name, said) in &site.points {
            let heard = site.heard.get(name).map(|at| ago(*at)).unwrap_or_default();
            let Some(a) = said else {
                table.row([name.clone(), heard, String::new(), String::new(), String::new(), "nothing yet".to_owned(), String::new()]);
                continue;
            };
            let s = &a.status;
            let withheld = if s.withheld > 0 { format!(", {} withheld", s.withheld) } else { String::new() };
            let held = if s.enforces { format!("{} of {}{withheld}", s.enforced, s.desired) } else { "dry run".to_owned() };
            let why =
                [s.stopped.clone(), s.held_back.clone(), s.on_trial.then(|| "waits for health checks".to_owned()), Some(a.reason.clone())];
            let why = why.into_iter().flatten().chain(s.bypasses.iter().map(|b| format!("bypass: {b}"))).filter(|w| !w.is_empty());
            let why = why.collect::<Vec<_>>().join("; ");
            table.row([name.clone(), heard, s.in_force.to_string(), held, some(&s.labels, 4), word(&a.outcome), why]);
        }
        table.print("no enforcement point has joined this site")?;
        summary(&site)?;
    }
    Ok(Exit::found(site.coverage.enforced < site.coverage.desired))
}
