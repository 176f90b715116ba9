//! One line per event: a server found, a finding opened or moved, a role that ended.

use super::roles::{Ended, Started};
use crate::{
    api::{self, Api, Row},
    failure::{Failure, Side},
    tally::{self, Tally},
};
use rules::{Timestamp, confidence::Confidence, evidence::Evidence, finding::FindingId, printable::printable, wire::v1::ServerReport};
use serde::Serialize;
use std::{collections::BTreeMap, fmt, time::Duration};

pub(super) enum Event {
    Seen(Box<Evidence>),
    Journal(Vec<Row>),
    Ended(Ended),
}

/// What is printed.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Line {
    at: Timestamp,
    event: &'static str,
    text: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    server: Option<Box<ServerReport>>,
}

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}  {:<8} {}", self.at.strftime("%H:%M:%S"), self.event, self.text)
    }
}

/// Turns events into lines, each server once per confidence.
#[derive(Debug)]
pub(super) struct Scribe {
    api: Api,
    tally: Tally,
    known: BTreeMap<String, Confidence>,
    /// The last row that was looked at.
    row: i64,
    every: tokio::time::Interval,
}

/// What a person at the screen wants to know at once; the journal has the rest.
const SHOWN: [(&str, &str); 14] = [
    ("finding-opened", "finding"),
    ("case-moved", "finding"),
    ("exempted", "finding"),
    ("delivery-failing", "trouble"),
    ("blocks-held", "trouble"),
    ("batch-refused", "trouble"),
    ("registered", "registry"),
    ("registration-changed", "registry"),
    ("unregistered", "registry"),
    ("addresses-changed", "registry"),
    ("enrolled", "sensor"),
    ("revoked", "sensor"),
    ("key-issued", "access"),
    ("policy-changed", "policy"),
];

impl Scribe {
    /// What was known before this start is not news.
    pub(super) async fn open(started: &Started) -> Result<Scribe, Failure> {
        let base = format!("http://{}", started.admin).parse();
        let base = base.map_err(|why| Failure::new(Side::Gnomon, format!("{} is no URL: {why}", started.admin), "please report this"))?;
        let api = Api::new(base, api::read_token(&started.data)?)?;
        let servers = api.servers(None).await?;
        let known = servers.into_iter().map(|r| (place(&r), r.confidence)).collect();
        let row = api.newest_row().await?;
        let mut every = tokio::time::interval(Duration::from_millis(500));
        every.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        Ok(Scribe { api, tally: Tally::new(), known, row, every })
    }

    /// The next rows of the journal. Cancel-safe: nothing is taken until it is returned.
    pub(super) async fn journal(&mut self) -> Vec<Row> {
        loop {
            self.every.tick().await;
            match self.api.journal(self.row).await {
                Ok(rows) if rows.is_empty() => {}
                Ok(rows) => return rows,
                Err(why) => tracing::debug!(%why, "the journal could not be read just now"),
            }
        }
    }

    pub(super) fn lines(&mut self, event: Event) -> Vec<Line> {
        match event {
            Event::Seen(evidence) => self.seen(&evidence),
            Event::Journal(rows) => rows.into_iter().filter_map(|row| self.row(row)).collect(),
            Event::Ended(Ended { role, why }) => {
                let text = format!("the {role} ended: {}. The others go on", printable(&why, 300));
                vec![Line { at: Timestamp::now(), event: "trouble", text, server: None }]
            }
        }
    }

    fn seen(&mut self, evidence: &Evidence) -> Vec<Line> {
        let news = self.tally.take(evidence);
        // A hint is not worth a line; it is in the inventory.
        let news = news.into_iter().filter(|r| r.confidence >= Confidence::Probable);
        let fresh = news.filter(|r| self.known.get(&place(r)).is_none_or(|known| *known < r.confidence)).collect::<Vec<_>>();
        self.known.extend(fresh.iter().map(|r| (place(r), r.confidence)));
        let line = |r: ServerReport| Line { at: r.last_seen, event: "server", text: tally::one_line(&r), server: Some(Box::new(r)) };
        fresh.into_iter().map(line).collect()
    }

    fn row(&mut self, row: Row) -> Option<Line> {
        self.row = self.row.max(row.id);
        let (_, event) = SHOWN.iter().find(|(verb, _)| *verb == row.verb)?;
        let reason = if row.reason.is_empty() { String::new() } else { format!(": {}", printable(&row.reason, 400)) };
        let finding = FindingId::parse(&row.subject);
        let subject = finding.as_ref().map_or(row.subject.as_str(), FindingId::short);
        let text = format!("{} {}{reason}", printable(subject, 80), row.verb.replace('-', " "));
        Some(Line { at: row.at, event, text, server: None })
    }
}

/// The place alone: the same server under the names of two sites is one line.
fn place(r: &ServerReport) -> String {
    format!("{}{}", tally::address(r), r.path.as_deref().unwrap_or(""))
}
