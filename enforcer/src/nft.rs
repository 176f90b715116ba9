//! The one door to the kernel's ruleset: `/usr/sbin/nft`, by absolute path, without our environment, with bounds on time and output.
//!
//! A missing, hanging, failing or foreign `nft` is an ordinary [`Error`]: enforcement is then unavailable here, and says so.

use crate::{
    config::Shape,
    names::TABLE,
    present::{self, Present},
    render::skeleton,
};
use nix::{
    sys::signal::{Signal, killpg},
    unistd::Pid,
};
use rules::printable::printable_bytes;
use std::{path::PathBuf, pin::pin, process::Stdio, time::Duration};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    process::{Child, Command},
};

/// A listing of 100,000 elements has 17 MB.
const MAX_OUTPUT: u64 = 256 << 20;
const MAX_COMPLAINT: u64 = 64 << 10;
/// The first release with everything the skeleton uses, as far as release notes tell.
const OLDEST: (u32, u32, u32) = (1, 0, 0);

#[derive(Clone, Debug)]
pub struct Nft {
    pub path: PathBuf,
    pub timeout: Duration,
}

#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Nothing can be enforced here until somebody does something.
    #[error("{0}")]
    Unavailable(String),
    /// The kernel (or nft on its behalf) refused the transaction as a whole: nothing was changed.
    #[error("nothing was changed; nft said: {0}")]
    Refused(String),
}

impl Nft {
    /// Whether this host can enforce: the version is known, we may, and the kernel takes our skeleton (`nft -c`).
    pub async fn probe(&self, shape: &Shape) -> Result<String, Error> {
        let out = self.run(&["--version"], "").await?;
        let text = String::from_utf8_lossy(&out).into_owned();
        let version = version(&text).ok_or_else(|| Error::Unavailable(format!("{} does not say its version", self.path.display())))?;
        if version < OLDEST {
            let why = format!("nft {} is older than {}; install a newer nftables", dotted(version), dotted(OLDEST));
            return Err(Error::Unavailable(why));
        }
        self.check(&skeleton::text(shape)).await.map_err(|why| Error::Unavailable(why.to_string()))?;
        Ok(text.trim().to_owned())
    }

    /// Lets nft and the kernel judge a transaction without making it.
    pub async fn check(&self, text: &str) -> Result<(), Error> {
        self.run(&["-c", "-f", "-"], text).await.map(drop)
    }

    pub async fn commit(&self, text: &str) -> Result<(), Error> {
        self.run(&["-f", "-"], text).await.map(drop)
    }

    /// Our table as it is now; `None`: there is none.
    pub async fn list(&self) -> Result<Option<Present>, Error> {
        let args: Vec<&str> = ["-j", "list", "table"].into_iter().chain(TABLE.split(' ')).collect();
        match self.run(&args, "").await {
            Ok(json) => present::parse(&json).map(Some).map_err(|why| Error::Unavailable(why.to_string())),
            Err(Error::Refused(why)) if why.contains("No such file or directory") => Ok(None),
            Err(why) => Err(why),
        }
    }

    /// All tables without the elements of their sets, as JSON; and all flowtables as text, which alone tells of hardware.
    pub async fn everything(&self) -> Result<(Vec<u8>, String), Error> {
        let json = self.run(&["-j", "-t", "list", "ruleset"], "").await?;
        let text = self.run(&["list", "flowtables"], "").await?;
        Ok((json, String::from_utf8_lossy(&text).into_owned()))
    }

    /// Takes our table away, and nothing else. `add` makes it succeed when there was none.
    pub async fn remove(&self) -> Result<(), Error> {
        self.commit(&format!("add table {TABLE}\ndelete table {TABLE}\n")).await
    }

    async fn run(&self, args: &[&str], input: &str) -> Result<Vec<u8>, Error> {
        let path = self.path.display();
        let child = Command::new(&self.path)
            .args(args)
            .env_clear()
            .env("LC_ALL", "C")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            // With whatever it starts: where `nft` is a script, that would outlive it.
            .process_group(0)
            .spawn()
            .map_err(|why| Error::Unavailable(format!("cannot start {path} ({why}); install nftables or set `nft` to its place")))?;
        let group = child.id().and_then(|id| i32::try_from(id).ok()).map(Pid::from_raw);
        let mut talk = pin!(converse(child, input));
        let said = tokio::time::timeout(self.timeout, &mut talk).await;
        if said.is_err() {
            // Before the child is reaped, while the number is still its own. One that just ended needs no signal.
            let _ = group.map(|group| killpg(group, Signal::SIGKILL));
        }
        match said {
            Ok(Ok((true, out, _))) => Ok(out),
            Ok(Ok((false, _, complaint))) => Err(refusal(&complaint)),
            Ok(Err(why)) => Err(Error::Unavailable(format!("talking to {path}: {why}"))),
            Err(_) => Err(Error::Unavailable(format!("{path} did not end within {} s and was killed", self.timeout.as_secs_f32()))),
        }
    }
}

async fn converse(mut child: Child, input: &str) -> std::io::Result<(bool, Vec<u8>, Vec<u8>)> {
    let (mut stdin, stdout, stderr) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
    let feed = async {
        if let Some(pipe) = stdin.as_mut() {
            // A child that fails early closes its input; what it says about that is on its stderr.
            let _ = pipe.write_all(input.as_bytes()).await;
        }
        drop(stdin);
    };
    let (mut out, mut complaint) = (Vec::new(), Vec::new());
    let read_out = async {
        if let Some(pipe) = stdout {
            pipe.take(MAX_OUTPUT + 1).read_to_end(&mut out).await?;
        }
        Ok::<_, std::io::Error>(())
    };
    let read_complaint = async {
        if let Some(mut pipe) = stderr {
            (&mut pipe).take(MAX_COMPLAINT).read_to_end(&mut complaint).await?;
            tokio::io::copy(&mut pipe, &mut tokio::io::sink()).await?;
        }
        Ok::<_, std::io::Error>(())
    };
    let ((), out_read, complaint_read) = tokio::join!(feed, read_out, read_complaint);
    out_read.and(complaint_read)?;
    if out.len() as u64 > MAX_OUTPUT {
        return Err(std::io::Error::other("more output than any table of ours has"));
    }
    let status = child.wait().await?;
    Ok((status.success(), out, complaint))
}

/// Privileges are the host's matter, the rest is about this transaction. Only the first lines: nft repeats what it was told.
fn refusal(complaint: &[u8]) -> Error {
    let text: Vec<String> = complaint.split(|b| *b == b'\n').filter(|l| !l.is_empty()).take(2).map(|l| printable_bytes(l, 240)).collect();
    let text = text.join(" | ");
    if text.contains("Operation not permitted") {
        Error::Unavailable("not permitted to change the ruleset; CAP_NET_ADMIN is needed".to_owned())
    } else {
        Error::Refused(text)
    }
}

fn dotted((major, minor, patch): (u32, u32, u32)) -> String {
    format!("{major}.{minor}.{patch}")
}

/// `nftables v1.0.6 (Lester Gooch #5)`
fn version(text: &str) -> Option<(u32, u32, u32)> {
    let mut parts = text.strip_prefix("nftables v")?.split_whitespace().next()?.split('.').map(|p| p.parse().ok());
    Some((parts.next()??, parts.next()??, parts.next().flatten().unwrap_or(0)))
}

#[cfg(test)]
mod tests;
