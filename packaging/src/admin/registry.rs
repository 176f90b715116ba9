//! `gnomon registry`: what is allowed to exist.

use super::{import, receipt};
use crate::{
    api::{Access, Api},
    failure::{Exit, Failure, Side},
    out::{self, BOLD, DIM},
    table::{Table, moment, some, word},
};
use clap::{Args, Subcommand};
use collector::registry::{Draft, DraftBackend};
use launch::Global;
use rules::{
    Timestamp,
    evidence::Transport,
    finding::FindingPrefix,
    registry::{Lifecycle, Registration},
};
use url::Url;

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  gnomon registry add --slug files --owner ada --contact ada@corp.example --url http://10.0.0.5:3001/mcp
  gnomon registry add --from F-1a2b3c4d --contact ada@corp.example     register what was found; its finding closes itself
  gnomon registry update files --version 1.3.0 --deprecate 2027-06-30T00:00:00Z
  gnomon inventory --json | gnomon registry import - --owner platform --contact platform@corp.example
  gnomon registry list --json | jq -r .slug")]
pub struct Options {
    #[command(flatten)]
    pub access: Access,
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// All registrations
    List,
    /// One registration
    Show { slug: String },
    /// Register a server, from flags or from a finding
    Add {
        /// Take address, path, name and tools from what was found
        #[arg(long, value_name = "FINDING", value_parser = finding_id)]
        from: Option<FindingPrefix>,
        /// The last part of the gateway's URL [default with --from: from the server's name]
        #[arg(long, required_unless_present = "from")]
        slug: Option<String>,
        #[command(flatten)]
        fields: Fields,
    },
    /// Change a registration: only what is given
    Update {
        slug: String,
        #[command(flatten)]
        fields: Fields,
        /// Deprecated from now on, to be retired then
        #[arg(long, value_name = "SUNSET", conflicts_with_all = ["retire", "activate"])]
        deprecate: Option<Timestamp>,
        /// Retired from now on: calls are answered 410
        #[arg(long, conflicts_with = "activate")]
        retire: bool,
        /// Neither deprecated nor retired any more
        #[arg(long)]
        activate: bool,
    },
    /// Take a registration away; what still answers there becomes a finding
    Remove { slug: String },
    /// Register what a file lists: NDJSON of registrations or of servers (inventory, scan, servers), or CSV with a header
    Import(import::Options),
}

/// What a registration says.
#[derive(Clone, Debug, Default, Args)]
pub struct Fields {
    #[arg(long)]
    pub name: Option<String>,
    #[arg(long)]
    pub description: Option<String>,
    /// Version of what is registered
    #[arg(long = "server-version", visible_alias = "version", value_name = "SEMVER")]
    pub version: Option<String>,
    /// Who answers for it: a person or a team
    #[arg(long)]
    pub owner: Option<String>,
    /// How to reach them
    #[arg(long)]
    pub contact: Option<String>,
    /// Where it answers; may be given more than once
    #[arg(long = "url", value_name = "URL")]
    pub urls: Vec<Url>,
    #[arg(long, value_parser = transport, value_name = "NAME")]
    pub transport: Option<Transport>,
    /// Pin these tools: another one there becomes a finding
    #[arg(long = "tool", value_name = "NAME", value_delimiter = ',')]
    pub tools: Vec<String>,
}

fn finding_id(text: &str) -> Result<FindingPrefix, String> {
    FindingPrefix::parse(text).ok_or_else(|| "a finding is F- and at least four hexadecimal digits, such as F-1a2b3c4d".to_owned())
}

fn transport(text: &str) -> Result<Transport, String> {
    serde_json::from_value(text.into()).map_err(|_| "streamable-http, stateless-http, http+sse, websocket, raw-tcp or stdio".to_owned())
}

impl Fields {
    /// Writes what was given over what is there.
    fn over(&self, draft: &mut Draft) {
        let set = |field: &mut String, given: &Option<String>| {
            if let Some(given) = given {
                given.clone_into(field);
            }
        };
        set(&mut draft.name, &self.name);
        set(&mut draft.description, &self.description);
        set(&mut draft.version, &self.version);
        set(&mut draft.owner, &self.owner);
        set(&mut draft.contact, &self.contact);
        if !self.urls.is_empty() {
            draft.backends = self.urls.iter().map(|url| DraftBackend { url: url.clone() }).collect();
        }
        draft.transport = self.transport.or(draft.transport);
        if !self.tools.is_empty() {
            draft.tools = self.tools.iter().cloned().collect();
        }
        draft.registered_by = Some(super::whoami());
    }

    /// A draft of nothing but these.
    fn draft(&self, slug: &str) -> Result<Draft, Failure> {
        let Some(((owner, contact), _)) = self.owner.as_ref().zip(self.contact.as_ref()).zip(self.urls.first()) else {
            return Err(Failure::new(
                Side::CommandLine,
                "a registration needs somebody who answers for it, and a place",
                "give --owner, --contact and --url, or take them from what was found: --from FINDING",
            ));
        };
        let mut draft = Draft {
            slug: slug.to_owned(),
            name: slug.to_owned(),
            description: String::new(),
            version: "1.0.0".to_owned(),
            owner: owner.clone(),
            contact: contact.clone(),
            backends: Vec::new(),
            transport: None,
            lifecycle: Lifecycle::Active,
            tools: Default::default(),
            registered_by: None,
        };
        self.over(&mut draft);
        Ok(draft)
    }
}

pub fn run(options: &Options, global: &Global) -> Result<Exit, Failure> {
    let json = global.json;
    super::with(&options.access, global, async |api| match &options.command {
        Command::List => list(&api, json).await,
        Command::Show { slug } => {
            let registration = api.registration(slug).await?;
            if json {
                out::object(&registration)?
            } else {
                show(&registration)?
            }
            Ok(Exit::Clear)
        }
        Command::Add { from, slug, fields } => {
            let draft = match (from, slug) {
                (Some(finding), slug) => {
                    let mut draft = api.draft(finding).await?;
                    fields.over(&mut draft);
                    draft.slug = slug.clone().unwrap_or(draft.slug);
                    draft
                }
                (None, slug) => fields.draft(slug.as_deref().unwrap_or_default())?,
            };
            answered_for(&draft)?;
            receipt::changed(&api.register(&draft).await?, "registered", json)
        }
        Command::Update { slug, fields, deprecate, retire, activate } => {
            let mut draft = redraft(api.registration(slug).await?);
            fields.over(&mut draft);
            let since = Timestamp::now();
            draft.lifecycle = match (deprecate, retire, activate) {
                (Some(sunset), ..) => Lifecycle::Deprecated { since, sunset: Some(*sunset) },
                (_, true, _) => Lifecycle::Sunset { since },
                (.., true) => Lifecycle::Active,
                _ => draft.lifecycle,
            };
            receipt::changed(&api.reregister(&draft).await?, "changed", json)
        }
        Command::Remove { slug } => {
            api.unregister(slug).await?;
            said(json, slug, "removed")
        }
        Command::Import(options) => import::run(options, &api, json).await,
    })
}

/// What was found does not always say whose it is.
fn answered_for(draft: &Draft) -> Result<(), Failure> {
    let missing: Vec<_> = [("--owner NAME", &draft.owner), ("--contact ADDRESS", &draft.contact)]
        .into_iter()
        .filter_map(|(flag, given)| given.trim().is_empty().then_some(flag))
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    let what = "a registration says who answers for the server, and nobody is known to";
    Err(Failure::new(Side::CommandLine, what, format!("add {}", missing.join(" and "))))
}

/// A registration as it was written.
fn redraft(r: Registration) -> Draft {
    Draft {
        slug: r.slug,
        name: r.name,
        description: r.description,
        version: r.version,
        owner: r.owner,
        contact: r.contact,
        backends: r.backends.into_iter().map(|b| DraftBackend { url: b.url }).collect(),
        transport: r.transport,
        lifecycle: r.lifecycle,
        tools: r.tools,
        registered_by: Some(r.registered_by),
    }
}

async fn list(api: &Api, json: bool) -> Result<Exit, Failure> {
    let all = api.registrations().await?;
    if json {
        all.iter().try_for_each(out::object)?;
        return Ok(Exit::Clear);
    }
    let mut table = Table::new(&["SLUG", "VERSION", "STATE", "OWNER", "CONTACT", "TOOLS", "BACKENDS"]);
    for r in &all {
        let tools = if r.tools.is_empty() { "not pinned".to_owned() } else { r.tools.len().to_string() };
        let urls = some(r.backends.iter().map(|b| b.url.as_str()), 3);
        table.row([r.slug.clone(), r.version.clone(), state(&r.lifecycle), r.owner.clone(), r.contact.clone(), tools, urls]);
    }
    table.print("nothing is registered (gnomon registry add --help)")?;
    Ok(Exit::Clear)
}

fn show(r: &Registration) -> Result<(), Failure> {
    let plain = |text: &str| rules::printable::printable(text, 400);
    out::line(format!("{BOLD}{}{BOLD:#} {} {}", r.slug, plain(&r.name), plain(&r.version)))?;
    let mut said = vec![("state", state(&r.lifecycle)), ("owner", format!("{} ({})", r.owner, r.contact))];
    said.extend((!r.description.is_empty()).then(|| ("about", r.description.clone())));
    said.extend(r.transport.map(|t| ("transport", word(&t))));
    for b in &r.backends {
        let addresses = if b.addresses.is_empty() { String::new() } else { format!(" ({})", some(&b.addresses, 4)) };
        said.push(("backend", format!("{}{addresses}", b.url)));
    }
    said.push(("tools", if r.tools.is_empty() { "not pinned".to_owned() } else { some(&r.tools, 20) }));
    said.push(("registered", format!("{} by {}, revision {}", moment(r.registered_at), r.registered_by, r.revision)));
    said.into_iter().try_for_each(|(what, text)| out::line(format!("  {DIM}{what:<12}{DIM:#}{}", plain(&text))))
}

fn state(lifecycle: &Lifecycle) -> String {
    match lifecycle {
        Lifecycle::Active => "active".to_owned(),
        Lifecycle::Deprecated { sunset: Some(at), .. } => format!("deprecated, until {}", at.strftime("%Y-%m-%d")),
        Lifecycle::Deprecated { sunset: None, .. } => "deprecated".to_owned(),
        Lifecycle::Sunset { since } => format!("retired {}", since.strftime("%Y-%m-%d")),
    }
}

fn said(json: bool, slug: &str, how: &str) -> Result<Exit, Failure> {
    if json {
        out::object(&serde_json::json!({"slug": slug, "state": how}))?
    } else {
        out::line(format!("{how} `{slug}`"))?
    }
    Ok(Exit::Clear)
}
