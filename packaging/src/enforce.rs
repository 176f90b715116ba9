//! `gnomon enforce`: what a person does at one enforcement point. Works on the kernel and the state directory of this
//! machine, beside a running Gnomon or without one, and without the collector.

mod fleet;
mod print;

use crate::{
    api::{Access, Api},
    config::Config,
    data,
    failure::{Exit, Failure, Side},
    out,
};
use clap::{Args, Subcommand};
use enforcer::operator::{self, Approval, Error, Plan};
use gnomon_enforcer::memory;
use launch::{Global, global::command};
use rules::{endpoint::Endpoint, fleet::Tried, observation::Outcome, period::Period, wire::v1::Signed};
use serde::{Deserialize, Serialize};
use std::{
    net::IpAddr,
    path::{Path, PathBuf},
};

/// Each block is a lease: if everything of ours dies, the kernel forgets it by itself.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  gnomon enforce plan                         what would be blocked, and what not, and why
  gnomon enforce apply --confirm-within 5m    undone after 5 minutes unless confirmed
  gnomon enforce confirm                      keep it
  gnomon enforce rollback                     back to what was before
  gnomon enforce stop 'wrong subnet'          break glass: open everything, apply nothing until `resume`
  gnomon enforce wave hold 'not on a Friday'  new blocks go to no further enforcement point

Exit codes: plan: 0 nothing would change, 1 something would, or there are objections;
status: 0 what should be blocked is, 1 it is not; others: 0 done, 1 not done; 2 error, or refused.")]
pub struct Options {
    /// Where the [enforcer] section is, when it is not all defaults
    #[arg(long, value_name = "FILE", env = "GNOMON_CONFIG", hide_env_values = true, global = true)]
    pub config: Option<PathBuf>,
    #[command(flatten)]
    pub access: Access,
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// What applying the newest set would do here; changes nothing
    Plan {
        /// A signed set in a file, instead of the newest that arrived
        #[arg(long, value_name = "FILE")]
        set: Option<PathBuf>,
        /// Print the nftables transaction too
        #[arg(long)]
        nft: bool,
    },
    /// Make the kernel match the newest set, as a whole or not at all
    Apply {
        #[arg(long, value_name = "FILE")]
        set: Option<PathBuf>,
        /// New blocks lapse after this long unless confirmed
        #[arg(long, visible_alias = "confirm", value_name = "TIME", default_value = "5m")]
        confirm_within: Period,
        /// No trial: confirmed at once
        #[arg(long, conflicts_with = "confirm_within")]
        confirmed: bool,
        /// More new blocks than the hourly limit are meant
        #[arg(long)]
        many_new: bool,
    },
    /// Keep what was applied for trial
    Confirm,
    /// Put the set before the last one back
    Rollback,
    /// What is in force, as the kernel tells it
    Status,
    /// New blocks reach the enforcement points in waves: where the one under way is, or a person's word on it
    Wave {
        #[command(subcommand)]
        word: Option<Word>,
    },
    /// Every enforcement point of the site, as the collector knows it
    Points,
    /// Break glass: take our table away, and apply nothing until `resume`
    #[command(visible_alias = "panic")]
    Stop { reason: String },
    /// Apply sets again after `stop`
    Resume,
    /// For uninstalling: take our table away and forget the last set
    Remove,
}

/// A person's word on the wave under way.
#[derive(Debug, Subcommand)]
pub enum Word {
    /// It stands still: no further point makes the new blocks
    Hold { reason: String },
    /// On to the next points at once
    Go { reason: String },
}

pub async fn run(options: &Options, global: &Global) -> Result<Exit, Failure> {
    match &options.command {
        Command::Wave { word } => return fleet::wave(options, global, word.as_ref()).await,
        Command::Points => return fleet::points(options, global).await,
        _ => {}
    }
    let data_dir = global.data();
    let mut config = settings(options, &data_dir)?;
    if let Command::Stop { reason } = &options.command {
        config.trusted_keys.clear();
        operator::panic(&config, reason).await.map_err(unmarked)?;
        return said(global.json, "stopped", &format!("our table is gone; nothing is applied until `{}`", command("enforce resume")));
    }
    if config.trusted_keys.is_empty() {
        config.trusted_keys = memory::known_keys(&data_dir);
    }
    match &options.command {
        Command::Plan { set, nft } => {
            let set = chosen(set.as_deref(), &config).await?;
            planned(options, global, &operator::plan(&config, &set).await.map_err(explained)?, *nft).await
        }
        Command::Apply { set, confirm_within, confirmed, many_new } => {
            let approval = Approval { confirm_within: (!confirmed).then_some(*confirm_within), many_new: *many_new };
            let set = chosen(set.as_deref(), &config).await?;
            let done = operator::apply(&config, &set, approval).await.map_err(explained)?;
            let todo = format!("keep it within {confirm_within}: {}", command("enforce confirm"));
            applied(&done, global.json, (!confirmed).then_some(todo))
        }
        Command::Confirm => applied(&operator::confirm(&config).await.map_err(explained)?, global.json, None),
        Command::Rollback => applied(&operator::rollback(&config).await.map_err(explained)?, global.json, None),
        Command::Status => {
            let status = operator::status(&config).await.map_err(explained)?;
            let site = fleet::ask(options, global).await.ok();
            if global.json {
                out::object(&fleet::WithSite { status: &status, site: site.as_ref() })?
            } else {
                print::status(&status)?;
                site.iter().try_for_each(fleet::summary)?
            }
            Ok(Exit::found(status.enforced < status.desired))
        }
        Command::Wave { .. } | Command::Points | Command::Stop { .. } => Ok(Exit::Clear),
        Command::Resume => {
            operator::resume(&config).await.map_err(explained)?;
            said(global.json, "resumed", "sets are applied again as they arrive")
        }
        Command::Remove => remove(&config, &data_dir, global.json).await,
    }
}

/// The settings: those of `--config`, else those that the enforcer here was started with. By the defaults of another kind of host,
/// an endpoint that was closed would open.
fn settings(options: &Options, data: &Path) -> Result<enforcer::Config, Failure> {
    let started = if options.config.is_none() { memory::known_point(data) } else { Ok(None) };
    let configured = started.and_then(|started| match started {
        Some(started) => Ok(started),
        None => Ok(Config::load(options.config.as_deref())?.enforcer_at(data)),
    });
    match (configured, &options.command) {
        // The glass breaks whatever is damaged here: the removal of our table does not depend on its hooks.
        (Err(why), Command::Stop { .. }) => {
            out::note(format!(
                "settings that cannot be read are passed over, and an enforcer that goes by them may not hear of this: end it too\n{why}"
            ));
            Ok(Config::default().enforcer_at(data))
        }
        (configured, _) => configured,
    }
}

async fn planned(options: &Options, global: &Global, plan: &Plan, nft: bool) -> Result<Exit, Failure> {
    let radius = blast(options, global, plan).await;
    if global.json {
        out::object(&WithRadius { plan, blast_radius: radius.as_deref().ok() })?;
    } else {
        print::plan(plan, nft)?;
        match &radius {
            Ok(radius) => print::blast(radius)?,
            Err(_) => out::note("the clients it breaks are not known: no collector answers here (--api URL, --token TOKEN)"),
        }
    }
    Ok(Exit::found(!plan.objections.is_empty() || !plan.nft.is_empty()))
}

async fn remove(config: &enforcer::Config, data: &Path, json: bool) -> Result<Exit, Failure> {
    // A running enforcer would put the table back.
    if let Some(pid) = data::holder(data) {
        let what = format!("process {pid} still enforces from {}, and puts our table back", data.display());
        let stop = command("enforce stop 'why'");
        let todo = format!("stop it first (systemctl stop gnomon-enforcer); to open everything at once: {stop}");
        return Err(Failure::new(Side::Machine, what, todo));
    }
    operator::remove(config).await.map_err(explained)?;
    said(json, "removed", "our table is gone and the last set forgotten")
}

/// A plan, and what the collector knows about it.
#[derive(Serialize)]
struct WithRadius<'a> {
    #[serde(flatten)]
    plan: &'a Plan,
    /// `null`: no collector answered.
    blast_radius: Option<&'a [Broken]>,
}

/// One endpoint of the newest set, and who was seen talking to it.
#[derive(Debug, Serialize, Deserialize)]
struct Broken {
    endpoint: Endpoint,
    /// In the agents' ranges: these a block cuts off.
    breaks: Vec<Client>,
    unaffected: Vec<IpAddr>,
    /// Whom a block stopped, or would have: as the kernels logged it, sampled.
    #[serde(default)]
    tried: Vec<Tried>,
    #[serde(default)]
    tried_more: usize,
    /// Labels of the points that enforce it; empty: all.
    #[serde(default)]
    at: Vec<String>,
    /// Why it is to be blocked.
    #[serde(default)]
    why: Vec<String>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Client {
    address: IpAddr,
    software: Option<String>,
    last_seen: rules::Timestamp,
}

/// What the plan would block, with whom that breaks.
async fn blast(options: &Options, global: &Global, plan: &Plan) -> Result<Vec<Broken>, Failure> {
    let mut known = Api::open(&options.access, global)?.blast().await?;
    let entries = known.get_mut("entries").map(serde_json::Value::take).unwrap_or_default();
    let mut all = serde_json::from_value::<Vec<Broken>>(entries).unwrap_or_default();
    all.retain(|b| plan.blocks.iter().any(|planned| planned.endpoint == b.endpoint));
    Ok(all)
}

async fn chosen(file: Option<&std::path::Path>, config: &enforcer::Config) -> Result<Signed, Failure> {
    if let Some(file) = file {
        let bad =
            |why: String| Failure::new(Side::Input, format!("{}: {why}", file.display()), "give a file that holds one signed set (JSON)");
        let text = std::fs::read_to_string(file).map_err(|why| bad(why.to_string()))?;
        return serde_json::from_str(&text).map_err(|why| bad(why.to_string()));
    }
    operator::latest(config).await.map_err(explained)?.ok_or_else(|| {
        Failure::new(
            Side::Collector,
            format!("no decision set has reached {}", config.data.display()),
            "start the collector and this enforcement point (`gnomon up` has both), or name the data directory they use: --data DIR",
        )
    })
}

fn applied(done: &rules::observation::Applied, json: bool, todo: Option<String>) -> Result<Exit, Failure> {
    let good = matches!(done.outcome, Outcome::Applied | Outcome::RolledBack | Outcome::DryRun);
    if json {
        out::object(done)?;
    } else {
        print::applied(done)?;
        if let Some(todo) = todo.filter(|_| good) {
            out::line(todo)?;
        }
    }
    Ok(Exit::found(!good))
}

fn said(json: bool, state: &str, text: &str) -> Result<Exit, Failure> {
    if json {
        out::object(&serde_json::json!({"state": state}))?
    } else {
        out::line(text)?
    }
    Ok(Exit::Clear)
}

fn explained(why: Error) -> Failure {
    let todo = match why {
        Error::Unavailable(_) => "`gnomon doctor enforcer` names what this machine lacks",
        Error::Stopped(_) => "nothing of ours is in the kernel until then",
        Error::Kernel(_) | Error::Differs(_) | Error::State(_) => "`gnomon enforce status` tells what is in the kernel now",
        _ => "the kernel was not changed",
    };
    Failure::new(Side::Machine, why, todo)
}

/// Of breaking the glass: what failed may be the removal, or the note that it was wanted.
fn unmarked(why: Error) -> Failure {
    let todo =
        "`nft list table inet gnomon` says whether it is gone; end the enforcer here, or it may come back (systemctl stop gnomon-enforcer)";
    Failure::new(Side::Machine, why, todo)
}
