//! Who answers for a process: its user, its unit, its container, the repository it runs from. Reads one file, runs nothing.

use super::proc::read;
use rules::{
    evidence::{Owner, OwnerSource},
    printable::printable,
};
use std::path::Path;

/// Everything known, most believable first. System accounts are nobody's name.
pub(super) fn owners(user: &str, uid: u32, unit: Option<&str>, container: Option<&str>, directory: &Path) -> Vec<Owner> {
    let person = (1000..65_534).contains(&uid) && !user.is_empty();
    let known = [
        person.then(|| (user.to_owned(), OwnerSource::ProcessUser)),
        unit.map(|u| (u.to_owned(), OwnerSource::SystemdUnit)),
        container.map(|c| (c.to_owned(), OwnerSource::Container)),
        git_remote(directory).map(|r| (r, OwnerSource::GitRemote)),
    ];
    known.into_iter().flatten().map(|(name, source)| Owner { name, source }).collect()
}

/// The origin of the repository around a directory, without credentials.
fn git_remote(directory: &Path) -> Option<String> {
    let config = directory.ancestors().take(6).map(|d| d.join(".git/config")).find_map(|p| read(&p).ok())?;
    origin(&config)
}

fn origin(config: &str) -> Option<String> {
    let mut inside = false;
    for line in config.lines().map(str::trim).take(500) {
        if line.starts_with('[') {
            inside = line == "[remote \"origin\"]";
        } else if inside && let Some(url) = line.strip_prefix("url").and_then(|l| l.trim_start().strip_prefix('=')) {
            return Some(printable(&without_credentials(url.trim()), 120));
        }
    }
    None
}

fn without_credentials(url: &str) -> String {
    match url.split_once("://") {
        Some((scheme, rest)) => match rest.split_once('/') {
            Some((authority, path)) => format!("{scheme}://{}/{path}", authority.rsplit('@').next().unwrap_or_default()),
            None => format!("{scheme}://{}", rest.rsplit('@').next().unwrap_or_default()),
        },
        None => url.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_remote_comes_without_its_token() {
        let config =
            "[core]\n\tbare = false\n[remote \"fork\"]\n\turl = x\n[remote \"origin\"]\n\turl = https://bob:tok@git.test/team/tool.git\n";
        assert_eq!(origin(config).as_deref(), Some("https://git.test/team/tool.git"));
        assert_eq!(origin("[remote \"origin\"]\n\turl = git@git.test:team/tool.git").as_deref(), Some("git@git.test:team/tool.git"));
        assert_eq!(origin("[core]"), None);
    }

    #[test]
    fn system_accounts_own_nothing() {
        assert_eq!(
            owners("www-data", 33, Some("nginx.service"), None, Path::new("/")).first().map(|o| o.source),
            Some(OwnerSource::SystemdUnit)
        );
    }
}
