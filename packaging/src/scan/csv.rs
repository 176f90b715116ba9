//! Servers as comma-separated values.

use crate::{failure::Failure, spreadsheet, table::word};
use rules::wire::v1::ServerReport;

const HEAD: [&str; 15] = [
    "confidence",
    "address",
    "port",
    "path",
    "host",
    "server",
    "version",
    "revisions",
    "transports",
    "tls",
    "auth",
    "tools",
    "exposures",
    "last_seen",
    "why",
];

pub(super) fn print(reports: &[ServerReport]) -> Result<(), Failure> {
    spreadsheet::print(HEAD)?;
    reports.iter().try_for_each(|r| spreadsheet::print(row(r).iter().map(String::as_str)))
}

fn row(r: &ServerReport) -> [String; 15] {
    let list = |items: &mut dyn Iterator<Item = String>| items.collect::<Vec<_>>().join(" ");
    let info = |of: fn(&rules::evidence::Implementation) -> String| r.server_info.as_ref().map(of).unwrap_or_default();
    [
        r.confidence.as_str().to_owned(),
        r.address.to_string(),
        r.port.to_string(),
        r.path.clone().unwrap_or_default(),
        r.host.clone().unwrap_or_default(),
        info(|i| i.name.clone()),
        info(|i| i.version.clone().unwrap_or_default()),
        list(&mut r.revisions.iter().cloned()),
        list(&mut r.transports.iter().map(word)),
        r.tls.map(|t| t.to_string()).unwrap_or_default(),
        r.auth.map(|a| word(&a)).unwrap_or_default(),
        list(&mut r.tools.iter().cloned()),
        list(&mut r.exposures.iter().map(word)),
        r.last_seen.strftime("%Y-%m-%d %H:%M UTC").to_string(),
        r.reasons.first().cloned().unwrap_or_default(),
    ]
}
