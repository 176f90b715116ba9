//! What this machine has and lacks for each role, and what to do about it. Changes nothing.

mod checks;
mod kernel;
mod packs;
mod places;
mod reset;

use crate::{
    config::Config,
    failure::{Exit, Failure},
    out::{self, DIM, ERROR, GOOD, WARN},
    role::SettingsFile,
};
use clap::{Args, ValueEnum};
use launch::Global;
use serde::Serialize;

/// Looks only at this machine, unless --collector names one to reach.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  gnomon doctor                  what `gnomon up` would miss here
  gnomon doctor sensor           what a sensor needs
  gnomon doctor --json | jq 'select(.state != \"ok\")'

Exit codes: 0 nothing needed is missing, 1 something needed is, 2 error.")]
pub struct Options {
    /// For which role to judge what is needed
    #[arg(value_enum, default_value_t = Role::Up)]
    pub role: Role,
    #[command(flatten)]
    pub settings: SettingsFile,
    /// A collector to reach, for example https://collector.corp.example:7412
    #[arg(long, value_name = "URL")]
    pub collector: Option<url::Url>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Role {
    Up,
    Demo,
    Sensor,
    Collector,
    Enforcer,
    Gateway,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Readiness {
    Ok,
    /// Something runs without it, with a part turned off.
    Lacking,
    /// The role asked about cannot run without it.
    Missing,
}

/// One line of the report.
#[derive(Clone, Debug, Serialize)]
pub struct Finding {
    pub name: &'static str,
    pub state: Readiness,
    /// What was found.
    pub found: String,
    /// What to do, when something is not right.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub todo: Option<String>,
}

impl Finding {
    fn ok(name: &'static str, found: impl Into<String>) -> Finding {
        Finding { name, state: Readiness::Ok, found: found.into(), todo: None }
    }

    /// `needed`: whether the role asked about cannot run without it.
    fn lacking(name: &'static str, needed: bool, found: impl Into<String>, todo: impl Into<String>) -> Finding {
        let state = if needed { Readiness::Missing } else { Readiness::Lacking };
        Finding { name, state, found: found.into(), todo: Some(todo.into()) }
    }
}

pub fn run(options: &Options, global: &Global) -> Result<Exit, Failure> {
    let config = Config::load(options.settings.config.as_deref())?;
    let findings = examine(options, &config, global);
    for f in &findings {
        if global.json {
            out::object(f)?;
        } else {
            print(f)?;
        }
    }
    let missing = findings.iter().filter(|f| f.state == Readiness::Missing).count();
    if !global.json {
        let role = options.role.to_possible_value().map_or_else(String::new, |v| v.get_name().to_owned());
        out::line(match missing {
            0 => format!("\n{GOOD}`gnomon {role}` can run here.{GOOD:#}"),
            n => format!("\n{ERROR}`gnomon {role}` cannot run here: {n} needed.{ERROR:#}"),
        })?;
    }
    Ok(Exit::found(missing > 0))
}

fn examine(options: &Options, config: &Config, global: &Global) -> Vec<Finding> {
    let role = options.role;
    let mut all = vec![checks::libpcap(role), checks::nft(role), checks::ip(role)];
    all.extend(kernel::capabilities(role));
    all.extend([kernel::release(), kernel::nf_tables(role), kernel::user_namespaces(role), places::clock()]);
    all.extend(kernel::confinement(role));
    all.extend(places::data_dir(role, &global.data()));
    all.extend(places::ports(role, &global.data()));
    all.extend(packs::in_force(role, config.collector.packs.as_deref()));
    all.extend(reset::best_effort(role, &config.sensor.reset));
    all.extend(options.collector.as_ref().map(places::collector));
    all
}

fn print(f: &Finding) -> Result<(), Failure> {
    let (style, word) = match f.state {
        Readiness::Ok => (GOOD, "ok"),
        Readiness::Lacking => (WARN, "lacks"),
        Readiness::Missing => (ERROR, "NEEDS"),
    };
    out::line(format!("{style}{word:<6}{style:#} {:<24} {}", f.name, f.found))?;
    match &f.todo {
        Some(todo) => out::line(format!("{:<31} {DIM}→{DIM:#} {todo}", "")),
        None => Ok(()),
    }
}
