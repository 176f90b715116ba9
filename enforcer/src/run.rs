//! The loop: wait for an event, let [`crate::core::Core`] decide, perform its effects.

mod apply;
mod inputs;
mod reconciler;
mod report;
mod watch;

use crate::{
    bypass,
    config::{Config, Mode},
    core::{Event, Now},
    health::Health,
    point::{Error, Point},
};
use inputs::{Input, Inputs};
use nix::time::ClockId;
use reconciler::Reconciler;
use rules::{Timestamp, observation::Applied, wire::v1::Signed};
use std::{
    io::ErrorKind,
    os::{
        linux::net::SocketAddrExt,
        unix::net::{self, UnixDatagram},
    },
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

/// Makes this host match each set as it arrives, until `shutdown`. What the kernel then holds lapses by itself, unless
/// `remove_on_exit`.
///
/// Errors end it only when it could not even start (state directory, configuration); a missing or failing `nft` is reported
/// through `reports` and tried again.
pub async fn run(
    config: Config,
    sets: mpsc::Receiver<Arc<Signed>>,
    reports: mpsc::Sender<Applied>,
    shutdown: CancellationToken,
) -> Result<(), Error> {
    run_gated(config, sets, None, reports, shutdown).await
}

/// As [`run()`]; with `health`, new blocks have a short lease until it says that this host's needs still answer. Its sender learns from the
/// reports when an answer is due ([`rules::observation::PointStatus::on_trial`]).
pub async fn run_gated(
    config: Config,
    sets: mpsc::Receiver<Arc<Signed>>,
    health: Option<tokio::sync::watch::Receiver<Option<Health>>>,
    reports: mpsc::Sender<Applied>,
    shutdown: CancellationToken,
) -> Result<(), Error> {
    // KernelBlock until the end.
    let alone = if config.mode == Mode::Enforce { alone().map(Some) } else { Ok(None) };
    let mut point = Point::open(config)?;
    let commits = point.monitor.as_mut().and_then(|monitor| monitor.listen().ok());
    let mut reconciler = Reconciler::new(point, health.is_some(), reports);
    let (survey, bypasses) = tokio::sync::watch::channel(Vec::new());
    // A dry run enforces nothing that could be passed by.
    if reconciler.enforces() {
        let point = &reconciler.point;
        tokio::spawn(bypass::keep_looking(point.nft.clone(), point.config.hooks.clone(), survey));
    }
    begin(&mut reconciler, alone.as_ref().err()).await?;
    let mut inputs = Inputs::new(sets, commits, health, bypasses, shutdown);
    loop {
        match inputs.next().await {
            Input::Shutdown => break,
            Input::Commit(commit) => {
                reconciler.point.heard(commit.as_ref());
                reconciler.happen(Event::Commit(commit)).await;
            }
            Input::Set(signed) => {
                let event = reconciler.arrived(signed);
                reconciler.happen(event).await;
            }
            Input::Health(health) => reconciler.happen(Event::Health(health)).await,
            Input::Bypasses(found) => {
                reconciler.bypasses = found;
                reconciler.repeat().await;
            }
            Input::Tick => reconciler.tick().await,
        }
    }
    reconciler.end().await
}

/// Takes over what an earlier process left, and reports an obstacle to enforcement.
async fn begin(reconciler: &mut Reconciler, not_alone: Option<&String>) -> Result<(), Error> {
    // A damaged state is an error of the installation: better not to start than to forget what was applied.
    reconciler.point.store.load()?;
    reconciler.look_at_state().await;
    if let Some(why) = not_alone {
        reconciler.happen(Event::Trouble(why.clone())).await;
    }
    if reconciler.enforces()
        && let Err(why) = reconciler.point.nft.probe(&reconciler.point.config.shape()).await
    {
        reconciler.happen(Event::Trouble(format!("enforcement is unavailable on this host: {why}"))).await;
    }
    reconciler.finish_what_was_begun().await;
    Ok(())
}

/// KernelBlock by the one enforcer of a network namespace, for as long as its process lives: an abstract name (unix(7)) is the namespace's.
///
/// Anybody on this host may hold it, so that it is held is said, and stops nobody: else an agent could keep enforcement off.
fn alone() -> Result<UnixDatagram, String> {
    const TAKEN: &str = "another process of this host has the name `gnomon-enforcer` (`ss -xa`): if it is an enforcer, the two undo each \
                         other's blocks, so end one; if not, ask who runs it";
    let taken = |why: std::io::Error| match why.kind() {
        ErrorKind::AddrInUse => TAKEN.to_owned(),
        _ => format!("whether another enforcer runs in this network namespace cannot be told: {why}"),
    };
    net::SocketAddr::from_abstract_name("gnomon-enforcer").and_then(|name| UnixDatagram::bind_addr(&name)).map_err(taken)
}

fn now() -> Now {
    Now { mono: Instant::now(), wall: Timestamp::now(), slept: slept() }
}

/// What the one clock counted while the host was suspended and the other did not.
fn slept() -> Duration {
    let read = |clock: ClockId| clock.now().map(Duration::from).unwrap_or_default();
    // In this order, so that what passes in between is no sleep.
    let (all, awake) = (read(ClockId::CLOCK_BOOTTIME), read(ClockId::CLOCK_MONOTONIC));
    all.saturating_sub(awake)
}
