//! `gnomon up`: every role in one process, on defaults, connected by channels.

mod events;
mod roles;
mod screen;

use crate::{
    config::Config,
    failure::{Exit, Failure},
    out,
    role::collector::Recover,
    stop,
};
use clap::Args;
use events::{Event, Scribe};
use ipnet::IpNet;
use launch::{DataDir, Global};
use roles::Roles;
use rules::endpoint::Endpoint;
use std::{net::SocketAddr, path::PathBuf, time::Duration};
use tokio_util::sync::CancellationToken;

/// Watches passively, reads this host, and blocks nothing (dry run). It asks no address that was not named with --probe.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  sudo gnomon up                              all of it
  gnomon up                                   what runs without privileges; it says what is off and why
  sudo gnomon up --probe 10.0.0.0/24          also ask these addresses: now, then weekly
  gnomon up --config gnomon.toml --data ./state

The first Ctrl-C ends it and loses nothing, the second ends it at once.
Exit codes: 0 ended as asked, 1 a part had failed, 2 it could not start.")]
pub struct Options {
    /// Settings; `gnomon config defaults` prints them all
    #[arg(long, value_name = "FILE", env = "GNOMON_CONFIG", hide_env_values = true)]
    pub config: Option<PathBuf>,
    /// Ask these addresses, again and again: networks, ranges or names
    #[arg(long, value_name = "CIDR", value_delimiter = ',', env = "GNOMON_PROBE", hide_env_values = true)]
    pub probe: Vec<String>,
    /// Watch only this interface; may be given more than once
    #[arg(long, value_name = "NAME")]
    pub interface: Vec<String>,
    /// Where agents come from: whom a block would bind
    #[arg(long, value_name = "CIDR", value_delimiter = ',', env = "GNOMON_AGENTS", hide_env_values = true)]
    pub agents: Vec<IpNet>,
    /// Admin API and status page, on loopback [default: 127.0.0.1:7411]
    #[arg(long, value_name = "ADDR", env = "GNOMON_ADMIN", hide_env_values = true)]
    pub admin: Option<SocketAddr>,
    /// Also take in remote sensors, over HTTPS with client certificates [default: off]
    #[arg(long, value_name = "ADDR", env = "GNOMON_INTAKE", hide_env_values = true)]
    pub intake: Option<SocketAddr>,
    /// Where the gateway listens [default: 127.0.0.1:7413]
    #[arg(long, value_name = "ADDR", env = "GNOMON_GATEWAY", hide_env_values = true)]
    pub gateway: Option<SocketAddr>,
    #[command(flatten)]
    pub recover: Recover,
}

/// How long the roles may take to end, and the collector after them.
const ROLES_END: Duration = Duration::from_millis(1500);
const COLLECTOR_END: Duration = Duration::from_secs(3);

pub fn run(options: &Options, global: &Global) -> Result<Exit, Failure> {
    let config = merged(options)?;
    let data = DataDir::take(&global.data())?;
    launch::block_on(live(config, &data, global.json))
}

/// The file, and over it what the command line says.
fn merged(options: &Options) -> Result<Config, Failure> {
    let mut config = Config::load(options.config.as_deref())?;
    config.sensor.probe.scan.targets.extend(options.probe.iter().cloned());
    config.sensor.capture.interfaces.extend(options.interface.iter().cloned());
    config.collector.policy.agents.extend(options.agents.iter().copied());
    config.collector.admin = options.admin.unwrap_or(config.collector.admin);
    config.collector.intake = options.intake.or(config.collector.intake);
    config.gateway.listen = options.gateway.unwrap_or(config.gateway.listen);
    config.collector.beginning = options.recover.beginning();
    if options.config.is_none() {
        // Nobody set anything up: whoever runs this reads its lines and answers for this machine, so a line is a notice.
        config.collector.notify.log.counts = true;
    }
    // What is ours is neither a finding nor ever blocked.
    let ours = [Some(config.gateway.listen), Some(config.collector.admin), config.collector.intake];
    config.collector.protect.extend(ours.into_iter().flatten().map(|a| Endpoint::new(a.ip(), a.port())));
    Ok(config)
}

async fn live(config: Config, data: &DataDir, json: bool) -> Result<Exit, Failure> {
    gnomon_sensor::install_crypto();
    let shutdown = CancellationToken::new();
    stop::on_signal(shutdown.clone())?;
    let (mut roles, mut news) = Roles::start(config, data.path(), shutdown.clone()).await?;
    screen::show(&roles.started, json)?;
    let mut scribe = Scribe::open(&roles.started).await?;
    let mut failed = false;
    loop {
        let event = tokio::select! {
            // Whoever ends because we were asked to is no news.
            biased;
            () = shutdown.cancelled() => break,
            Some(evidence) = news.recv() => Event::Seen(Box::new(evidence)),
            Some(ended) = roles.next_ended() => Event::Ended(ended),
            journal = scribe.journal() => Event::Journal(journal),
        };
        failed |= matches!(event, Event::Ended(_));
        for line in scribe.lines(event) {
            // Nobody reads any more: the work goes on, it is kept in the journal.
            drop(if json { out::object(&line) } else { out::line(&line) });
        }
    }
    let late = roles.end(ROLES_END, COLLECTOR_END).await;
    screen::farewell(&late, json)?;
    Ok(Exit::found(failed || !late.is_empty()))
}
