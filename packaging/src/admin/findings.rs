//! `gnomon findings`: what is wrong, whose it is, and what happens when.

use crate::{
    api::{Access, Api},
    failure::{Exit, Failure},
    out::{self, BOLD, DIM},
    table::{Table, ago, moment, word},
};
use clap::{Args, Subcommand};
use launch::Global;
use rules::{
    Timestamp,
    admission::Exemption,
    finding::{FindingKind, FindingPrefix},
    period::Period,
    wire::v1::FindingReport,
};

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  gnomon findings
  gnomon findings list --kind shadow --json | jq -r .id
  gnomon findings show F-1a2b3c4d
  gnomon findings exempt F-1a2b3c4d --reason 'vendor demo' --requested-by ada --approved-by grace --for 7d
  gnomon findings snooze F-1a2b3c4d --for 3d

Exit codes of list: 0 none open, 1 at least one.")]
pub struct Options {
    #[command(flatten)]
    pub access: Access,
    #[command(subcommand)]
    pub command: Option<Command>,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// All open findings
    List(Filter),
    /// One finding: why it is one, where its clock stands, what comes next
    Show {
        #[arg(value_parser = finding_id)]
        id: FindingPrefix,
    },
    /// Let a finding stand for a while; approved by somebody else than asks for it
    Exempt {
        #[arg(value_parser = finding_id)]
        id: FindingPrefix,
        #[arg(long)]
        reason: String,
        #[arg(long, value_name = "WHO")]
        requested_by: String,
        #[arg(long, value_name = "WHO")]
        approved_by: String,
        /// How long, for example 7d
        #[arg(long = "for", value_name = "TIME")]
        period: Period,
    },
    /// End an exemption now
    Unexempt {
        #[arg(value_parser = finding_id)]
        id: FindingPrefix,
    },
    /// No messages for a while; the clock runs on
    Snooze {
        #[arg(value_parser = finding_id)]
        id: FindingPrefix,
        #[arg(long = "for", value_name = "TIME")]
        period: Period,
    },
}

#[derive(Debug, Default, Args)]
pub struct Filter {
    /// Closed ones too
    #[arg(long)]
    pub all: bool,
    /// Only this kind: shadow, drifted, retired, lookalike, exposed, dead, blind, unenforced, no-client-certificate
    #[arg(long, value_parser = kind)]
    pub kind: Option<FindingKind>,
}

fn finding_id(text: &str) -> Result<FindingPrefix, String> {
    FindingPrefix::parse(text).ok_or_else(|| "a finding is F- and at least four hexadecimal digits, such as F-1a2b3c4d".to_owned())
}

fn kind(text: &str) -> Result<FindingKind, String> {
    serde_json::from_value(text.into())
        .map_err(|_| "shadow, drifted, retired, lookalike, exposed, dead, blind, unenforced or no-client-certificate".to_owned())
}

pub fn run(options: &Options, global: &Global) -> Result<Exit, Failure> {
    let json = global.json;
    super::with(&options.access, global, async |api| match &options.command {
        None => list(&api, &Filter::default(), json).await,
        Some(Command::List(filter)) => list(&api, filter, json).await,
        Some(Command::Show { id }) => {
            let finding = api.finding(id).await?;
            if json {
                out::object(&finding)?
            } else {
                show(&finding)?
            }
            Ok(Exit::Clear)
        }
        Some(Command::Exempt { id, reason, requested_by, approved_by, period }) => {
            let until = period.after(Timestamp::now());
            let (requested_by, approved_by, reason) = (requested_by.clone(), approved_by.clone(), reason.clone());
            changed(&api.exempt(id, &Exemption { requested_by, approved_by, reason, until }).await?, json)
        }
        Some(Command::Snooze { id, period }) => {
            let until = period.after(Timestamp::now());
            changed(&api.snooze(id, until, &super::whoami()).await?, json)
        }
        Some(Command::Unexempt { id }) => changed(&api.end_exemption(id).await?, json),
    })
}

async fn list(api: &Api, filter: &Filter, json: bool) -> Result<Exit, Failure> {
    let mut all = api.findings(filter.all).await?;
    all.retain(|f| (filter.all || f.closed.is_none()) && filter.kind.is_none_or(|k| k == f.kind));
    most_urgent_first(&mut all);
    if json {
        all.iter().try_for_each(out::object)?;
    } else {
        let mut table = Table::new(&["ID", "KIND", "SEVERITY", "WHERE", "OWNER", "STATE", "BLOCK AT", "WHAT COMES NEXT"]);
        for f in &all {
            table.row([
                f.id.short().to_owned(),
                f.kind.to_string(),
                word(&f.severity),
                place(f),
                f.owner.as_ref().map(|o| o.name.clone()).unwrap_or_default(),
                word(&f.escalation),
                f.deadline.map(|d| d.strftime("%Y-%m-%d").to_string()).unwrap_or_default(),
                f.status.clone(),
            ]);
        }
        table.print("nothing is wrong, as far as is known")?;
    }
    Ok(Exit::found(all.iter().any(|f| f.closed.is_none())))
}

/// By severity, then by deadline; a finding without a deadline is the least pressing of its severity.
fn most_urgent_first(all: &mut [FindingReport]) {
    all.sort_by_key(|f| (std::cmp::Reverse(f.severity), f.deadline.is_none(), f.deadline));
}

fn changed(finding: &FindingReport, json: bool) -> Result<Exit, Failure> {
    if json {
        out::object(finding)?
    } else {
        out::line(format!("{} {}", finding.id, rules::printable::printable(&finding.status, 400)))?
    }
    Ok(Exit::Clear)
}

fn show(f: &FindingReport) -> Result<(), Failure> {
    let plain = |text: &str| rules::printable::printable(text, 400);
    out::line(format!("{BOLD}{} {}{BOLD:#}, {} severity", f.id, f.kind, word(&f.severity)))?;
    let mut said = vec![("where", place(f)), ("site", f.site.clone())];
    said.extend(f.host.clone().map(|h| ("name", h)));
    said.extend(f.slug.clone().map(|s| ("registered", s)));
    said.push(("owner", f.owner.as_ref().map_or_else(|| "unknown".to_owned(), |o| format!("{} (by {})", o.name, word(&o.source)))));
    said.push(("state", format!("{}: {}", word(&f.escalation), f.status)));
    said.push(("opened", moment(f.opened_at)));
    said.push(("last seen", ago(f.last_seen)));
    said.extend(f.notified_at.map(|at| ("notified", moment(at))));
    said.extend(f.deadline.map(|at| ("block at", moment(at))));
    said.extend(f.blocked_at.map(|at| ("blocked", moment(at))));
    said.extend(f.snoozed_until.map(|at| ("snoozed", format!("until {}", moment(at)))));
    if let Some(e) = &f.exemption {
        said.push((
            "exempted",
            format!("until {}: {} (asked by {}, approved by {})", moment(e.until), e.reason, e.requested_by, e.approved_by),
        ));
    }
    said.extend((!f.shared_with.is_empty()).then(|| ("shared with", f.shared_with.join(", "))));
    said.extend((!f.corroborated).then(|| ("note", "one source only: that never blocks".to_owned())));
    for (what, text) in said {
        out::line(format!("  {DIM}{what:<12}{DIM:#}{}", plain(&text)))?;
    }
    out::line("  because")?;
    f.reasons.iter().try_for_each(|why| out::line(format!("    - {}", plain(why))))
}

pub(super) fn place(f: &FindingReport) -> String {
    match (f.address, f.port) {
        (Some(address), Some(port)) => format!("{}{}", std::net::SocketAddr::new(address, port), f.path.as_deref().unwrap_or("")),
        _ => String::new(),
    }
}
