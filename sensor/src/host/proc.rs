//! What the kernel says about this host: `/proc`, read with bounds. IO; the root is an argument so that tests bring their own.

use std::{
    collections::HashMap,
    fs::{self, File},
    io::{self, Read},
    path::{Path, PathBuf},
};

/// Bytes read of any one file.
const MAX_FILE: u64 = 256 << 10;
/// Processes looked at.
const MAX_PROCESSES: usize = 32_768;
/// Open files looked at per process.
const MAX_FDS: usize = 4096;

#[derive(Clone, Debug)]
pub(super) struct Proc {
    root: PathBuf,
}

/// A process as `/proc/<pid>` shows it; what may not be read is empty.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Raw {
    pub(super) pid: u32,
    pub(super) parent: u32,
    pub(super) uid: u32,
    pub(super) arguments: Vec<String>,
    pub(super) executable: String,
    pub(super) directory: PathBuf,
    pub(super) cgroup: String,
    /// Inodes of its sockets.
    pub(super) sockets: Vec<u64>,
    /// Standard input and output are pipes or sockets.
    pub(super) piped: bool,
}

/// At most [`MAX_FILE`] bytes of a file, as text.
pub(super) fn read(path: &Path) -> io::Result<String> {
    let mut bytes = Vec::new();
    File::open(path)?.take(MAX_FILE).read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

impl Proc {
    pub(super) fn new(root: &Path) -> Proc {
        Proc { root: root.to_owned() }
    }

    /// `/proc/self/net/NAME`: of our own network namespace, nobody else's.
    pub(super) fn net(&self, name: &str) -> io::Result<String> {
        // A busy host has long socket tables; a line is 150 bytes.
        let mut bytes = Vec::new();
        File::open(self.root.join("self/net").join(name))?.take(16 << 20).read_to_end(&mut bytes)?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }

    /// All processes, and of how many the open files could not be read.
    pub(super) fn processes(&self) -> io::Result<(Vec<Raw>, usize)> {
        let mut hidden = 0;
        let pids = fs::read_dir(&self.root)?.filter_map(|e| e.ok()?.file_name().to_str()?.parse::<u32>().ok());
        let all = pids.take(MAX_PROCESSES).filter_map(|pid| self.process(pid, &mut hidden)).collect();
        Ok((all, hidden))
    }

    fn process(&self, pid: u32, hidden: &mut usize) -> Option<Raw> {
        let dir = self.root.join(pid.to_string());
        let status = read(&dir.join("status")).ok()?;
        let field = |name: &str| status.lines().find_map(|l| l.strip_prefix(name)?.split_whitespace().next()?.parse().ok());
        let command = read(&dir.join("cmdline")).unwrap_or_default();
        let link = |name: &str| fs::read_link(dir.join(name)).ok();
        let (sockets, piped) = match self.files(&dir) {
            Ok(found) => found,
            Err(_) => {
                *hidden += 1;
                (Vec::new(), false)
            }
        };
        Some(Raw {
            pid,
            parent: field("PPid:").unwrap_or(0),
            uid: field("Uid:").unwrap_or(u32::MAX),
            arguments: command.split('\0').filter(|a| !a.is_empty()).take(64).map(str::to_owned).collect(),
            executable: link("exe").map(|p| p.to_string_lossy().trim_end_matches(" (deleted)").to_owned()).unwrap_or_default(),
            directory: link("cwd").unwrap_or_default(),
            cgroup: read(&dir.join("cgroup")).unwrap_or_default(),
            sockets,
            piped,
        })
    }

    fn files(&self, dir: &Path) -> io::Result<(Vec<u64>, bool)> {
        let mut sockets = Vec::new();
        let mut piped = 0;
        for entry in fs::read_dir(dir.join("fd"))?.take(MAX_FDS).flatten() {
            let Ok(target) = fs::read_link(entry.path()) else { continue };
            let target = target.to_string_lossy();
            let inode: Option<u64> = target.strip_prefix("socket:[").and_then(|t| t.strip_suffix(']')).and_then(|n| n.parse().ok());
            sockets.extend(inode);
            let standard = matches!(entry.file_name().to_str(), Some("0" | "1"));
            piped += u8::from(standard && (inode.is_some() || target.starts_with("pipe:[")));
        }
        Ok((sockets, piped == 2))
    }
}

/// Which process holds a socket.
pub(super) fn holders(processes: &[Raw]) -> HashMap<u64, &Raw> {
    let mut holders: HashMap<u64, &Raw> = HashMap::new();
    for process in processes {
        for inode in &process.sockets {
            // A socket shared with children belongs to the eldest: it opened it.
            let eldest = holders.entry(*inode).or_insert(process);
            if process.pid < eldest.pid {
                *eldest = process;
            }
        }
    }
    holders
}
