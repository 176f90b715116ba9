//! How a long-running command ends: the first Ctrl-C (or SIGTERM) asks, the second forces.

use crate::{
    failure::{Failure, Side},
    out,
};
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// What a shell reports for a command that Ctrl-C killed.
const FORCED: i32 = 130;

/// Cancels `shutdown` at the first signal; ends the process at the second.
pub fn on_signal(shutdown: CancellationToken) -> Result<(), Failure> {
    let listen =
        |kind| signal(kind).map_err(|why| Failure::new(Side::Machine, format!("cannot listen for signals: {why}"), "please report this"));
    let (mut interrupt, mut terminate) = (listen(SignalKind::interrupt())?, listen(SignalKind::terminate())?);
    tokio::spawn(async move {
        for last in [false, true] {
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
            }
            if last {
                out::note("ended at once");
                std::process::exit(FORCED);
            }
            shutdown.cancel();
        }
    });
    Ok(())
}
