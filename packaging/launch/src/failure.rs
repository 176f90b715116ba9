//! One shape for each error: the event, the place to look, the repair. And the meaning of an exit code.

use crate::style::{DIM, ERROR};
use serde::Serialize;
use std::{fmt, process::ExitCode};

/// The result of a command that ran to its end. Scripts rely on the numbers; `gnomon --help` lists them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// 0: done; nothing found, nothing wrong.
    Clear,
    /// 1: done; something was found, or something is wrong.
    Found,
}

impl Exit {
    pub fn found(yes: bool) -> Exit {
        if yes { Exit::Found } else { Exit::Clear }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> ExitCode {
        match exit {
            Exit::Clear => ExitCode::SUCCESS,
            Exit::Found => ExitCode::from(1),
        }
    }
}

/// Where the reader has to look first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    CommandLine,
    Configuration,
    /// A file that was given to read.
    Input,
    Machine,
    Collector,
    /// Something between here and there.
    Network,
    /// A defect of ours.
    Gnomon,
}

impl Side {
    pub fn as_str(self) -> &'static str {
        match self {
            Side::CommandLine => "this command line",
            Side::Configuration => "the configuration",
            Side::Input => "the file that was read",
            Side::Machine => "this machine",
            Side::Collector => "the collector",
            Side::Network => "the network in between",
            Side::Gnomon => "Gnomon itself",
        }
    }
}

/// The reason why a command did not do its work: exit code 2.
#[derive(Debug)]
pub enum Failure {
    Because {
        what: String,
        side: Side,
        todo: String,
    },
    /// The reader of our output has gone (`| head`): no message, nothing is wrong.
    ReaderGone,
}

impl Failure {
    /// `what` and `todo` may quote strangers: both are made printable here.
    pub fn new(side: Side, what: impl fmt::Display, todo: impl fmt::Display) -> Failure {
        let plain = |text: String| text.lines().map(|l| rules::printable::printable(l, 400)).collect::<Vec<_>>().join("\n");
        Failure::Because { what: plain(what.to_string()), side, todo: plain(todo.to_string()) }
    }

    pub fn exit_code(&self) -> ExitCode {
        match self {
            Failure::Because { .. } => ExitCode::from(NOT_DONE),
            Failure::ReaderGone => ExitCode::SUCCESS,
        }
    }

    /// The same for a program: one object.
    pub fn object(&self) -> Option<impl Serialize> {
        match self {
            Failure::Because { what, side, todo } => {
                Some(Object { error: what.clone(), side: side.as_str(), fix: todo.clone(), exit: NOT_DONE })
            }
            Failure::ReaderGone => None,
        }
    }
}

const NOT_DONE: u8 = 2;

/// An error as `--json` prints it.
#[derive(Debug, Serialize)]
struct Object {
    error: String,
    #[serde(rename = "where")]
    side: &'static str,
    fix: String,
    exit: u8,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Failure::Because { what, side, todo } => {
                let below = |text: &str| text.replace('\n', "\n       ");
                writeln!(f, "{ERROR}error:{ERROR:#} {}", below(what))?;
                writeln!(f, "{DIM}where:{DIM:#} {}", side.as_str())?;
                write!(f, "{DIM}  fix:{DIM:#} {}", below(todo))
            }
            Failure::ReaderGone => f.write_str("the reader of the output has gone"),
        }
    }
}

impl std::error::Error for Failure {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_is_three_labelled_parts_or_one_object() {
        let failure = Failure::new(Side::Machine, "disk\nfull\u{1b}[2J", "make room");
        let text = anstream::adapter::strip_str(&failure.to_string()).to_string();
        assert_eq!(text, "error: disk\n       full\\u{1b}[2J\nwhere: this machine\n  fix: make room");
        let object = serde_json::to_value(failure.object().unwrap()).unwrap();
        let expected = serde_json::json!({"error": "disk\nfull\\u{1b}[2J", "where": "this machine", "fix": "make room", "exit": 2});
        assert_eq!(object, expected);
        assert!(Failure::ReaderGone.object().is_none());
    }
}
