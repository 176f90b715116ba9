//! The command line: what can be said, and which module does it.

use crate::{
    admin::{explain, findings, keys, policy, registry, report, sensors, servers},
    config, demo, doctor, enforce, inventory,
    role::{collector, courier, gateway},
    scan, up, watch,
};
use clap::{CommandFactory, Parser, Subcommand};
use launch::{Exit, Failure, Global, Program, block_on, out, program};
use std::{path::PathBuf, process::ExitCode};

/// Find every MCP server on your network, tell its owner and start a clock; when it runs out, close the door, and keep the
/// registered door open.
#[derive(Debug, Parser)]
#[command(name = "gnomon", version, styles = program::STYLES, after_help = program::EXIT_CODES, max_term_width = 110, infer_long_args = false)]
pub struct Cli {
    #[command(flatten)]
    pub global: Global,
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Every role in one process, on defaults
    Up(Box<up::Options>),
    /// One sensor, reporting to a collector elsewhere
    Sensor(gnomon_sensor::Options),
    /// The collector by itself
    Collector(collector::Options),
    /// One enforcement point, with signed sets from a file
    Enforcer(gnomon_enforcer::Options),
    /// Fetches signed sets for an enforcer, and carries its reports
    Courier(courier::Options),
    /// The gateway by itself, with bundles from a collector elsewhere
    Gateway(gateway::Options),
    /// Ask the addresses that are named whether MCP servers answer there
    Scan(scan::Options),
    /// Listen for MCP servers on the wire, or read a capture
    Watch(watch::Options),
    /// This host's listeners, and the servers its MCP clients are set up for
    Inventory(inventory::Options),
    /// What the collector knows
    Servers(servers::Options),
    /// What is wrong, whose it is, and what happens when
    Findings(findings::Options),
    /// What is allowed to exist
    Registry(registry::Options),
    /// What one enforcement point does, and undoing it
    Enforce(enforce::Options),
    /// What a site wants: modes, periods, agents, what is protected
    Policy(policy::Options),
    /// From the bytes that were seen to the nftables element, and why
    Explain(explain::Options),
    /// What a month looked like, for those who must show it
    Report(report::Options),
    /// Who may call registered servers through the gateway
    Keys(keys::Options),
    /// Who reports to the collector
    Sensors(sensors::Options),
    /// How a remote sensor, enforcer or gateway joins
    Tokens(sensors::Tokens),
    /// Say what this machine lacks, and what to do about it
    Doctor(doctor::Options),
    /// Check a configuration file, or print the defaults
    #[command(subcommand)]
    Config(ConfigCommand),
    /// Show the whole product in a network of its own, each claim checked
    Demo(demo::Options),
    /// One process of the demo's cast
    #[command(hide = true)]
    DemoCast(demo::cast::Args),
}

#[derive(Debug, Subcommand)]
pub enum ConfigCommand {
    /// Read FILE as `gnomon up --config FILE` would, and say what is wrong with it
    Check { file: PathBuf },
    /// Print every key with its default and what it means
    Defaults,
}

impl Program for Cli {
    /// A notice to nobody but the log is shown by `up` as a line of its own; at a terminal once is enough.
    const LOG_AT_A_TERMINAL: &'static str = "warn,collector::notify=error";

    fn global(&self) -> &Global {
        &self.global
    }

    fn run(self) -> Result<Exit, Failure> {
        run(self)
    }
}

/// Parses the arguments, runs the command, and turns its result into an exit code.
pub fn main() -> ExitCode {
    program::main::<Cli>()
}

/// The whole command tree, for tests and documentation.
pub fn tree() -> clap::Command {
    Cli::command()
}

fn run(cli: Cli) -> Result<Exit, Failure> {
    let global = &cli.global;
    match cli.command {
        Command::Up(options) => up::run(&options, global),
        Command::Sensor(options) => gnomon_sensor::run(&options, global, config::Config::load(options.config.as_deref())?.sensor),
        Command::Collector(options) => block_on(collector::run(&options, global)),
        Command::Enforcer(options) => {
            let config = config::Config::load(options.config.as_deref())?;
            gnomon_enforcer::run(&options, global, gnomon_enforcer::Settings::new(config.enforcer, config.health))
        }
        Command::Courier(options) => block_on(courier::run(&options, global)),
        Command::Enforce(options) => block_on(enforce::run(&options, global)),
        Command::Gateway(options) => block_on(gateway::run(&options, global)),
        Command::Inventory(options) => inventory::run(&options, global),
        Command::Servers(options) => servers::run(&options, global),
        Command::Findings(options) => findings::run(&options, global),
        Command::Registry(options) => registry::run(&options, global),
        Command::Policy(options) => policy::run(&options, global),
        Command::Explain(options) => explain::run(&options, global),
        Command::Report(options) => report::run(&options, global),
        Command::Keys(options) => keys::run(&options, global),
        Command::Sensors(options) => sensors::run(&options, global),
        Command::Tokens(options) => sensors::tokens(&options, global),
        Command::Scan(options) => scan::run(&options, global),
        Command::Watch(options) => watch::run(&options, global),
        Command::Doctor(options) => doctor::run(&options, global),
        Command::Config(ConfigCommand::Defaults) if global.json => out::object(&config::Config::default()).map(|()| Exit::Clear),
        Command::Config(ConfigCommand::Defaults) => out::line(config::DEFAULTS.trim_end()).map(|()| Exit::Clear),
        Command::Config(ConfigCommand::Check { file }) => {
            config::Config::load(Some(&file))?;
            if global.json {
                out::object(&serde_json::json!({"file": file, "ok": true}))?;
            } else {
                out::line(format!("{} is good", file.display()))?;
            }
            Ok(Exit::Clear)
        }
        Command::Demo(options) => demo::run(&options, global),
        Command::DemoCast(args) => demo::cast::run(args),
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_command_tree_is_sound() {
        super::tree().debug_assert();
    }
}
