//! What may be told about a process: a command line without secrets, its unit, its container. Pure.

use rules::printable::printable;

const MAX_COMMAND: usize = 200;
const SECRET_WORDS: [&str; 10] = ["token", "key", "secret", "passw", "auth", "credential", "header", "bearer", "cookie", "dsn"];

/// The command line, without what looks like a secret, printable, at most 200 characters.
pub(super) fn command(arguments: &[String]) -> String {
    let mut out: Vec<String> = Vec::new();
    let mut hide_next = false;
    for argument in arguments {
        let hide = std::mem::replace(&mut hide_next, false);
        if hide && !argument.starts_with("--") {
            out.push("***".to_owned());
            continue;
        }
        let (name, value) = match argument.split_once('=') {
            Some((name, value)) => (name, Some(value)),
            None => (argument.as_str(), None),
        };
        let is_flag = name.starts_with('-');
        let secret = is_secret_name(name);
        match value {
            Some(_) if secret => out.push(format!("{name}=***")),
            _ if is_flag && (secret || name == "-H") => {
                hide_next = true;
                out.push(argument.clone());
            }
            _ => out.push(cleaned(argument)),
        }
    }
    printable(&out.join(" "), MAX_COMMAND)
}

fn is_secret_name(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    SECRET_WORDS.iter().any(|w| name.contains(w)) && name.len() <= 64 && !name.contains('/')
}

/// URLs lose user, password and query; long random-looking words go.
fn cleaned(argument: &str) -> String {
    if let Some((scheme, rest)) = argument.split_once("://") {
        let rest = rest.split(['?', '#']).next().unwrap_or_default();
        let (authority, path) = rest.split_once('/').map_or((rest, ""), |(a, p)| (a, p));
        let host = authority.rsplit('@').next().unwrap_or_default();
        let slash = if rest.contains('/') { "/" } else { "" };
        return format!("{scheme}://{host}{slash}{path}");
    }
    let random = argument.len() >= 24
        && argument.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_+=.".contains(&b))
        && argument.bytes().any(|b| b.is_ascii_digit())
        && argument.bytes().any(|b| b.is_ascii_uppercase());
    if random { "***".to_owned() } else { argument.to_owned() }
}

/// systemd unit and container of a `/proc/<pid>/cgroup`: `(unit, container)`.
pub(super) fn cgroup(text: &str) -> (Option<String>, Option<String>) {
    let mut unit = None;
    let mut container = None;
    for part in text.lines().filter_map(|l| l.rsplit_once(':')).flat_map(|(_, path)| path.split('/')) {
        let bare = part.strip_suffix(".scope").or_else(|| part.strip_suffix(".service")).unwrap_or(part);
        let id = bare.rsplit('-').next().unwrap_or_default();
        if id.len() == 64 && id.bytes().all(|b| b.is_ascii_hexdigit()) {
            container = Some(id.chars().take(12).collect());
        } else if part.ends_with(".service") && !part.starts_with("user@") {
            unit = Some(printable(part, 120));
        }
    }
    (unit, container)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(line: &str) -> String {
        command(&line.split(' ').map(str::to_owned).collect::<Vec<_>>())
    }

    #[test]
    fn secrets_do_not_leave_the_process() {
        for line in [
            "srv --token S3CRET",
            "srv --api-key=S3CRET",
            "npx mcp-remote https://u:S3CRET@h.test/mcp?key=S3CRET --header S3CRET",
            "curl -H S3CRET",
            "env API_TOKEN=S3CRET node x.js",
            "srv AbCdEfGh0123456789S3CRETxx",
        ] {
            assert!(!shown(line).contains("S3CRET"), "{}", shown(line));
        }
        assert_eq!(shown("python -m mcp_server_time --port 8000"), "python -m mcp_server_time --port 8000");
        assert_eq!(shown("npx mcp-remote https://h.test/mcp?x=1"), "npx mcp-remote https://h.test/mcp");
    }

    #[test]
    fn cgroups_name_units_and_containers() {
        assert_eq!(cgroup("0::/system.slice/tools.service\n"), (Some("tools.service".into()), None));
        let id = "0123456789abcdef".repeat(4);
        assert_eq!(cgroup(&format!("0::/system.slice/docker-{id}.scope")), (None, Some("0123456789ab".into())));
        assert_eq!(cgroup(&format!("1:name=x:/kubepods/pod1/{id}")), (None, Some("0123456789ab".into())));
        assert_eq!(cgroup("0::/user.slice/user-1000.slice/user@1000.service/app.slice/a.scope"), (None, None));
    }
}
