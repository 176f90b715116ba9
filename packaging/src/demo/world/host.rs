//! One host of the world: commands, threads and futures inside its network.

use super::{Error, run, text};
use nix::sched::{CloneFlags, setns};
use std::{
    fs::File,
    io::{self, Write},
    process::{Command, Stdio},
    thread,
};

/// One network namespace. Cheap to clone; does not keep the namespace alive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Host {
    /// As `ip netns` knows it.
    pub namespace: String,
    /// As the scene calls it.
    pub name: String,
}

impl Host {
    /// A command that will run on this host.
    pub fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.namespace]).arg(program);
        command
    }

    /// Runs a command on this host and gives what it printed; an error with what it complained of if it fails.
    pub fn run(&self, program: &str, args: &[&str]) -> Result<String, Error> {
        run(self.command(program).args(args))
    }

    /// Runs `f` in a thread of its own inside this host's network: sockets it makes belong there.
    pub fn enter<T: Send>(&self, f: impl FnOnce() -> T + Send) -> Result<T, Error> {
        let failed = |source| Error::Enter { name: self.namespace.clone(), source };
        let door = self.door().map_err(failed)?;
        let joined = thread::scope(|scope| {
            let inside = scope.spawn(move || setns(door, CloneFlags::CLONE_NEWNET).map(|()| f()));
            inside.join()
        });
        match joined {
            Ok(done) => done.map_err(|e| failed(e.into())),
            Err(panic) => std::panic::resume_unwind(panic),
        }
    }

    /// Drives a future inside this host's network, on a small runtime of its own.
    pub fn block_on<F: Future<Output: Send>>(&self, make: impl FnOnce() -> F + Send) -> Result<F::Output, Error> {
        self.enter(|| -> io::Result<F::Output> {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            Ok(runtime.block_on(make()))
        })?
        .map_err(|source| Error::Enter { name: self.namespace.clone(), source })
    }

    /// Starts a future inside this host's network and goes on; it ends when it wants to, or with this process.
    pub fn start<F: Future<Output = ()>>(&self, make: impl FnOnce() -> F + Send + 'static) -> Result<(), Error> {
        let failed = |source| Error::Enter { name: self.namespace.clone(), source };
        let door = self.door().map_err(failed)?;
        let (told, tell) = std::sync::mpsc::channel();
        let go = move || {
            let made = setns(door, CloneFlags::CLONE_NEWNET)
                .map_err(io::Error::from)
                .and_then(|()| tokio::runtime::Builder::new_current_thread().enable_all().build());
            match made {
                Ok(runtime) => {
                    let _listening = told.send(Ok(()));
                    runtime.block_on(make());
                }
                Err(why) => drop(told.send(Err(why))),
            }
        };
        thread::Builder::new().name(self.name.clone()).spawn(go).map_err(failed)?;
        tell.recv().map_err(|_| failed(io::ErrorKind::BrokenPipe.into()))?.map_err(failed)
    }

    fn door(&self) -> io::Result<File> {
        File::open(format!("/run/netns/{}", self.namespace))
    }

    /// Feeds lines to `ip -batch` in this namespace.
    pub(super) fn ip_lines(&self, lines: &str) -> Result<(), Error> {
        let mut command = Command::new("ip");
        command.args(["-n", &self.namespace, "-batch", "-"]).stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped());
        let what = format!("ip -n {} ({})", self.namespace, lines.trim().replace('\n', "; "));
        let failed = |source| Error::Start { command: what.clone(), source };
        let mut child = command.spawn().map_err(failed)?;
        if let Some(mut input) = child.stdin.take() {
            input.write_all(lines.as_bytes()).map_err(failed)?;
        }
        let done = child.wait_with_output().map_err(failed)?;
        if done.status.success() { Ok(()) } else { Err(Error::Failed { command: what, said: text(&done.stderr) }) }
    }
}
