//! Tells the story: scenes, remarks, and claims that are true or not. For people on a terminal, or one JSON object per line.

use crate::{
    failure::Failure,
    out::{self, BOLD, DIM, ERROR, GOOD},
};
use rules::printable::printable;
use serde_json::json;
use std::time::{Duration, Instant};

#[derive(Debug)]
pub(super) struct Teller {
    json: bool,
    /// How long to rest after each claim, so that a person can read along.
    rest: Duration,
    started: Instant,
    scene: u32,
    false_claims: u32,
}

impl Teller {
    pub(super) fn new(json: bool, rest: Duration) -> Teller {
        Teller { json, rest, started: Instant::now(), scene: 0, false_claims: 0 }
    }

    pub(super) fn title(&mut self, text: &str) -> Result<(), Failure> {
        if self.json { out::object(&json!({"title": text})) } else { out::line(format!("{BOLD}{text}{BOLD:#}")) }
    }

    pub(super) fn scene(&mut self, title: &str) -> Result<(), Failure> {
        self.scene += 1;
        if self.json {
            return out::object(&json!({"scene": self.scene, "title": title, "seconds": self.seconds()}));
        }
        out::line(format!("\n{BOLD}{:>2}  {title}{BOLD:#}", self.scene))
    }

    /// A remark. May quote strangers.
    pub(super) fn say(&mut self, text: impl AsRef<str>) -> Result<(), Failure> {
        for line in text.as_ref().lines() {
            let line = printable(line, 400);
            if self.json {
                out::object(&json!({"scene": self.scene, "say": line}))?;
            } else {
                out::line(format!("    {DIM}{line}{DIM:#}"))?;
            }
        }
        Ok(())
    }

    /// Something that is so, as `seen` shows, or is not. Whether it is.
    pub(super) fn claim(&mut self, what: &str, seen: Result<String, String>) -> Result<bool, Failure> {
        let good = seen.is_ok();
        let detail = printable(&seen.unwrap_or_else(|why| why), 600);
        self.false_claims += u32::from(!good);
        if self.json {
            out::object(&json!({"scene": self.scene, "claim": what, "holds": good, "seen": detail, "seconds": self.seconds()}))?;
        } else {
            let signature = if good { format!("{GOOD}✓{GOOD:#}") } else { format!("{ERROR}✗{ERROR:#}") };
            let detail = if detail.is_empty() { detail } else { format!("  {DIM}{detail}{DIM:#}") };
            out::line(format!("  {signature} {what}{detail}"))?;
        }
        std::thread::sleep(self.rest);
        Ok(good)
    }

    pub(super) fn all_true(&self) -> bool {
        self.false_claims == 0
    }

    /// The last line. `before`: whether the claims that others made held. Whether all did.
    pub(super) fn end(&mut self, before: bool) -> Result<bool, Failure> {
        let good = before && self.all_true();
        if self.json {
            out::object(&json!({"every_claim_holds": good, "seconds": self.seconds()}))?;
        } else {
            let verdict = if good { format!("{GOOD}Every claim holds{GOOD:#}") } else { format!("{ERROR}Not every claim holds{ERROR:#}") };
            out::line(format!("\n{verdict} {DIM}({:.0} s){DIM:#}", self.seconds()))?;
        }
        Ok(good)
    }

    fn seconds(&self) -> f64 {
        self.started.elapsed().as_secs_f64()
    }
}
