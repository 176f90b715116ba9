//! Landlock (Linux 5.13): which files may be read, written and executed; and no TCP (6.7), no signals or abstract sockets to outside (6.12).

use crate::config::Config;
use landlock::{
    ABI, Access, AccessFs, AccessNet, BitFlags, CompatLevel, Compatible, LandlockStatus, RestrictionStatus, Ruleset, RulesetAttr,
    RulesetCreatedAttr, RulesetError, RulesetStatus, Scope, make_bitflags, path_beneath_rules,
};
use std::path::{Path, PathBuf};

const NEWEST: ABI = ABI::V6;

/// What nft and its libraries need, and where the facts of this host are. Whole directories, since a rule sticks to what is there now and
/// `resolv.conf` is replaced by rename.
const READ: [&str; 5] = ["/etc", "/proc", "/run", "/sys", "/usr"];
/// The program interpreter and libraries; on many hosts links into `/usr`.
const LIBRARIES: [&str; 6] = ["/lib", "/lib32", "/lib64", "/usr/lib", "/usr/lib64", "/usr/local/lib"];

pub(super) fn restrict(config: &Config) -> Result<String, String> {
    let status = rules(config).map_err(|why| why.to_string())?;
    match (status.ruleset, status.landlock) {
        (RulesetStatus::FullyEnforced, landlock) => named(&landlock).map(|name| wider(config, name)),
        (RulesetStatus::PartiallyEnforced, landlock) => named(&landlock).map(|name| wider(config, format!("{name} in part"))),
        (RulesetStatus::NotEnforced, landlock) => Err(named(&landlock).err().unwrap_or_else(|| "refused".to_owned())),
    }
}

/// A thread of its own tries a rule, and takes it along when it ends.
pub(super) fn offered() -> Result<String, String> {
    let attempt = || Ruleset::default().handle_access(AccessFs::MakeBlock)?.create()?.restrict_self();
    let tried = std::thread::spawn(attempt).join().map_err(|_| "it could not be tried".to_owned())?;
    tried.map_err(|why: RulesetError| why.to_string()).and_then(|status| named(&status.landlock))
}

fn rules(config: &Config) -> Result<RestrictionStatus, RulesetError> {
    let read = AccessFs::from_read(NEWEST) & !AccessFs::Execute;
    let write: BitFlags<AccessFs> = make_bitflags!(AccessFs::{WriteFile | Truncate | MakeReg | MakeDir | RemoveFile});
    let exchange = exchanged(config).filter_map(existing_parent);
    let own: Vec<PathBuf> = exchange.chain([config.data.clone()]).collect();
    // Where `resolv.conf` really is.
    let resolvers = std::fs::canonicalize("/etc/resolv.conf").ok().as_deref().and_then(existing_parent);
    Ruleset::default()
        .set_compatibility(CompatLevel::BestEffort)
        .handle_access(AccessFs::from_all(NEWEST))?
        .handle_access(AccessNet::from_all(NEWEST))?
        .scope(Scope::from_all(NEWEST))?
        .create()?
        .add_rules(path_beneath_rules(READ, read))?
        .add_rules(path_beneath_rules(resolvers, read))?
        .add_rules(path_beneath_rules(LIBRARIES, AccessFs::from_read(NEWEST)))?
        .add_rules(path_beneath_rules([&config.nft], AccessFs::from_read(NEWEST)))?
        .add_rules(path_beneath_rules(["/dev/null"], read | AccessFs::WriteFile))?
        .add_rules(path_beneath_rules(own, read | write))?
        .restrict_self()
}

fn exchanged(config: &Config) -> impl Iterator<Item = &Path> {
    [config.sets.as_deref(), config.health.as_deref()].into_iter().flatten()
}

/// Says what may be written since a directory of ours was not there yet.
fn wider(config: &Config, name: String) -> String {
    let missing = |file: &Path| Some((file.parent().filter(|d| !d.is_dir())?.to_owned(), existing_parent(file)?));
    match exchanged(config).find_map(missing) {
        Some((absent, above)) => {
            format!("{name} (may write all of {}, since {} was not there at the start)", above.display(), absent.display())
        }
        None => name,
    }
}

/// The directory of a file, or the nearest above that is there: whoever fills it may come later.
fn existing_parent(file: &Path) -> Option<PathBuf> {
    file.ancestors().skip(1).find(|d| d.is_dir()).map(Path::to_owned)
}

fn named(landlock: &LandlockStatus) -> Result<String, String> {
    match landlock {
        LandlockStatus::NotEnabled => Err("built into this kernel and not enabled; add it to `lsm=` at boot".to_owned()),
        LandlockStatus::NotImplemented => Err("not in this kernel".to_owned()),
        LandlockStatus::Available { effective_abi, .. } => Ok(format!("Landlock ABI {}", *effective_abi as i32)),
    }
}
