//! Servers as comma-separated values (RFC 4180) that a spreadsheet may open: no cell is a formula, whatever a server calls itself.

use crate::{
    failure::Failure,
    out,
    table::{moment, word},
};
use rules::{printable::printable, wire::v1::ServerReport};

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
    out::line(HEAD.join(","))?;
    reports.iter().try_for_each(|r| out::line(row(r)))
}

fn row(r: &ServerReport) -> String {
    let list = |items: &mut dyn Iterator<Item = String>| items.collect::<Vec<_>>().join(" ");
    let info = |of: fn(&rules::evidence::Implementation) -> String| r.server_info.as_ref().map(of).unwrap_or_default();
    let cells = [
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
        moment(r.last_seen),
        r.reasons.first().cloned().unwrap_or_default(),
    ];
    cells.iter().map(|c| cell(c)).collect::<Vec<_>>().join(",")
}

/// Quoted where it must be; an apostrophe before what a spreadsheet would compute.
fn cell(text: &str) -> String {
    let text = printable(text, 1000);
    let computed = text.trim_start().starts_with(['=', '+', '-', '@', '\u{ff1d}', '\u{ff0b}', '\u{ff0d}', '\u{ff20}']);
    let text = if computed { format!("'{text}") } else { text };
    if text.contains([',', '"', '\'', ' ', ';', '\n', '\r']) { format!("\"{}\"", text.replace('"', "\"\"")) } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_cell_is_a_formula_nor_ends_its_row() {
        assert_eq!(cell("=cmd|' /C calc'!A0"), "\"'=cmd|' /C calc'!A0\"");
        for bad in ["+1", "-1", "@SUM(1)", " =1", "\u{ff1d}1"] {
            assert!(cell(bad).trim_start_matches('"').starts_with('\''), "{bad}");
        }
        assert_eq!(cell("a,\"b\""), "\"a,\"\"b\"\"\"");
        assert!(!cell("a\r\nb\t=1").contains(['\r', '\n', '\t']));
        assert_eq!(cell("plain"), "plain");
    }
}
