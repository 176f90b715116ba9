//! `gnomon gateway`, and the gateway of `gnomon up`.

use super::{SettingsFile, begin};
use crate::config::Config;
use clap::Args;
use collector_client::{Connection, Subject};
use gateway::{Error, Running};
use gnomon_sensor::{Join, join};
use launch::{DataDir, Exit, Failure, Global, Side, settings};
use rules::wire::v1::Signed;
use std::{io, net::SocketAddr, sync::Arc};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// Lets tool calls through to registered servers, with a permit and a record of each.
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  gnomon gateway --collector https://hq:7412 --token gnomon1.… --trust KEY --listen 0.0.0.0:7413")]
pub struct Options {
    #[command(flatten)]
    pub settings: SettingsFile,
    #[command(flatten)]
    pub join: Join,
    /// The collector's public key that signs bundles (`gnomon tokens issue --role gateway` prints it)
    #[arg(long, value_name = "KEY")]
    pub trust: Vec<String>,
    /// Where clients connect [default: 127.0.0.1:7413]
    #[arg(long, value_name = "ADDR", env = "GNOMON_GATEWAY", hide_env_values = true)]
    pub listen: Option<SocketAddr>,
}

/// Runs until a signal.
pub async fn run(options: &Options, global: &Global) -> Result<Exit, Failure> {
    let data = DataDir::take(&global.data())?;
    let shutdown = begin()?;
    let mut config = Config::load(options.settings.config.as_deref())?.gateway_at(data.path());
    config.listen = options.listen.unwrap_or(config.listen);
    config.bundle_keys.extend(options.trust.iter().cloned());
    settings::trusted(&config.bundle_keys, "gateway")?;
    let enrolled = options.join.identity(data.path()).await?;
    let (shown, bundle) = watch::channel(None);
    let connection = Connection::open(&enrolled).map_err(join::failed)?;
    tokio::spawn(connection.clone().keep_fresh());
    tokio::spawn(connection.follow(Subject::Bundle, shown, shutdown.clone()));
    let running = start(config, bundle, shutdown).await?;
    let text = format!("calls at http://{}/mcp/v1/tools/<slug>/rpc; bundles from {}", running.address(), enrolled.url);
    global.started("gateway", &text)?;
    running.wait().await.map(|()| Exit::Clear).map_err(failed)
}

/// The gateway itself.
pub(crate) async fn start(
    config: gateway::Config,
    bundle: watch::Receiver<Option<Arc<Signed>>>,
    shutdown: CancellationToken,
) -> Result<Running, Failure> {
    gateway::start(config, bundle, shutdown).await.map_err(failed)
}

/// The place and the repair of each failure to start.
fn failed(why: Error) -> Failure {
    let (side, todo) = match &why {
        Error::Listen { source, .. } if source.kind() == io::ErrorKind::AddrInUse => {
            (Side::Machine, "`ss -ltnp` names what listens there; --gateway ADDR chooses another")
        }
        Error::Listen { .. } => (Side::Machine, "choose an address of this machine: --gateway ADDR"),
        Error::Audit { .. } => (Side::Machine, "choose a directory you may write to: --data DIR"),
        _ => (Side::Configuration, "correct it in the [gateway] section"),
    };
    Failure::new(side, why, todo)
}
