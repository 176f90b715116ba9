//! Comma-separated values (RFC 4180) with a header that names the columns.

use super::{issued, time};
use rules::certificates::Issued;

/// Where each part stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Columns {
    subject: Option<usize>,
    names: Option<usize>,
    serial: Option<usize>,
    from: usize,
    until: usize,
}

const MAX_CELLS: usize = 128;

impl Columns {
    /// The header, when it names a subject or names, a beginning and an end.
    pub(super) fn of_header(line: &str) -> Option<Columns> {
        let cells: Vec<String> = cells(line).ok()?.iter().map(|c| c.trim().to_lowercase().replace([' ', '-'], "_")).collect();
        let find = |known: &[&str]| cells.iter().position(|c| known.contains(&c.as_str()));
        let subject = find(&["subject", "common_name", "cn", "name"]);
        let names = find(&["names", "sans", "san", "alt_names", "dns_names", "subject_alternative_names"]);
        let from = find(&["not_before", "valid_from", "issued", "issued_at", "at", "time"])?;
        let until = find(&["not_after", "valid_to", "valid_until", "expires", "expires_at", "expiration"])?;
        subject.or(names)?;
        Some(Columns { subject, names, serial: find(&["serial", "serial_number"]), from, until })
    }

    pub(super) fn read(&self, line: &str) -> Result<Issued, String> {
        let cells = cells(line)?;
        let cell = |at: Option<usize>| at.and_then(|n| cells.get(n)).map(String::as_str).unwrap_or_default();
        let until = cell(Some(self.until));
        let expires = time(until).ok_or_else(|| format!("`{until}` is no time of expiry"))?;
        let alternative = cell(self.names).split([';', ' ', '|', ',']).map(|n| n.split_once(':').map_or(n, tagged).to_owned());
        let names = std::iter::once(common_name(cell(self.subject))).chain(alternative);
        issued(cell(self.serial), names, time(cell(Some(self.from))), Some(expires))
    }
}

/// `DNS:files.corp.example`; of an IPv6 address nothing is cut.
fn tagged<'a>((tag, name): (&'a str, &'a str)) -> &'a str {
    if matches!(tag.to_ascii_lowercase().as_str(), "dns" | "ip" | "ip address" | "uri" | "email") { name } else { tag }
}

/// Of `CN=files,O=Corp` the common name; else the whole.
fn common_name(subject: &str) -> String {
    let parts = subject.split([',', '/']).filter_map(|p| p.trim().split_once('='));
    let found = parts.filter(|(key, _)| key.eq_ignore_ascii_case("cn")).map(|(_, name)| name.to_owned()).next();
    found.unwrap_or_else(|| subject.to_owned())
}

fn cells(line: &str) -> Result<Vec<String>, String> {
    let mut cells = vec![String::new()];
    let mut quoted = false;
    let mut chars = line.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '"' if quoted && chars.peek() == Some(&'"') => {
                chars.next();
                cells.last_mut().into_iter().for_each(|cell| cell.push('"'));
            }
            '"' => quoted = !quoted,
            ',' if !quoted && cells.len() >= MAX_CELLS => return Err(format!("more than {MAX_CELLS} columns")),
            ',' if !quoted => cells.push(String::new()),
            c => cells.last_mut().into_iter().for_each(|cell| cell.push(c)),
        }
    }
    if quoted { Err("a quote that does not end".to_owned()) } else { Ok(cells) }
}
