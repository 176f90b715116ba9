//! `gnomon collector`, and the collector of `gnomon up`.

use super::{SettingsFile, begin};
use crate::config::Config;
use clap::Args;
use collector::{Beginning, Error, Running};
use gnomon_enforcer::memory;
use launch::{DataDir, Exit, Failure, Global, Side};
use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
};
use tokio_util::sync::CancellationToken;

/// Keeps inventory, registry, clocks and journal, tells people, signs decisions.
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  gnomon collector --listen 0.0.0.0:7412 --name collector.corp.example")]
pub struct Options {
    #[command(flatten)]
    pub settings: SettingsFile,
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

/// Runs until a signal.
pub async fn run(options: &Options, global: &Global) -> Result<Exit, Failure> {
    let data = DataDir::take(&global.data())?;
    let shutdown = begin()?;
    let mut config = Config::load(options.settings.config.as_deref())?.collector_at(data.path());
    config.intake = options.listen.or(config.intake);
    config.admin = options.admin.unwrap_or(config.admin);
    config.names.extend(options.names.iter().cloned());
    config.beginning = options.recover.beginning();
    let running = start(config, data.path(), shutdown).await?;
    let intake =
        running.intake_address().map_or_else(|| "takes in nobody (--listen ADDR)".to_owned(), |a| format!("intake at https://{a}"));
    let token = data.path().join("admin.token");
    let text = format!("admin API at http://{} (token in {}); {intake}", running.admin_address(), token.display());
    global.started("collector", &text)?;
    running.wait().await.map(|()| Exit::Clear).map_err(failed)
}

/// The collector itself. It keeps its public key for `gnomon enforce` on this host.
pub(crate) async fn start(config: collector::Config, data: &Path, shutdown: CancellationToken) -> Result<Running, Failure> {
    let running = collector::start(config, shutdown.clone()).await.map_err(failed)?;
    if let Err(failure) = memory::remember_keys(data, std::slice::from_ref(&running.handle().verifying_key().public_key)) {
        shutdown.cancel();
        drop(running.wait().await);
        return Err(failure);
    }
    Ok(running)
}

/// The place and the repair of each failure to start.
fn failed(why: Error) -> Failure {
    let (side, todo) = match &why {
        Error::Config(_) => (Side::Configuration, "correct it in the [collector] section, or on the command line".to_owned()),
        Error::Secret { .. } => (Side::Machine, "what it says; a copy of the file from a backup is as good".to_owned()),
        Error::Data { .. } => (Side::Machine, "choose a directory you may write to: --data DIR".to_owned()),
        Error::Running(_) => (Side::Machine, "stop the other one, or give this one a directory of its own: --data DIR".to_owned()),
        Error::Listen { .. } => {
            (Side::Machine, "`ss -ltnp` names what listens there; --admin ADDR or --intake ADDR chooses another".to_owned())
        }
        Error::Emptied { newest, .. } => (Side::Machine, lost(newest.as_deref(), "it, or its last copy")),
        Error::Damaged { path, .. } => (Side::Machine, lost(collector::newest_snapshot(path).as_deref(), "a copy of it")),
        Error::Key { .. } => {
            let todo = "put the key back from a backup. If it is lost for good, start once with --new-keys; then every enforcer and \
                        gateway must be told of the new one (--trust), and every sensor must join anew";
            (Side::Machine, todo.to_owned())
        }
        Error::Newer { .. } => (Side::Machine, "install that version; or --restore a snapshot made before it".to_owned()),
        Error::Restore { .. } => (Side::Input, "name another one of `snapshots/` in the data directory".to_owned()),
        _ => (Side::Machine, "look at the log (--log debug); a copy of the data directory helps whoever looks into it".to_owned()),
    };
    Failure::new(side, why, todo)
}

/// A database that is gone or damaged: what there is to go back to, and the way on without it.
fn lost(newest: Option<&Path>, otherwise: &str) -> String {
    let back = newest.map_or_else(
        || format!("put {otherwise} back from a backup"),
        |snapshot| format!("go back to the newest snapshot: --restore {}", snapshot.display()),
    );
    format!(
        "{back}. If a new site is meant, which forgets registrations and starts all clocks anew: --new-site. Either moves aside what is there"
    )
}
