//! The process that reads packets: `gnomon sensor` without the rest of the command, and without any privilege it does not need.

use clap::Parser;
use gnomon_sensor::{Options, settings};
use launch::{Exit, Failure, Global, Program, Side, program};
use std::process::ExitCode;

/// Sees packets and this host, asks the addresses that are named, and reports to a collector.
#[derive(Debug, Parser)]
#[command(name = "gnomon-sensor", version, styles = program::STYLES, max_term_width = 110, infer_long_args = false)]
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
        // Before there is a second thread: each thread has capabilities of its own.
        sensor::privileges::keep_only_watching()
            .map_err(|why| Failure::new(Side::Machine, why, "allow the process to reduce its capabilities (system call capset)"))?;
        let config = settings::load(self.options.config.as_deref())?;
        gnomon_sensor::run(&self.options, &self.global, config)
    }
}

fn main() -> ExitCode {
    program::main::<Executable>()
}
