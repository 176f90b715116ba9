//! The command line: what can be said, and which module does it.

use crate::{
    admin::{explain, findings, keys, policy, registry, report, sensors, servers},
    async_main, config, data, demo, doctor, enforce,
    failure::{Exit, Failure, Side},
    inventory, out, role, scan, up, watch,
};
use clap::{
    Args, CommandFactory, Parser, Subcommand,
    builder::styling::{AnsiColor, Styles},
};
use std::{io::IsTerminal, path::PathBuf, process::ExitCode};

const STYLES: Styles = Styles::styled()
    .header(AnsiColor::Green.on_default().bold())
    .usage(AnsiColor::Green.on_default().bold())
    .literal(AnsiColor::Cyan.on_default());

const EXIT_CODES: &str = "\
Exit codes:
  0  done; nothing found, nothing wrong
  1  done; something was found, or something is wrong
  2  not done: wrong usage, or an error (it says whose side and what to do)

Colours appear on terminals only; NO_COLOR turns them off. --json prints one object per line.";

/// Find every MCP server on your network, tell its owner and start a clock; when it runs out, close the door, and keep the
/// registered door open.
#[derive(Debug, Parser)]
#[command(name = "gnomon", version, styles = STYLES, after_help = EXIT_CODES, max_term_width = 110, infer_long_args = false)]
pub struct Cli {
    #[command(flatten)]
    pub global: Global,
    #[command(subcommand)]
    pub command: Command,
}

/// What every command understands.
#[derive(Clone, Debug, Args)]
pub struct Global {
    /// Where state and keys live [default: /var/lib/gnomon as root, else ~/.local/state/gnomon]
    #[arg(long, global = true, value_name = "DIR", env = "GNOMON_DATA", hide_env_values = true)]
    data: Option<PathBuf>,
    /// What to log to standard error, for example `info` or `sensor=debug` [default: warn]
    #[arg(long, global = true, value_name = "FILTER", env = "GNOMON_LOG", hide_env_values = true)]
    log: Option<String>,
    /// One JSON object per line instead of text
    #[arg(long, global = true)]
    pub json: bool,
}

impl Global {
    pub fn data(&self) -> PathBuf {
        self.data.clone().unwrap_or_else(data::default_dir)
    }
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Every role in one process, on defaults
    Up(Box<up::Options>),
    /// One sensor, reporting to a collector elsewhere
    Sensor(role::Sensor),
    /// The collector by itself
    Collector(role::Collector),
    /// One enforcement point, with signed sets from a file
    Enforcer(role::Enforcer),
    /// Fetches signed sets for an enforcer, and carries its reports
    Courier(role::CourierOptions),
    /// The gateway by itself, with bundles from a collector elsewhere
    Gateway(role::Gateway),
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

/// Parses the arguments, runs the command, and turns the outcome into an exit code.
pub fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(why) => return usage(&why),
    };
    let done = start_log(cli.global.log.as_deref()).and_then(|()| run(cli));
    match done {
        Ok(exit) => exit.into(),
        Err(failure) => {
            if !matches!(failure, Failure::ReaderGone) {
                out::note(&failure);
            }
            failure.exit_code()
        }
    }
}

/// Help and versions as clap prints them; what is wrong, in the one shape that errors have here.
fn usage(why: &clap::Error) -> ExitCode {
    use clap::error::ErrorKind::{DisplayHelp, DisplayHelpOnMissingArgumentOrSubcommand, DisplayVersion};
    if matches!(why.kind(), DisplayHelp | DisplayVersion | DisplayHelpOnMissingArgumentOrSubcommand) {
        // Nobody reads it: nothing is lost.
        drop(why.print());
        return ExitCode::from(if why.use_stderr() { 2 } else { 0 });
    }
    let text = why.to_string();
    let mut parts = text.split("\n\n").map(|part| part.split_whitespace().collect::<Vec<_>>().join(" "));
    let what = parts.next().unwrap_or_default();
    let hints: Vec<String> = parts.filter(|p| !p.is_empty()).map(|p| p.replacen("tip: ", "", 1)).collect();
    let failure = Failure::new(Side::CommandLine, what.trim_start_matches("error: "), hints.join("\n"));
    out::note(&failure);
    failure.exit_code()
}

/// The whole command tree, for tests and documentation.
pub fn tree() -> clap::Command {
    Cli::command()
}

fn run(cli: Cli) -> Result<Exit, Failure> {
    let global = &cli.global;
    match cli.command {
        Command::Up(options) => up::run(&options, global),
        Command::Sensor(options) => async_main(role::sensor(&options, global)),
        Command::Collector(options) => async_main(role::collector(&options, global)),
        Command::Enforcer(options) => role::enforcer(&options, global),
        Command::Courier(options) => async_main(role::courier(&options, global)),
        Command::Enforce(options) => async_main(enforce::run(&options, global)),
        Command::Gateway(options) => async_main(role::gateway(&options, global)),
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

/// A notice to nobody but the log is shown by `up` as a line of its own; at a terminal once is enough.
const AT_A_TERMINAL: &str = "warn,collector::notify=error";

fn start_log(filter: Option<&str>) -> Result<(), Failure> {
    let terminal = std::io::stderr().is_terminal();
    let filter = filter.unwrap_or(if terminal { AT_A_TERMINAL } else { "warn" });
    let filter = tracing_subscriber::EnvFilter::try_new(filter).map_err(|why| {
        Failure::new(Side::CommandLine, format!("`{filter}` is no log filter: {why}"), "use a level such as `info`, or `sensor=debug,warn`")
    })?;
    let colours = terminal && std::env::var_os("NO_COLOR").is_none();
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_ansi(colours).with_target(true).init();
    Ok(())
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_command_tree_is_sound() {
        super::tree().debug_assert();
    }
}
