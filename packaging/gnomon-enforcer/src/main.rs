//! The process that may change the firewall: `gnomon enforcer` without the rest of the command, and without a network client.

use clap::Parser;
use gnomon_enforcer::{Options, settings};
use launch::{Exit, Failure, Global, Program, program};
use std::process::ExitCode;

/// Makes nftables match the signed sets that arrive in a file; it opens no connection.
#[derive(Debug, Parser)]
#[command(name = "gnomon-enforcer", version, styles = program::STYLES, max_term_width = 110, infer_long_args = false)]
struct Executable {
    #[command(flatten)]
    global: Global,
    #[command(flatten)]
    options: Options,
}

impl Program for Executable {
    fn global(&self) -> &Global {
        &self.global
    }

    fn run(self) -> Result<Exit, Failure> {
        let settings = settings::load(self.options.config.as_deref())?;
        gnomon_enforcer::run(&self.options, &self.global, settings)
    }
}

fn main() -> ExitCode {
    program::main::<Executable>()
}
