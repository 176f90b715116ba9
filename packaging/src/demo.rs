//! `gnomon demo`: the whole product in a network of its own, each claim checked.
//!
//! The command starts itself again in a [`shelter`] (namespaces that vanish with it), where [`play`] builds a [`stage`] and
//! shows the story; afterwards it checks from outside that the machine is as it was.

pub mod agent;
pub mod cast;
mod play;
pub mod product;
mod replay;
pub mod shelter;
pub mod stage;
mod teller;
pub mod webhook;
pub mod world;

use crate::failure::{Exit, Failure, Side};
use launch::Global;
use shelter::Surroundings;
use std::{path::Path, time::Duration};
use teller::Teller;

/// The network exists only inside namespaces; nothing of this machine is touched, and nothing stays behind.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = "\
Examples:
  sudo gnomon demo             about a minute
  gnomon demo                  the same, where users may make namespaces; else what can be shown without
  gnomon demo --slow           with time to read along
  gnomon demo --json           one object per claim

Exit codes: 0 every claim that was made holds, 1 one failed, 2 error.")]
pub struct Options {
    /// With time to read along
    #[arg(long)]
    slow: bool,
    /// Inside the shelter already
    #[arg(long, hide = true)]
    inside: bool,
}

const DAY: Duration = Duration::from_millis(500);
const SLOW_DAY: Duration = Duration::from_millis(1000);

pub fn run(options: &Options, global: &Global) -> Result<Exit, Failure> {
    let gnomon = std::env::current_exe()
        .map_err(|why| Failure::new(Side::Machine, format!("cannot find the running executable: {why}"), "is /proc mounted?"))?;
    let (rest, day) = if options.slow { (Duration::from_millis(700), SLOW_DAY) } else { (Duration::ZERO, DAY) };
    let mut teller = Teller::new(global.json, rest);
    if options.inside {
        shelter::end_with_parent();
        play::run(&gnomon, &mut teller, day)?;
        return Ok(Exit::found(!teller.all_true()));
    }
    let good = match shelter::refused() {
        Some(why) => replay::run(&mut teller, &why).map(|()| true),
        None => sheltered(&gnomon, options, global, &mut teller),
    }?;
    Ok(Exit::found(!teller.end(good)?))
}

/// Runs the play in a shelter, and compares the machine before and after. Whether each claim in there held.
fn sheltered(gnomon: &Path, options: &Options, global: &Global, teller: &mut Teller) -> Result<bool, Failure> {
    let before = Surroundings::look();
    let mut args = vec!["demo".to_owned(), "--inside".to_owned()];
    args.extend(options.slow.then(|| "--slow".to_owned()));
    args.extend(global.json.then(|| "--json".to_owned()));
    let status = launch::block_on(wait(shelter::command(gnomon, &args)))?;
    let differences = Surroundings::look().differences(&before);
    let as_before = if differences.is_empty() { Ok(before.describe()) } else { Err(differences.join("; ")) };
    teller.claim("this machine is as it was before", as_before)?;
    match status.code() {
        Some(0) => Ok(true),
        Some(1) => Ok(false),
        _ => Err(Failure::new(Side::Gnomon, format!("the demo ended early: {status}"), "its reason is above")),
    }
}

/// Ctrl-C reaches the shelter as well; this process stays to look at what is left.
async fn wait(command: std::process::Command) -> Result<std::process::ExitStatus, Failure> {
    let failed = |why: std::io::Error| Failure::new(Side::Machine, format!("cannot start the shelter: {why}"), "install util-linux");
    let mut child = tokio::process::Command::from(command).spawn().map_err(failed)?;
    // While this is held, the play goes on.
    let mut lifeline = child.stdin.take();
    loop {
        tokio::select! {
            ended = child.wait() => return ended.map_err(failed),
            _ = tokio::signal::ctrl_c() => drop(lifeline.take()),
        }
    }
}
