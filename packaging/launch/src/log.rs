//! The log: to standard error, as loud as `--log` says.

use crate::failure::{Failure, Side};
use std::io::IsTerminal;

pub(crate) fn start(filter: Option<&str>, at_a_terminal: &str) -> Result<(), Failure> {
    let terminal = std::io::stderr().is_terminal();
    let filter = filter.unwrap_or(if terminal { at_a_terminal } else { "warn" });
    let filter = tracing_subscriber::EnvFilter::try_new(filter).map_err(|why| {
        Failure::new(Side::CommandLine, format!("`{filter}` is no log filter: {why}"), "use a level such as `info`, or `sensor=debug,warn`")
    })?;
    let colours = terminal && std::env::var_os("NO_COLOR").is_none();
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_ansi(colours).with_target(true).init();
    Ok(())
}
