//! Registrations from files: what an audit found, or what a spreadsheet lists.

mod server_json;

use crate::{
    api::Api,
    failure::{Exit, Failure, Side},
    out,
};
use clap::Args;
use collector::registry::{Draft, DraftBackend};
use rules::{confidence::Confidence, registry::Lifecycle, wire::v1::ServerReport};
use std::{io::Read, path::PathBuf};
use url::Url;

/// Every line is tried; each that is refused is named with its reason, and the exit code is 1.
#[derive(Debug, Args)]
#[command(after_help = "\
Takes a registry's server.json (one, or a list of them), what `inventory`, `scan` and `servers` print with --json, and CSV.
A CSV file begins with a header of column names: slug, url, and as you have them name, version, owner, contact, description.")]
pub struct Options {
    /// A file, or - for standard input
    pub file: PathBuf,
    /// Who answers for what names nobody
    #[arg(long)]
    pub owner: Option<String>,
    /// How to reach them
    #[arg(long)]
    pub contact: Option<String>,
    /// Say what would be registered, and register nothing
    #[arg(long)]
    pub dry_run: bool,
}

/// Longer files are split by whoever has them.
const MAX_BYTES: u64 = 64 << 20;

pub(super) async fn run(options: &Options, api: &Api, json: bool) -> Result<Exit, Failure> {
    let text = read(options)?;
    let mut refused = 0;
    let mut done = 0;
    for (line, draft) in drafts(&text, options) {
        let result = match draft {
            Ok(draft) if options.dry_run => out::object(&draft).map(|()| done += 1),
            Ok(draft) => match api.register(&draft).await {
                Ok(registration) => super::receipt::changed(&registration, "registered", json).map(|_| done += 1),
                Err(Failure::ReaderGone) => return Err(Failure::ReaderGone),
                Err(Failure::Because { what, .. }) => Err(Failure::new(Side::Input, what, "")),
            },
            Err(why) => Err(Failure::new(Side::Input, why, "")),
        };
        match result {
            Ok(()) => {}
            Err(Failure::ReaderGone) => return Err(Failure::ReaderGone),
            Err(Failure::Because { what, .. }) => {
                refused += 1;
                out::note(format!("line {line}: {what}"));
            }
        }
    }
    let verb = if options.dry_run { "would be registered" } else { "registered" };
    out::note(format!("{done} {verb}, {refused} refused"));
    Ok(Exit::found(refused > 0))
}

fn read(options: &Options) -> Result<String, Failure> {
    let shown = options.file.display();
    let bad = |why: String| Failure::new(Side::Input, format!("cannot read {shown}: {why}"), "give a UTF-8 file of at most 64 MiB");
    let mut text = String::new();
    let source: Box<dyn Read> = if options.file.as_os_str() == "-" {
        Box::new(std::io::stdin())
    } else {
        Box::new(std::fs::File::open(&options.file).map_err(|why| bad(why.to_string()))?)
    };
    let read = source.take(MAX_BYTES + 1).read_to_string(&mut text).map_err(|why| bad(why.to_string()))?;
    if read as u64 > MAX_BYTES { Err(bad("it is longer".to_owned())) } else { Ok(text) }
}

/// Each line that says something, or each server of a document, with its number.
fn drafts<'a>(text: &'a str, options: &'a Options) -> Vec<(usize, Result<Draft, String>)> {
    if let Some(servers) = server_json::drafts(text, options) {
        return servers;
    }
    let lines = || text.lines().enumerate().map(|(n, l)| (n + 1, l.trim())).filter(|(_, l)| !l.is_empty());
    if lines().next().is_some_and(|(_, first)| first.starts_with('{')) {
        return lines().filter_map(|(n, l)| from_json(l, options).transpose().map(|d| (n, d))).collect();
    }
    from_spreadsheet(text, options)
}

fn from_spreadsheet(text: &str, options: &Options) -> Vec<(usize, Result<Draft, String>)> {
    let mut reader = csv::ReaderBuilder::new().flexible(true).trim(csv::Trim::All).from_reader(text.as_bytes());
    let head: Vec<String> = match reader.headers() {
        Ok(head) => head.iter().map(str::to_ascii_lowercase).collect(),
        Err(why) => return vec![(1, Err(why.to_string()))],
    };
    let rows = reader.records().filter_map(|record| match record {
        Ok(row) if row.iter().all(str::is_empty) => None,
        Ok(row) => Some((line(text, row.position()), from_csv(&head, &row, options))),
        Err(why) => Some((line(text, why.position()), Err(why.to_string()))),
    });
    rows.collect()
}

/// The line of a row. The reader's position is the end of the row before: empty lines may follow.
fn line(text: &str, position: Option<&csv::Position>) -> usize {
    let Some(position) = position else { return 0 };
    let rest = usize::try_from(position.byte()).ok().and_then(|at| text.get(at..)).unwrap_or_default();
    let empty = rest.chars().take_while(|c| matches!(c, '\r' | '\n')).filter(|c| *c == '\n').count();
    usize::try_from(position.line()).unwrap_or(0) + empty
}

/// A draft, or a server as `inventory`, `scan` and `servers` print it. Hints and what is registered already are passed over.
fn from_json(line: &str, options: &Options) -> Result<Option<Draft>, String> {
    let server = match serde_json::from_str::<Draft>(line) {
        Ok(draft) => return Ok(Some(draft)),
        Err(why) => serde_json::from_str::<ServerReport>(line).map_err(|_| format!("neither a registration ({why}) nor a server"))?,
    };
    if server.confidence < Confidence::Probable || server.registered_as.is_some() {
        return Ok(None);
    }
    let host = server.host.clone().map_or_else(|| crate::tally::address(&server), |h| format!("{h}:{}", server.port));
    let scheme = if server.tls == Some(true) { "https" } else { "http" };
    let url = format!("{scheme}://{host}{}", server.path.as_deref().unwrap_or("/"));
    let found = server.owner.as_ref().map(|o| o.name.clone());
    let name = server.server_info.as_ref().map_or_else(|| host.clone(), |i| i.name.clone());
    let mut draft = draft(&slug(&format!("{name}-{}-{}", server.address, server.port)), &url, options, found)?;
    draft.version = server.server_info.and_then(|i| i.version).unwrap_or(draft.version);
    draft.transport = server.transports.last().copied();
    draft.tools = server.tools.into_iter().collect();
    draft.name = name;
    Ok(Some(draft))
}

fn from_csv(head: &[String], row: &csv::StringRecord, options: &Options) -> Result<Draft, String> {
    let get = |name: &str| head.iter().position(|h| h == name).and_then(|n| row.get(n)).filter(|v| !v.is_empty());
    let url = get("url").ok_or("no `url`")?;
    let slug_text = get("slug").or_else(|| get("name")).ok_or("neither `slug` nor `name`")?;
    let mut draft = draft(&slug(slug_text), url, options, get("owner").map(str::to_owned))?;
    let set = |field: &mut String, name: &str| {
        if let Some(value) = get(name) {
            value.clone_into(field);
        }
    };
    set(&mut draft.name, "name");
    set(&mut draft.version, "version");
    set(&mut draft.contact, "contact");
    set(&mut draft.description, "description");
    Ok(draft)
}

fn draft(slug: &str, url: &str, options: &Options, owner: Option<String>) -> Result<Draft, String> {
    let url = Url::parse(url).map_err(|why| format!("`{url}` is no URL: {why}"))?;
    let owner = owner.or_else(|| options.owner.clone()).ok_or("names no owner; --owner gives one to all that do not")?;
    let contact = options.contact.clone().unwrap_or_else(|| owner.clone());
    Ok(Draft {
        slug: slug.to_owned(),
        name: slug.to_owned(),
        description: String::new(),
        version: "1.0.0".to_owned(),
        owner,
        contact,
        backends: vec![DraftBackend { url }],
        transport: None,
        lifecycle: Lifecycle::Active,
        tools: Default::default(),
        registered_by: Some(super::whoami()),
    })
}

/// Lower case, digits and single dashes.
fn slug(text: &str) -> String {
    let mut slug = String::new();
    for c in text.chars().flat_map(char::to_lowercase) {
        if c.is_ascii_lowercase() || c.is_ascii_digit() {
            slug.push(c);
        } else if !slug.is_empty() && !slug.ends_with('-') {
            slug.push('-');
        }
    }
    slug.truncate(63);
    slug.trim_end_matches('-').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options() -> Options {
        Options { file: "-".into(), owner: Some("platform".to_owned()), contact: None, dry_run: false }
    }

    #[test]
    fn a_quoted_field_keeps_its_commas_quotes_and_line_breaks() {
        let csv = "slug,url,description,contact\na,http://10.0.0.5/mcp,\"b, \"\"c\"\"\nd\",\nb,http://10.0.0.6/mcp,,x\n";
        let all = drafts(csv, &options());
        let said: Vec<_> = all.iter().map(|(n, d)| (*n, d.as_ref().map(|d| (d.description.as_str(), d.contact.as_str())))).collect();
        let first = "b, \"c\"\nd";
        assert!(matches!(said.as_slice(), [(2, Ok((d, "platform"))), (4, Ok(("", "x")))] if *d == first), "{said:?}");
    }

    #[test]
    fn a_spreadsheet_becomes_drafts_and_bad_rows_say_why() {
        let csv = "Name,URL,Owner\nFiles!,http://10.0.0.5:3001/mcp,ada\n\nNotes,,bob\nMail,http://10.0.0.6/mcp,\n";
        let all = drafts(csv, &options());
        let said =
            all.iter().map(|(n, d)| format!("{n} {:?}", d.as_ref().map(|d| (d.slug.as_str(), d.owner.as_str())))).collect::<Vec<_>>();
        assert_eq!(said, [r#"2 Ok(("files", "ada"))"#, r#"4 Err("no `url`")"#, r#"5 Ok(("mail", "platform"))"#]);
    }
}
