//! The enforcer, and the courier that fetches for it: two processes, so that the one that may change the firewall opens no
//! connection.

use super::{Common, Join, begin, join, say, trusted};
use crate::{
    async_main,
    cli::Global,
    config::Config,
    data::Held,
    failure::{Exit, Failure, Side},
    out, wiring,
};
use clap::Args;
use collector_client::{Connection, Statements, Subject};
use ring::rand::{SecureRandom, SystemRandom};
use rules::{observation::Applied, wire::v1::Signed};
use std::{
    fs,
    io::{self, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};
use tokio::sync::{mpsc, watch};

/// Makes nftables match the signed sets that arrive in a file; it opens no connection.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  gnomon enforcer --sets /run/gnomon/set.json --trust KEY             dry run
  gnomon enforcer --sets /run/gnomon/set.json --trust KEY --enforce
`gnomon courier` keeps the file up to date, without privileges, and says in FILE.health whether what this host needs still answers:\nuntil then new blocks have a short lease. `[health] enabled = false` does without.")]
pub struct Enforcer {
    #[command(flatten)]
    pub common: Common,
    /// The file in which signed sets arrive; what was applied is written beside it, to FILE.applied
    #[arg(long, value_name = "FILE")]
    pub sets: Option<PathBuf>,
    /// The collector's public key that signs decision sets (`gnomon tokens issue --role enforcer` prints it)
    #[arg(long, value_name = "KEY")]
    pub trust: Vec<String>,
    /// Change the firewall; otherwise plan and check only
    #[arg(long)]
    pub enforce: bool,
}

/// Fetches signed sets from a collector into a file, carries the enforcer's reports back, and tells it whether what this host needs
/// still answers. Needs no privileges.
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  gnomon courier --collector https://hq:7412 --token gnomon1.… --sets /run/gnomon/set.json")]
pub struct CourierOptions {
    #[command(flatten)]
    pub common: Common,
    #[command(flatten)]
    pub join: Join,
    /// The file that the enforcer reads
    #[arg(long, value_name = "FILE")]
    pub sets: PathBuf,
}

pub fn enforcer(options: &Enforcer, global: &Global) -> Result<Exit, Failure> {
    let held = Held::take(&global.data())?;
    let settings = Config::load(options.common.config.as_deref())?;
    let (mut config, health_enabled) = (settings.enforcer_at(held.path()), settings.health.enabled);
    config.trusted_keys.extend(options.trust.iter().cloned());
    trusted(&config.trusted_keys, "enforcer")?;
    // `gnomon enforce` on this host is not told of `--trust` again, and would take the set in force for nobody's.
    wiring::remember_keys(held.path(), &config.trusted_keys)?;
    let Some(file) = options.sets.clone().or_else(|| config.sets.clone()) else {
        let what = "an enforcer needs the file in which signed sets arrive";
        return Err(Failure::new(Side::CommandLine, what, "give --sets FILE, and let `gnomon courier --sets FILE` fill it"));
    };
    if options.enforce {
        config.mode = enforcer::Mode::Enforce;
    }
    config.sets = Some(file.clone());
    wiring::remember_point(held.path(), &config)?;
    // Before there is a second thread: a thread takes its bounds from the one that makes it.
    if config.confine {
        out::note(enforcer::confine(&config));
    }
    async_main(obey(config, file, health_enabled, global))
}

async fn obey(config: enforcer::Config, file: PathBuf, health_enabled: bool, global: &Global) -> Result<Exit, Failure> {
    let shutdown = begin()?;
    let mode = if config.mode == enforcer::Mode::Enforce { "enforces" } else { "dry run of" };
    say(global, "enforcer", &format!("{mode} the sets in {}", file.display()))?;
    let (shown, sets) = mpsc::channel(1);
    let (reports, said) = mpsc::channel(64);
    let following = tokio::spawn(enforcer::follow::follow(file.clone(), shown, Duration::from_millis(500), |why| tracing::warn!("{why}")));
    let writing = tokio::spawn(write_reports(said, beside(&file, ".applied")));
    let (told, health) = watch::channel(None);
    let asking = health_enabled.then(|| {
        let said = config.health.clone().unwrap_or_else(|| beside(&file, ".health"));
        tokio::spawn(enforcer::follow::follow_health(said, told, Duration::from_millis(200), |why| tracing::warn!("{why}")))
    });
    let health = asking.as_ref().map(|_| health);
    let ended = enforcer::run_gated(config, sets, health, reports, shutdown).await;
    following.abort();
    if let Some(asking) = asking {
        asking.abort();
    }
    drop(writing.await);
    let todo = "`gnomon doctor enforcer` says what this machine lacks";
    ended.map(|()| Exit::Clear).map_err(|why| Failure::new(Side::Machine, why, todo))
}

pub async fn courier(options: &CourierOptions, global: &Global) -> Result<Exit, Failure> {
    let held = Held::take(&global.data())?;
    let settings = Config::load(options.common.config.as_deref())?;
    let shutdown = begin()?;
    let enrolled = join(&options.join, held.path()).await?;
    let connection = Connection::open(&enrolled).map_err(wiring::client_failed)?;
    say(global, "courier", &format!("sets from {} to {}", enrolled.url, options.sets.display()))?;
    let (shown, mut sets) = watch::channel::<Option<Arc<Signed>>>(None);
    let (reports, said) = mpsc::channel(4);
    let statements = Statements::begin(held.path(), rules::Timestamp::now()).map_err(wiring::client_failed)?;
    let reporting = tokio::spawn(connection.clone().report_all(statements, said));
    tokio::spawn(connection.clone().keep_fresh());
    tokio::spawn(connection.follow(Subject::Decisions, shown, shutdown.clone()));
    let applied = beside(&options.sets, ".applied");
    let (seen, words) = mpsc::channel(8);
    let (told, mut health) = watch::channel(None);
    if settings.health.enabled {
        tokio::spawn(crate::health::watch(settings.health, host_and_port(&enrolled.url), words, told));
    }
    let answers = beside(&options.sets, ".health");
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

/// `set.json.applied`: the enforcer's word; `set.json.health`: the courier's.
fn beside(sets: &Path, what: &str) -> PathBuf {
    let mut name = sets.as_os_str().to_owned();
    name.push(what);
    name.into()
}

async fn write_reports(mut said: mpsc::Receiver<Applied>, file: PathBuf) {
    while let Some(applied) = said.recv().await {
        if let Err(why) = replace(&file, &applied) {
            tracing::warn!(%why, file = %file.display(), "a report could not be written");
        }
    }
}

fn read_report(file: &Path) -> Option<Applied> {
    serde_json::from_slice(&fs::read(file).ok()?).ok()
}

/// Whole or not at all: whoever reads it never sees half. The directory may belong to somebody with less privilege: nothing
/// that is there already is opened (O_EXCL follows no link), and the name cannot be known in advance.
fn replace(file: &Path, value: &impl serde::Serialize) -> io::Result<()> {
    let mut chance = [0; 16];
    let no_chance = |_| io::Error::other("the system gives no random numbers");
    SystemRandom::new().fill(&mut chance).map_err(no_chance)?;
    let fresh = file.with_extension(format!("new-{:032x}", u128::from_ne_bytes(chance)));
    put(&fresh, &serde_json::to_vec(value)?).and_then(|()| fs::rename(&fresh, file)).inspect_err(|_| drop(fs::remove_file(&fresh)))
}

/// Into a file that was not there.
fn put(fresh: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = fs::OpenOptions::new().write(true).create_new(true).custom_flags(nix::libc::O_NOFOLLOW).open(fresh)?;
    file.write_all(bytes)
}

fn unwritable(file: &Path, why: &io::Error) -> Failure {
    Failure::new(Side::Machine, format!("cannot write {}: {why}", file.display()), "choose a file this user may write: --sets FILE")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_that_lies_in_wait_is_replaced_and_not_followed() {
        let dir = tempfile::tempdir().unwrap();
        let (victim, file, trap) = (dir.path().join("victim"), dir.path().join("set.json"), dir.path().join("trap"));
        fs::write(&victim, "mine").unwrap();
        std::os::unix::fs::symlink(&victim, &file).unwrap();
        std::os::unix::fs::symlink(&victim, &trap).unwrap();
        replace(&file, &7).unwrap();
        assert_eq!(put(&trap, b"x").unwrap_err().kind(), io::ErrorKind::AlreadyExists);
        assert_eq!((fs::read_to_string(&victim).unwrap(), fs::read_to_string(&file).unwrap()), ("mine".to_owned(), "7".to_owned()));
        assert!(!fs::symlink_metadata(&file).unwrap().is_symlink());
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 3, "nothing is left over");
    }
}
