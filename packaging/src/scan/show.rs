//! What a person sees of a scan while it runs and at its end.

use crate::{
    failure::{Exit, Failure},
    out,
};
use rules::printable::printable;
use sensor::probe::ScanReport;
use std::collections::VecDeque;

/// The rate of the last few seconds.
#[derive(Debug, Default)]
pub(super) struct Speed {
    /// Milliseconds since the beginning, what was sent by then, endpoints finished by then.
    past: VecDeque<(u64, u64, u64)>,
}

const LOOKS: usize = 20;

impl Speed {
    pub(super) fn line(&mut self, r: &ScanReport, servers: usize) -> String {
        let sent = r.packets + r.connections;
        self.past.push_back((r.elapsed_ms, sent, r.finished));
        if self.past.len() > LOOKS {
            self.past.pop_front();
        }
        let (then, before, finished) = self.past.front().copied().unwrap_or_default();
        let ms = r.elapsed_ms.saturating_sub(then).max(1);
        let rate = sent.saturating_sub(before) * 1000 / ms;
        let left = r.endpoints.saturating_sub(r.finished);
        let eta = match r.finished.saturating_sub(finished) {
            0 => "-".to_owned(),
            done => time(left.saturating_mul(ms) / done),
        };
        let share = (r.finished * 100).checked_div(r.endpoints).unwrap_or(0);
        let open = if r.knocking { format!(", {} open", r.open) } else { String::new() };
        format!("{share}% of {} endpoints, {rate}/s, {eta} left{open}, {servers} found (Ctrl-C ends it with what there is)", r.endpoints)
    }
}

fn time(ms: u64) -> String {
    let s = ms / 1000;
    if s < 120 { format!("{s}s") } else { format!("{}m{:02}s", s / 60, s % 60) }
}

pub(super) fn dry_run(r: &ScanReport, json: bool) -> Result<Exit, Failure> {
    if json {
        out::object(r)?;
        return Ok(Exit::Clear);
    }
    r.would_ask.iter().try_for_each(|q| out::line(printable(q, 300)))?;
    let how = if r.knocking { "a SYN each, then questions where somebody answers" } else { "a connection and a question each" };
    let cut = if (r.would_ask.len() as u64) < r.endpoints {
        format!("; the first {} in this order are above", r.would_ask.len())
    } else {
        String::new()
    };
    out::line(format!(
        "{} addresses ({} excluded), {} endpoints: {how}{cut}; at least {}; nothing was asked",
        r.addresses,
        r.excluded,
        r.endpoints,
        time(r.at_least_ms)
    ))?;
    Ok(Exit::Clear)
}

/// Everything that was sent, to standard error: results stay alone on standard output.
pub(super) fn remark(r: &ScanReport) {
    let seconds = r.elapsed_ms as f64 / 1000.0;
    let ended = if r.stopped { "; stopped before the end" } else { "" };
    let knocks = if r.knocking { format!("{} SYNs ({} open), ", r.packets, r.open) } else { String::new() };
    out::note(format!(
        "asked {} of {} endpoints at {} addresses in {seconds:.1}s: {knocks}{} connections, {} requests, {} reached{ended}",
        r.finished, r.endpoints, r.addresses, r.connections, r.requests, r.reached
    ));
    if r.packets_failed > 0 {
        out::note(format!("{} SYNs could not be sent: no route, or this machine's own firewall", r.packets_failed));
    }
    if r.canaries_lost > 0 {
        out::note(format!("packets were lost on the way: {} of {} to endpoints that had answered before", r.canaries_lost, r.canaries));
    }
    if !r.excluded_vendors.is_empty() {
        out::note(format!("left alone for their makers: {}", printable(&r.excluded_vendors.join(", "), 300)));
    }
    if r.sessions_minted > 0 {
        out::note(format!("{} sessions were opened by servers, {} ended again", r.sessions_minted, r.sessions_ended));
    }
    if r.transcripts > 0 || r.transcripts_lost > 0 {
        out::note(format!("{} transcripts written; {} exchanges did not fit or could not be written", r.transcripts, r.transcripts_lost));
    }
    if !r.unresolved.is_empty() {
        out::note(format!("not resolved: {}", printable(&r.unresolved.join(", "), 300)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn progress_knows_rate_and_time_left() {
        let mut speed = Speed::default();
        let at = |elapsed_ms, packets, finished| ScanReport {
            endpoints: 1000,
            knocking: true,
            elapsed_ms,
            packets,
            finished,
            ..ScanReport::default()
        };
        speed.line(&at(0, 0, 0), 0);
        let line = speed.line(&at(2000, 400, 200), 3);
        assert!(line.starts_with("20% of 1000 endpoints, 200/s, 8s left, 0 open, 3 found"), "{line}");
    }
}
