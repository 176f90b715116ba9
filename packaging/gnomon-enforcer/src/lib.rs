//! One enforcement point as a process: what `gnomon-enforcer`, `gnomon enforcer` and `gnomon up` start.
//!
//! Signed sets arrive in a file that `gnomon courier` writes; reports go into a file beside it.

pub mod health;
pub mod memory;
mod point;
pub mod settings;

pub use point::{Links, Point};
pub use settings::Settings;

use clap::Args;
use enforcer::{Mode, follow};
use launch::{
    DataDir, Exit, Failure, Global, Side, block_on,
    handover::{self, APPLIED, HEALTH, beside},
    out, stop,
};
use rules::observation::Applied;
use std::{
    path::{Path, PathBuf},
    time::Duration,
};
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

/// Makes nftables match the signed sets that arrive in a file; it opens no connection.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  gnomon enforcer --sets /run/gnomon/set.json --trust KEY             dry run
  gnomon enforcer --sets /run/gnomon/set.json --trust KEY --enforce
`gnomon courier` keeps the file up to date, without privileges. Its FILE.health says whether the services that this host needs
still answer; until it says so, new blocks have a short lease. `[health] enabled = false` does without.
The executable gnomon-enforcer takes the same options.")]
pub struct Options {
    /// Settings; `gnomon config defaults` prints them all
    #[arg(long, value_name = "FILE", env = "GNOMON_CONFIG", hide_env_values = true)]
    pub config: Option<PathBuf>,
    /// The file in which signed sets arrive; the report on each goes into FILE.applied beside it
    #[arg(long, value_name = "FILE")]
    pub sets: Option<PathBuf>,
    /// The collector's public key that signs decision sets (`gnomon tokens issue --role enforcer` prints it)
    #[arg(long, value_name = "KEY")]
    pub trust: Vec<String>,
    /// Change the firewall; otherwise plan and check only
    #[arg(long)]
    pub enforce: bool,
}

/// How often the files are looked at.
const LOOK_AT_SETS: Duration = Duration::from_millis(500);
const LOOK_AT_HEALTH: Duration = Duration::from_millis(200);

/// Runs until a signal.
pub fn run(options: &Options, global: &Global, settings: Settings) -> Result<Exit, Failure> {
    let data = DataDir::take(&global.data())?;
    let mut config = settings::home(settings.enforcer, data.path());
    config.trusted_keys.extend(options.trust.iter().cloned());
    launch::settings::trusted(&config.trusted_keys, "enforcer")?;
    let Some(file) = options.sets.clone().or_else(|| config.sets.clone()) else {
        let what = "an enforcer needs the file in which signed sets arrive";
        return Err(Failure::new(Side::CommandLine, what, "give --sets FILE, and let `gnomon courier --sets FILE` fill it"));
    };
    if options.enforce {
        config.mode = Mode::Enforce;
    }
    config.sets = Some(file.clone());
    let confined = config.confine;
    let point = Point::prepare(config, data.path())?;
    // Before there is a second thread: a thread takes its bounds from the one that makes it.
    if confined {
        out::note(point.confine());
    }
    block_on(obey(point, file, settings.health.enabled, global))
}

async fn obey(point: Point, file: PathBuf, health_enabled: bool, global: &Global) -> Result<Exit, Failure> {
    let shutdown = CancellationToken::new();
    stop::on_signal(shutdown.clone())?;
    let mode = if point.config().mode == Mode::Enforce { "enforces" } else { "dry run of" };
    global.started("enforcer", &format!("{mode} the sets in {}", file.display()))?;
    let (shown, sets) = mpsc::channel(1);
    let (reports, made) = mpsc::channel(64);
    let following = tokio::spawn(follow::follow(file.clone(), shown, LOOK_AT_SETS, |why| tracing::warn!("{why}")));
    let writing = tokio::spawn(write_reports(made, beside(&file, APPLIED)));
    let (told, health) = watch::channel(None);
    let asking = health_enabled.then(|| {
        let answers = point.config().health.clone().unwrap_or_else(|| beside(&file, HEALTH));
        tokio::spawn(follow::follow_health(answers, told, LOOK_AT_HEALTH, |why| tracing::warn!("{why}")))
    });
    let health = asking.as_ref().map(|_| health);
    let ended = point.run(Links { sets, health, reports }, shutdown).await;
    following.abort();
    if let Some(asking) = asking {
        asking.abort();
    }
    drop(writing.await);
    ended.map(|()| Exit::Clear)
}

async fn write_reports(mut made: mpsc::Receiver<Applied>, file: PathBuf) {
    while let Some(applied) = made.recv().await {
        write_report(&file, &applied);
    }
}

fn write_report(file: &Path, applied: &Applied) {
    if let Err(why) = handover::replace(file, applied) {
        tracing::warn!(%why, file = %file.display(), "a report could not be written");
    }
}
