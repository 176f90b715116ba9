//! `gnomon courier`: fetches signed sets for an enforcer that opens no connection, and carries its reports.

use super::{SettingsFile, begin};
use crate::{config::Config, health};
use clap::Args;
use collector_client::{Connection, Statements, Subject};
use gnomon_sensor::{Join, join};
use launch::{
    DataDir, Exit, Failure, Global, Side,
    handover::{APPLIED, HEALTH, beside, replace},
};
use rules::{observation::Applied, wire::v1::Signed};
use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};
use tokio::sync::{mpsc, watch};

/// Fetches signed sets from a collector into a file, carries the enforcer's reports back, and tells it whether what this host needs
/// still answers. Needs no privileges.
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  gnomon courier --collector https://hq:7412 --token gnomon1.… --sets /run/gnomon/set.json")]
pub struct Options {
    #[command(flatten)]
    pub settings: SettingsFile,
    #[command(flatten)]
    pub join: Join,
    /// The file that the enforcer reads
    #[arg(long, value_name = "FILE")]
    pub sets: PathBuf,
}

/// Runs until a signal.
pub async fn run(options: &Options, global: &Global) -> Result<Exit, Failure> {
    let data = DataDir::take(&global.data())?;
    let settings = Config::load(options.settings.config.as_deref())?;
    let shutdown = begin()?;
    let enrolled = options.join.identity(data.path()).await?;
    let connection = Connection::open(&enrolled).map_err(join::failed)?;
    global.started("courier", &format!("sets from {} to {}", enrolled.url, options.sets.display()))?;
    let (shown, mut sets) = watch::channel::<Option<Arc<Signed>>>(None);
    let (reports, said) = mpsc::channel(4);
    let statements = Statements::begin(data.path(), rules::Timestamp::now()).map_err(join::failed)?;
    let reporting = tokio::spawn(connection.clone().report_all(statements, said));
    tokio::spawn(connection.clone().keep_fresh());
    tokio::spawn(connection.follow(Subject::Decisions, shown, shutdown.clone()));
    let applied = beside(&options.sets, APPLIED);
    let (seen, words) = mpsc::channel(8);
    let (told, mut health) = watch::channel(None);
    if settings.health.enabled {
        tokio::spawn(health::watch(settings.health, host_and_port(&enrolled.url), words, told));
    }
    let answers = beside(&options.sets, HEALTH);
    let mut look = tokio::time::interval(Duration::from_millis(500));
    let mut told = None;
    loop {
        tokio::select! {
            () = shutdown.cancelled() => break,
            Ok(()) = sets.changed() => {
                let set = sets.borrow_and_update().clone();
                if let Some(set) = set {
                    replace(&options.sets, &*set).map_err(|why| unwritable(&options.sets, &why))?;
                }
            }
            Ok(()) = health.changed() => {
                let answer = health.borrow_and_update().clone();
                if let Some(answer) = answer {
                    replace(&answers, &answer).map_err(|why| unwritable(&answers, &why))?;
                }
            }
            _ = look.tick() => {
                if let Some(news) = read_report(&applied).filter(|r| told.as_ref() != Some(r)) {
                    // It may be asking, and hears of the next.
                    drop(seen.try_send(news.clone()));
                    // When there are too many waiting, at the next look.
                    if reports.try_send(news.clone()).is_ok() {
                        told = Some(news);
                    }
                }
            }
        }
    }
    drop(reports);
    drop(tokio::time::timeout(Duration::from_secs(1), reporting).await);
    Ok(Exit::Clear)
}

fn host_and_port(url: &str) -> Option<String> {
    let url = url::Url::parse(url).ok()?;
    Some(format!("{}:{}", url.host_str()?, url.port_or_known_default()?))
}

fn read_report(file: &Path) -> Option<Applied> {
    serde_json::from_slice(&fs::read(file).ok()?).ok()
}

fn unwritable(file: &Path, why: &io::Error) -> Failure {
    Failure::new(Side::Machine, format!("cannot write {}: {why}", file.display()), "choose a file this user may write: --sets FILE")
}
