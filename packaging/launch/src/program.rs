//! From the arguments of a process to its exit code.

use crate::{
    failure::{Exit, Failure, Side},
    global::Global,
    log, out,
    style::{COMMAND, HEADING},
};
use clap::{Parser, builder::styling::Styles};
use std::{future::Future, process::ExitCode};

pub const STYLES: Styles = Styles::styled().header(HEADING).usage(HEADING).literal(COMMAND);

/// The end of each `--help`.
pub const EXIT_CODES: &str = "\
Exit codes:
  0  done; nothing found, nothing wrong
  1  done; something was found, or something is wrong
  2  not done: wrong usage, or an error (it names the place and the fix)

Colours appear on terminals only; NO_COLOR turns them off. --json prints one object per line, errors too.";

/// One executable.
pub trait Program: Parser {
    /// The log filter at a terminal, unless `--log` gives one.
    const LOG_AT_A_TERMINAL: &'static str = "warn";

    fn global(&self) -> &Global;

    fn run(self) -> Result<Exit, Failure>;
}

/// Parses the arguments, runs the command, and turns its result into an exit code.
pub fn main<P: Program>() -> ExitCode {
    let program = match P::try_parse() {
        Ok(program) => program,
        Err(why) => return usage(&why),
    };
    let json = program.global().json;
    program.global().remember();
    let done = log::start(program.global().log.as_deref(), P::LOG_AT_A_TERMINAL).and_then(|()| program.run());
    match done {
        Ok(exit) => exit.into(),
        Err(failure) => told(&failure, json),
    }
}

/// Prints an error to standard error: three labelled parts, or one object.
fn told(failure: &Failure, json: bool) -> ExitCode {
    match failure.object().filter(|_| json).and_then(|object| serde_json::to_string(&object).ok()) {
        Some(object) => out::note(object),
        None if matches!(failure, Failure::ReaderGone) => {}
        None => out::note(failure),
    }
    failure.exit_code()
}

/// Help and versions as clap prints them; wrong usage in the shape of every error.
fn usage(why: &clap::Error) -> ExitCode {
    use clap::error::ErrorKind::{DisplayHelp, DisplayHelpOnMissingArgumentOrSubcommand, DisplayVersion};
    if matches!(why.kind(), DisplayHelp | DisplayVersion | DisplayHelpOnMissingArgumentOrSubcommand) {
        // When nobody reads it, nothing is lost.
        drop(why.print());
        return ExitCode::from(if why.use_stderr() { 2 } else { 0 });
    }
    let text = why.to_string();
    let mut parts = text.split("\n\n").map(|part| part.split_whitespace().collect::<Vec<_>>().join(" "));
    let what = parts.next().unwrap_or_default();
    let hints: Vec<String> = parts.filter(|p| !p.is_empty()).map(|p| p.replacen("tip: ", "", 1)).collect();
    let failure = Failure::new(Side::CommandLine, what.trim_start_matches("error: "), hints.join("\n"));
    // The arguments could not be parsed, so this one is looked for by hand.
    let json = std::env::args_os().take_while(|a| a != "--").any(|a| a == "--json");
    told(&failure, json)
}

/// Runs one asynchronous command to its end, on a runtime of its own.
pub fn block_on<T>(command: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let runtime =
        runtime.map_err(|why| Failure::new(Side::Machine, format!("cannot start threads: {why}"), "raise the limits of this user"))?;
    let done = runtime.block_on(command);
    // A thread that still blocks must not delay the end of the command.
    runtime.shutdown_background();
    done
}
