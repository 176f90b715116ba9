//! One shape for everything that goes wrong: what happened, whose side it is on, what to do. And what an exit code means.

use std::{fmt, process::ExitCode};

/// What a command that ran to its end has to say. Scripts rely on the numbers; they are in `gnomon --help`.
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
    fn words(self) -> &'static str {
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

/// Why a command could not do what it was asked: exit code 2.
#[derive(Debug)]
pub enum Failure {
    Because {
        what: String,
        side: Side,
        todo: String,
    },
    /// Whoever read our output has gone (`| head`): no message, nothing is wrong.
    ReaderGone,
}

impl Failure {
    /// `what` and `todo` may quote strangers: they are made printable here.
    pub fn new(side: Side, what: impl fmt::Display, todo: impl fmt::Display) -> Failure {
        let plain = |text: String| text.lines().map(|l| rules::printable::printable(l, 400)).collect::<Vec<_>>().join("\n      ");
        Failure::Because { what: plain(what.to_string()), side, todo: plain(todo.to_string()) }
    }

    pub fn exit_code(&self) -> ExitCode {
        match self {
            Failure::Because { .. } => ExitCode::from(2),
            Failure::ReaderGone => ExitCode::SUCCESS,
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Failure::Because { what, side, todo } => {
                let (red, dim) = (crate::out::ERROR, crate::out::DIM);
                writeln!(f, "{red}error{red:#} {what}")?;
                writeln!(f, " {dim}side{dim:#} {}", side.words())?;
                write!(f, "   {dim}do{dim:#} {todo}")
            }
            Failure::ReaderGone => f.write_str("nobody reads the output any more"),
        }
    }
}

impl std::error::Error for Failure {}
