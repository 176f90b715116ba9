//! Standard output: lines for people, NDJSON for programs. A reader that goes away is not an error.

use crate::failure::{Failure, Side};
pub use crate::style::{BOLD, DIM, ERROR, GOOD, WARN};
use serde::Serialize;
use std::{
    fmt::Display,
    io::{ErrorKind, IsTerminal, Write},
};

/// One line. Styles in it are dropped unless standard output is a terminal (or `NO_COLOR`, `CLICOLOR_FORCE` say otherwise).
pub fn line(text: impl Display) -> Result<(), Failure> {
    wrote(writeln!(anstream::stdout(), "{text}"))
}

/// One object on one line.
pub fn object(value: &impl Serialize) -> Result<(), Failure> {
    let text = serde_json::to_string(value)
        .map_err(|why| Failure::new(Side::Gnomon, format!("could not write a result as JSON: {why}"), "please report this"))?;
    wrote(writeln!(anstream::stdout(), "{text}"))
}

/// A remark beside the results, to standard error. That nobody reads it is no reason to stop.
pub fn note(text: impl Display) {
    let _ = writeln!(anstream::stderr(), "{text}");
}

fn wrote(result: std::io::Result<()>) -> Result<(), Failure> {
    result.map_err(|why| match why.kind() {
        ErrorKind::BrokenPipe => Failure::ReaderGone,
        _ => Failure::new(Side::Machine, format!("cannot write to standard output: {why}"), "check where the output goes (a full disk?)"),
    })
}

/// One line that is rewritten in place while something long runs: on a terminal only, and never in the way of results.
#[derive(Debug)]
pub struct Progress {
    shown: bool,
    on: bool,
}

impl Progress {
    pub fn new() -> Progress {
        Progress { shown: false, on: std::io::stderr().is_terminal() }
    }

    pub fn show(&mut self, text: impl Display) {
        if self.on {
            self.shown = true;
            let _ = write!(anstream::stderr(), "\r\x1b[2K{DIM}{text}{DIM:#}");
        }
    }
}

impl Default for Progress {
    fn default() -> Self {
        Progress::new()
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if self.shown {
            let _ = write!(anstream::stderr(), "\r\x1b[2K");
        }
    }
}
