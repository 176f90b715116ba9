//! One sensor as a process: what `gnomon-sensor`, `gnomon sensor` and `gnomon up` start.

pub mod join;
pub mod settings;

pub use join::Join;

use clap::Args;
use collector_client::Connection;
use launch::{DataDir, Exit, Failure, Global, Side, block_on, stop};
use sensor::Uplink;
use std::path::{Path, PathBuf};
use tokio_util::sync::CancellationToken;

/// Sees packets and this host, asks the addresses that are named, and reports to a collector.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  gnomon sensor --collector https://hq:7412 --token gnomon1.…    the first time
  gnomon sensor                                                  from then on
Observations are kept on disk until the collector has them. The executable gnomon-sensor takes the same options.")]
pub struct Options {
    /// Settings; `gnomon config defaults` prints them all
    #[arg(long, value_name = "FILE", env = "GNOMON_CONFIG", hide_env_values = true)]
    pub config: Option<PathBuf>,
    #[command(flatten)]
    pub join: Join,
    /// Ask these addresses, again and again: networks, ranges or names
    #[arg(long, value_name = "CIDR", value_delimiter = ',', env = "GNOMON_PROBE", hide_env_values = true)]
    pub probe: Vec<String>,
    /// Watch only this interface; may be given more than once
    #[arg(long, value_name = "NAME")]
    pub interface: Vec<String>,
}

/// Runs until a signal.
pub fn run(options: &Options, global: &Global, config: sensor::Config) -> Result<Exit, Failure> {
    let data = DataDir::take(&global.data())?;
    block_on(report(options, global, config, data.path()))
}

async fn report(options: &Options, global: &Global, config: sensor::Config, data: &Path) -> Result<Exit, Failure> {
    install_crypto();
    let shutdown = CancellationToken::new();
    stop::on_signal(shutdown.clone())?;
    let mut config = settings::home(config, data);
    config.probe.scan.targets.extend(options.probe.iter().cloned());
    config.capture.interfaces.extend(options.interface.iter().cloned());
    if config.reset.enabled {
        // Asked for and not able to: better said at once than in a log.
        config.reset.ready().map_err(|why| Failure::new(Side::Configuration, why, "see [sensor.reset] in `gnomon config defaults`"))?;
    }
    let enrolled = options.join.identity(data).await?;
    config.name.clone_from(&enrolled.name);
    let uplink = Uplink::Https(Box::new(Connection::open(&enrolled).map_err(join::failed)?));
    let resets = if config.reset.enabled { "; reactive reset is on (best effort, no enforcement)" } else { "" };
    global.started("sensor", &format!("`{}` of site `{}` reports to {}{resets}", enrolled.name, enrolled.site, enrolled.url))?;
    start(config, uplink, shutdown).await.map(|()| Exit::Clear)
}

/// The sensor itself, until `shutdown`.
pub async fn start(config: sensor::Config, uplink: Uplink, shutdown: CancellationToken) -> Result<(), Failure> {
    let todo = "free or repair what it names, then start it again; nothing that was stored is lost";
    sensor::run(config, uplink, shutdown).await.map_err(|why| Failure::new(Side::Machine, why, todo))
}

/// One crypto provider for every role of this process. Idempotent: the first one stays.
pub fn install_crypto() {
    drop(rustls::crypto::ring::default_provider().install_default());
}
