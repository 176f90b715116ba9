//! `gnomon policy`: what a site wants, as it is and as it shall be.

use crate::{
    api::Access,
    failure::{Exit, Failure, Side},
    out::{self, DIM},
};
use clap::{Args, Subcommand};
use launch::Global;
use rules::policy::Policy;
use serde_json::{Map, Value};

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  gnomon policy show
  gnomon policy set mode=hard grace=14d
  gnomon policy set agents=10.1.0.0/16,2001:db8:1::/64 corroboration=sensor
  gnomon policy set hard_from=2026-12-01T00:00:00Z max_new_blocks=10

Every key and what it means: gnomon config defaults, section [policy]. What is set here goes before the configuration, and each
change is in the journal.")]
pub struct Options {
    #[command(flatten)]
    pub access: Access,
    /// Whose policy [default: the collector's own site]
    #[arg(long, global = true, value_name = "SITE")]
    pub site: Option<String>,
    #[command(subcommand)]
    pub command: Option<Command>,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// The policy in force
    Show,
    /// Change some of its keys; lists are separated by commas, `none` unsets
    Set {
        #[arg(required = true, value_name = "KEY=VALUE")]
        keys: Vec<String>,
    },
}

pub fn run(options: &Options, global: &Global) -> Result<Exit, Failure> {
    let site = options.site.as_deref();
    let policy = super::with(&options.access, global, async |api| {
        let policy = api.policy(site).await?;
        match &options.command {
            None | Some(Command::Show) => Ok(policy),
            Some(Command::Set { keys }) => api.set_policy(site, &changed(&policy, keys)?).await,
        }
    })?;
    if global.json {
        out::object(&policy)?;
    } else {
        let width = 20;
        let line = |(key, value): (&String, &Value)| out::line(format!("{DIM}{key:<width$}{DIM:#}  {}", shown(value)));
        object(&policy).iter().try_for_each(line)?;
    }
    Ok(Exit::Clear)
}

fn object(policy: &Policy) -> Map<String, Value> {
    match serde_json::to_value(policy) {
        Ok(Value::Object(map)) => map,
        // A policy is a struct with string keys.
        _ => Map::new(),
    }
}

fn shown(value: &Value) -> String {
    match value {
        Value::Null => "none".to_owned(),
        Value::String(text) => text.clone(),
        Value::Array(list) if list.is_empty() => "none".to_owned(),
        Value::Array(list) => list.iter().map(shown).collect::<Vec<_>>().join(","),
        other => other.to_string(),
    }
}

/// The policy with these keys set. A value is read as its key's type is.
fn changed(policy: &Policy, keys: &[String]) -> Result<Policy, Failure> {
    let mut map = object(policy);
    for pair in keys {
        let (key, value) =
            pair.split_once('=').ok_or_else(|| wrong(format!("`{pair}` is not KEY=VALUE"), "write mode=hard, for example"))?;
        let names: Vec<String> = map.keys().cloned().collect();
        let Some(old) = map.get_mut(key) else {
            let like = names.iter().max_by_key(|n| (strsim::jaro_winkler(n, key) * 1000.0) as u32).cloned().unwrap_or_default();
            return Err(wrong(format!("a policy has no `{key}`"), &format!("did you mean `{like}`? `gnomon policy show` lists them all")));
        };
        *old = match old {
            Value::Array(_) if value == "none" => Value::Array(Vec::new()),
            Value::Array(_) if value.starts_with('[') => serde_json::from_str(value)
                .map_err(|why| wrong(format!("`{key}` is no list in JSON: {why}"), "a,b and [\"a\", \"b\"] are the same"))?,
            Value::Array(_) => value.split(',').map(str::trim).map(|v| v.parse::<u64>().map_or_else(|_| v.into(), Value::from)).collect(),
            Value::Number(_) => value.parse::<u64>().map_or_else(|_| Value::from(value), Value::from),
            _ if value == "none" => Value::Null,
            _ => Value::from(value),
        };
    }
    serde_json::from_value(Value::Object(map))
        .map_err(|why| wrong(why.to_string(), "`gnomon config defaults` shows how each key is written"))
}

fn wrong(what: String, todo: &str) -> Failure {
    Failure::new(Side::CommandLine, what, todo)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rules::{period::Period, policy::Mode};

    fn set(keys: &[&str]) -> Result<Policy, String> {
        let keys: Vec<String> = keys.iter().map(|k| (*k).to_owned()).collect();
        changed(&Policy::default(), &keys).map_err(|why| why.to_string())
    }

    #[test]
    fn each_kind_of_key_can_be_set_and_lists_unset() {
        let keys = ["mode=hard", "grace=14d", "agents=10.1.0.0/16, 2001:db8::/64", "max_new_blocks=3", "hard_from=2026-12-01T00:00:00Z"];
        let policy = set(&keys).unwrap();
        assert_eq!(
            (policy.mode, policy.grace.period, policy.agents.len(), policy.blocking.max_new_blocks),
            (Mode::Hard, Period::days(14), 2, 3)
        );
        assert!(policy.grace.hard_from.is_some());
        assert!(set(&["reminders=none"]).unwrap().grace.reminders.is_empty());
        assert_eq!(set(&["waves=5,50"]).unwrap().fleet.waves, [5, 50]);
        assert_eq!(set(&[r#"groups=[{"servers": ["10.1.0.0/16"], "points": ["dc1"]}]"#]).unwrap().fleet.groups.len(), 1);
        assert_eq!(set(&["reminders=7d,1d"]).unwrap().grace.reminders, [Period::days(7), Period::days(1)]);
    }

    #[test]
    fn what_is_wrong_is_said_with_what_to_do() {
        assert!(set(&["mod=hard"]).unwrap_err().contains("`mode`"));
        assert!(set(&["mode=brutal"]).unwrap_err().contains("brutal"));
        assert!(set(&["max_new_blocks=many"]).is_err());
        assert!(set(&["mode"]).unwrap_err().contains("KEY=VALUE"));
    }
}
