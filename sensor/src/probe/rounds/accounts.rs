//! The probe's accounts of its own packets, as reports to the collector.

use super::{ScanConfig, ScanReport, Spent};
use rules::{
    Timestamp,
    evidence::Evidence,
    observation::{Account, Coverage, Phase, Said},
};
use std::collections::BTreeMap;

pub(super) fn of_single_questions(scan: &ScanConfig) -> Account {
    account(scan, "single questions", "nominations and re-checks")
}

pub(super) fn sweep_begins(scan: &ScanConfig) -> (Timestamp, Said) {
    now(account(scan, "sweep", "schedule"))
}

/// The account of a sweep that is over; `None`: it did not happen.
pub(super) fn of_sweep(scan: &ScanConfig, report: Option<&ScanReport>) -> (Timestamp, Said) {
    let begun = account(scan, "sweep", "schedule");
    now(match report {
        None => Account { phase: Phase::Refused, ..begun },
        Some(r) => Account {
            phase: if r.stopped { Phase::Stopped } else { Phase::Ended },
            endpoints: r.endpoints,
            packets: r.packets,
            connections: r.connections,
            requests: r.requests,
            bytes_sent: r.bytes_sent,
            sessions_minted: r.sessions_minted,
            sessions_ended: r.sessions_ended,
            elapsed_ms: r.elapsed_ms,
            ..begun
        },
    })
}

pub(super) fn add(sum: &mut Account, spent: Spent) {
    sum.endpoints += 1;
    sum.connections += spent.connections;
    sum.requests += spent.requests;
    sum.bytes_sent += spent.bytes_sent;
    sum.sessions_minted += spent.minted;
    sum.sessions_ended += spent.ended;
}

pub(super) fn now(account: Account) -> (Timestamp, Said) {
    (Timestamp::now(), Said::Probed(Box::new(account)))
}

pub(super) fn reported(evidence: Evidence) -> (Timestamp, Said) {
    (evidence.at, Said::Evidence(Box::new(evidence)))
}

/// A sweep that did not happen is a loss.
pub(super) fn failed() -> (Timestamp, Said) {
    let lost = BTreeMap::from([("failed".to_owned(), 1)]);
    (Timestamp::now(), Said::Coverage(Coverage { interface: "probe".to_owned(), frames: 0, lost, ..Coverage::default() }))
}

fn account(scan: &ScanConfig, what: &str, by: &str) -> Account {
    let targets = scan.targets.iter().take(Account::MAX_TARGETS).cloned().collect();
    Account { what: what.to_owned(), by: by.to_owned(), targets, ..Account::default() }
}
