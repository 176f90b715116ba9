//! `gnomon sensors` and `gnomon tokens`: who reports, and how another one joins.

use crate::{
    api::Access,
    failure::{Exit, Failure},
    out::{self, DIM, WARN},
    table::{Table, ago, moment},
};
use clap::{Args, Subcommand, ValueEnum};
use launch::Global;
use rules::period::Period;
use serde_json::{Value, json};

#[derive(Debug, Args)]
pub struct Options {
    #[command(flatten)]
    pub access: Access,
    #[command(subcommand)]
    pub command: Option<Command>,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// All that report, what they see and what they miss
    List,
    /// A certificate counts no more, from the next request on
    Revoke { name: String },
}

/// A join token is good for one enrolment and one hour, unless said otherwise, and is swapped for a client certificate.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  gnomon tokens issue                                     for a sensor
  gnomon tokens issue --role gateway --name gw-1 --ttl 1d
  gnomon sensor --collector https://hq:7412 --token gnomon1.…   on the other machine")]
pub struct Tokens {
    #[command(flatten)]
    pub access: Access,
    #[command(subcommand)]
    pub command: TokenCommand,
}

#[derive(Debug, Subcommand)]
pub enum TokenCommand {
    /// A new token; it is shown once
    Issue {
        #[arg(long, value_enum, default_value_t = Role::Sensor)]
        role: Role,
        /// The name whoever joins will have
        #[arg(long)]
        name: Option<String>,
        #[arg(long)]
        site: Option<String>,
        /// How long it can be used
        #[arg(long, default_value = "1h", value_name = "TIME")]
        ttl: Period,
        /// How often
        #[arg(long, default_value_t = 1)]
        uses: u32,
    },
    /// Tokens that can still be used, by their hash
    List,
    /// A token can be used no more
    Withdraw { hash: String },
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum Role {
    Sensor,
    Enforcer,
    Gateway,
}

pub fn tokens(options: &Tokens, global: &Global) -> Result<Exit, Failure> {
    super::with(&options.access, global, async |api| {
        match &options.command {
            TokenCommand::Issue { role: role_asked, name, site, ttl, uses } => {
                let role = role_asked.to_possible_value().map(|v| v.get_name().to_owned());
                let ask = json!({"role": role, "name": name, "site": site, "ttl": ttl, "uses": uses});
                let answer = api.issue_token(&ask).await?;
                if global.json {
                    out::object(&answer)?;
                } else {
                    issued(&answer, *uses, *ttl)?;
                    if !matches!(*role_asked, Role::Sensor) {
                        let key = api.verifying_key().await?;
                        out::note(format!("{DIM}it must trust the key that signs here:{DIM:#} --trust {key}"));
                    }
                }
            }
            TokenCommand::List => open(&api.tokens().await?, global.json)?,
            TokenCommand::Withdraw { hash } => {
                api.withdraw_token(hash).await?;
                if global.json { out::object(&json!({"hash": hash, "state": "withdrawn"}))? } else { out::line("withdrawn")? }
            }
        }
        Ok(Exit::Clear)
    })
}

fn issued(answer: &Value, uses: u32, ttl: Period) -> Result<(), Failure> {
    out::line(text(answer, "token"))?;
    out::note(format!("{DIM}shown this once; good for {uses} enrolment(s) within {ttl}{DIM:#}"));
    if answer.get("intake").is_none_or(Value::is_null) {
        out::note(format!("{WARN}this collector takes in nobody yet{WARN:#}: start it with --intake ADDR, such as 0.0.0.0:7412"));
    }
    Ok(())
}

fn open(tokens: &[Value], json: bool) -> Result<(), Failure> {
    if json {
        return tokens.iter().try_for_each(out::object);
    }
    let mut table = Table::new(&["HASH", "ROLE", "SITE", "NAME", "USES LEFT", "UNTIL"]);
    for t in tokens {
        let token = t.get("token").unwrap_or(&Value::Null);
        let left = token.get("uses_left").map(Value::to_string).unwrap_or_default();
        let hash = text(t, "hash").chars().take(12).collect();
        table.row([hash, text(token, "role"), text(token, "site"), text(token, "name"), left, when(token, "expires_at", moment)]);
    }
    table.print("no token is open")
}

fn text(v: &Value, key: &str) -> String {
    v.get(key).and_then(Value::as_str).unwrap_or_default().to_owned()
}

/// A moment in the given form; one that cannot be read as it is.
fn when(v: &Value, key: &str, form: fn(rules::Timestamp) -> String) -> String {
    let said = text(v, key);
    said.parse().map_or(said, form)
}

pub fn run(options: &Options, global: &Global) -> Result<Exit, Failure> {
    super::with(&options.access, global, async |api| {
        match &options.command {
            None | Some(Command::List) => list(&api.sensors().await?, global.json)?,
            Some(Command::Revoke { name }) => {
                api.revoke_sensor(name).await?;
                if global.json {
                    out::object(&json!({"name": name, "state": "revoked"}))?
                } else {
                    out::line(format!("`{name}` is revoked"))?
                }
            }
        }
        Ok(Exit::Clear)
    })
}

fn list(sensors: &[Value], json: bool) -> Result<(), Failure> {
    if json {
        return sensors.iter().try_for_each(out::object);
    }
    let mut table = Table::new(&["NAME", "ROLE", "SITE", "HEARD", "CERTIFICATE UNTIL", "GAPS", "REVOKED"]);
    for s in sensors {
        let local = s.get("local").and_then(Value::as_bool).unwrap_or(false);
        let certificate = if local { "in process".to_owned() } else { when(s, "certificate_until", moment) };
        let gaps = s.get("gaps").map(Value::to_string).unwrap_or_default();
        table.row([text(s, "name"), text(s, "role"), text(s, "site"), when(s, "heard_at", ago), certificate, gaps, text(s, "revoked")]);
    }
    table.print("nobody reports")
}
