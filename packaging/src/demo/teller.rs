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
    true_claims: u32,
    false_claims: u32,
}

impl Teller {
    pub(super) fn new(json: bool, rest: Duration) -> Teller {
        Teller { json, rest, started: Instant::now(), scene: 0, true_claims: 0, false_claims: 0 }
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
        if good {
            self.true_claims += 1;
        } else {
            self.false_claims += 1;
        }
        if self.json {
            out::object(&json!({"scene": self.scene, "claim": what, "holds": good, "seen": detail, "seconds": self.seconds()}))?;
        } else {
            let mark = if good { format!("{GOOD}✓{GOOD:#}") } else { format!("{ERROR}✗{ERROR:#}") };
            let detail = if detail.is_empty() { detail } else { format!("  {DIM}{detail}{DIM:#}") };
            out::line(format!("  {mark} {what}{detail}"))?;
        }
        std::thread::sleep(self.rest);
        Ok(good)
    }

    /// The last line; whether every claim held.
    pub(super) fn end(&mut self, missing: &[String]) -> Result<bool, Failure> {
        let good = self.false_claims == 0 && missing.is_empty();
        let all = self.true_claims + self.false_claims;
        if self.json {
            out::object(&json!({"claims": all, "failed": self.false_claims, "not_shown": missing, "seconds": self.seconds()}))?;
            return Ok(good);
        }
        let verdict = match good {
            true => format!("{GOOD}all {all} claims hold{GOOD:#}"),
            false => format!("{ERROR}{} of {all} claims failed{ERROR:#}", self.false_claims),
        };
        for why in missing {
            out::line(format!("  {ERROR}✗{ERROR:#} not shown: {}", printable(why, 600)))?;
        }
        out::line(format!("\n{verdict} {DIM}in {:.0} s{DIM:#}", self.seconds()))?;
        Ok(good)
    }

    fn seconds(&self) -> f64 {
        self.started.elapsed().as_secs_f64()
    }
}
