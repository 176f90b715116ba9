//! One role in a process of its own, with just the privileges it needs: `gnomon sensor`, `collector`, `gateway`, `enforcer`,
//! and `courier`, which fetches for an enforcer that has no network.

mod enforcement;

pub use enforcement::{CourierOptions, Enforcer, courier, enforcer};

use crate::{
    cli::Global,
    config::Config,
    data::Held,
    failure::{Exit, Failure, Side},
    out, stop, wiring,
};
use clap::Args;
use collector::Beginning;
use collector_client::{Connection, Identity, Subject};
use sensor::Uplink;
use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use url::Url;

/// What every role takes.
#[derive(Debug, Args)]
pub struct Common {
    /// Settings; `gnomon config defaults` prints them all
    #[arg(long, value_name = "FILE", env = "GNOMON_CONFIG", hide_env_values = true)]
    pub config: Option<PathBuf>,
}

/// How to become known to a collector elsewhere.
#[derive(Debug, Args)]
pub struct Join {
    /// The collector's intake, such as https://collector.corp.example:7412
    #[arg(long, value_name = "URL", env = "GNOMON_COLLECTOR", hide_env_values = true)]
    pub collector: Option<Url>,
    /// A join token from `gnomon tokens issue`; needed once, then the data directory holds a certificate
    #[arg(long, value_name = "TOKEN", env = "GNOMON_JOIN_TOKEN", hide_env_values = true)]
    pub token: Option<String>,
}

/// The answers to a start that was refused since something of before is missing. For one start; they are not for unit files.
#[derive(Debug, Default, Args)]
#[group(multiple = false)]
pub struct Recover {
    /// Go back to this snapshot of the database
    #[arg(long, value_name = "SNAPSHOT", help_heading = "After a loss")]
    pub restore: Option<PathBuf>,
    /// Begin with an empty database where it was lost
    #[arg(long, help_heading = "After a loss")]
    pub new_site: bool,
    /// Accept that the signing or CA key is another one
    #[arg(long, help_heading = "After a loss")]
    pub new_keys: bool,
}

impl Recover {
    pub fn beginning(&self) -> Beginning {
        match &self.restore {
            Some(from) => Beginning::Restore(from.clone()),
            None if self.new_site => Beginning::NewSite,
            None if self.new_keys => Beginning::NewKeys,
            None => Beginning::AsLeft,
        }
    }
}

/// Sees packets and this host, asks what it was told to ask, and reports to a collector.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  gnomon sensor --collector https://hq:7412 --token gnomon1.…    the first time
  gnomon sensor                                                  from then on
What was seen is kept on disk until the collector has it.")]
pub struct Sensor {
    #[command(flatten)]
    pub common: Common,
    #[command(flatten)]
    pub join: Join,
    /// Ask these addresses, again and again: networks, ranges or names
    #[arg(long, value_name = "CIDR", value_delimiter = ',', env = "GNOMON_PROBE", hide_env_values = true)]
    pub probe: Vec<String>,
    /// Watch only this interface; may be given more than once
    #[arg(long, value_name = "NAME")]
    pub interface: Vec<String>,
}

/// Keeps inventory, registry, clocks and journal, tells people, signs decisions.
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  gnomon collector --listen 0.0.0.0:7412 --name collector.corp.example")]
pub struct Collector {
    #[command(flatten)]
    pub common: Common,
    /// Take in remote sensors, enforcers and gateways here, over HTTPS with client certificates [default: off]
    #[arg(long, value_name = "ADDR", env = "GNOMON_INTAKE", hide_env_values = true)]
    pub listen: Option<SocketAddr>,
    /// A name or address they reach it by, for its certificate; may be given more than once
    #[arg(long = "name", value_name = "NAME")]
    pub names: Vec<String>,
    /// Admin API and status page, on loopback [default: 127.0.0.1:7411]
    #[arg(long, value_name = "ADDR", env = "GNOMON_ADMIN", hide_env_values = true)]
    pub admin: Option<SocketAddr>,
    #[command(flatten)]
    pub recover: Recover,
}

/// Lets tool calls through to registered servers, with a permit and a record of each.
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  gnomon gateway --collector https://hq:7412 --token gnomon1.… --trust KEY --listen 0.0.0.0:7413")]
pub struct Gateway {
    #[command(flatten)]
    pub common: Common,
    #[command(flatten)]
    pub join: Join,
    /// The collector's public key that signs bundles (`gnomon tokens issue --role gateway` prints it)
    #[arg(long, value_name = "KEY")]
    pub trust: Vec<String>,
    /// Where clients connect [default: 127.0.0.1:7413]
    #[arg(long, value_name = "ADDR", env = "GNOMON_GATEWAY", hide_env_values = true)]
    pub listen: Option<SocketAddr>,
}

pub async fn sensor(options: &Sensor, global: &Global) -> Result<Exit, Failure> {
    let held = Held::take(&global.data())?;
    let shutdown = begin()?;
    let mut config = Config::load(options.common.config.as_deref())?.sensor_at(held.path());
    config.probe.scan.targets.extend(options.probe.iter().cloned());
    config.capture.interfaces.extend(options.interface.iter().cloned());
    if config.reset.enabled {
        // Asked for and not able to: better said at once than in a log.
        config.reset.ready().map_err(|why| Failure::new(Side::Configuration, why, "see [sensor.reset] in `gnomon config defaults`"))?;
    }
    let enrolled = join(&options.join, held.path()).await?;
    config.name.clone_from(&enrolled.name);
    let uplink = Uplink::Https(Box::new(Connection::open(&enrolled).map_err(wiring::client_failed)?));
    let resets = if config.reset.enabled { "; reactive reset is on (best effort, no enforcement)" } else { "" };
    say(global, "sensor", &format!("`{}` of site `{}` reports to {}{resets}", enrolled.name, enrolled.site, enrolled.url))?;
    let ended = sensor::run(config, uplink, shutdown).await;
    let todo = "free or repair what it names, then start it again; nothing that was stored is lost";
    ended.map(|()| Exit::Clear).map_err(|why| Failure::new(Side::Machine, why, todo))
}

pub async fn collector(options: &Collector, global: &Global) -> Result<Exit, Failure> {
    let held = Held::take(&global.data())?;
    let shutdown = begin()?;
    let mut config = Config::load(options.common.config.as_deref())?.collector_at(held.path());
    config.intake = options.listen.or(config.intake);
    config.admin = options.admin.unwrap_or(config.admin);
    config.names.extend(options.names.iter().cloned());
    config.beginning = options.recover.beginning();
    let running = collector::start(config, shutdown).await.map_err(wiring::collector_failed)?;
    wiring::remember_keys(held.path(), std::slice::from_ref(&running.handle().verifying_key().public_key))?;
    let intake =
        running.intake_address().map_or_else(|| "takes in nobody (--listen ADDR)".to_owned(), |a| format!("intake at https://{a}"));
    let token = held.path().join("admin.token");
    say(global, "collector", &format!("admin API at http://{} (token in {}); {intake}", running.admin_address(), token.display()))?;
    running.wait().await.map(|()| Exit::Clear).map_err(wiring::collector_failed)
}

pub async fn gateway(options: &Gateway, global: &Global) -> Result<Exit, Failure> {
    let held = Held::take(&global.data())?;
    let shutdown = begin()?;
    let mut config = Config::load(options.common.config.as_deref())?.gateway_at(held.path());
    config.listen = options.listen.unwrap_or(config.listen);
    config.bundle_keys.extend(options.trust.iter().cloned());
    trusted(&config.bundle_keys, "gateway")?;
    let enrolled = join(&options.join, held.path()).await?;
    let (shown, bundle) = watch::channel(None);
    let connection = Connection::open(&enrolled).map_err(wiring::client_failed)?;
    tokio::spawn(connection.clone().keep_fresh());
    tokio::spawn(connection.follow(Subject::Bundle, shown, shutdown.clone()));
    let running = gateway::start(config, bundle, shutdown).await.map_err(wiring::gateway_failed)?;
    say(global, "gateway", &format!("calls at http://{}/mcp/v1/tools/<slug>/rpc; bundles from {}", running.address(), enrolled.url))?;
    running.wait().await.map(|()| Exit::Clear).map_err(wiring::gateway_failed)
}

fn begin() -> Result<CancellationToken, Failure> {
    crate::install_crypto();
    let shutdown = CancellationToken::new();
    stop::on_signal(shutdown.clone())?;
    Ok(shutdown)
}

fn say(global: &Global, role: &str, text: &str) -> Result<(), Failure> {
    if global.json {
        return out::object(&serde_json::json!({"event": "started", "role": role, "says": text, "pid": std::process::id()}));
    }
    out::line(format!("{role}: {text}"))
}

/// The identity this data directory holds, or a new one: also when it has expired and there is a token.
async fn join(join: &Join, data: &Path) -> Result<Identity, Failure> {
    let known = Identity::load(data).map_err(wiring::client_failed)?;
    let url = join.collector.as_ref().map(Url::as_str);
    let expired = match &known {
        Some(known) => known.expired(rules::Timestamp::now()).map_err(wiring::client_failed)?,
        None => false,
    };
    match (known, url, &join.token) {
        (Some(known), url, Some(token)) if expired => {
            collector_client::join(url.unwrap_or(&known.url), token, data).await.map_err(wiring::client_failed)
        }
        (Some(known), None, _) => Ok(known),
        (Some(known), Some(url), token) if known.url == url.trim_end_matches('/') => {
            if token.is_some() {
                out::note(format!("{} holds an identity (`{}`) already: the token is not used", data.display(), known.name));
            }
            Ok(known)
        }
        (_, Some(url), Some(token)) => collector_client::join(url, token, data).await.map_err(wiring::client_failed),
        _ => Err(Failure::new(
            Side::CommandLine,
            format!("{} holds no identity for this collector", data.display()),
            "ask whoever runs it for a join token (gnomon tokens issue), then give --collector URL --token TOKEN",
        )),
    }
}

/// A role that trusts no key would refuse everything it is given; better to say so at once.
fn trusted(keys: &[String], role: &str) -> Result<(), Failure> {
    if keys.iter().any(|k| !k.trim().is_empty()) {
        return Ok(());
    }
    let todo = format!("give --trust KEY; `gnomon tokens issue --role {role}` at the collector prints it");
    Err(Failure::new(Side::CommandLine, format!("this {role} trusts nobody: no key is given that may sign for it"), todo))
}
