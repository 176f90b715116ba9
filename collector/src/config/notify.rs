//! Settings of the channels that people are told by.

use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Where owners are told.
    pub webhook: Option<Webhook>,
    /// Where the site's security people are told: findings without an owner or whose owner was not reached, blind sensors.
    /// Unset: `webhook`.
    pub security: Option<Webhook>,
    pub log: Log,
    /// A syslog server that gets every letter as well. It proves nothing: syslog does not answer.
    pub syslog: Option<Syslog>,
    /// Whether a notice delivered to the security queue starts the clock: somebody who answers for the site was told.
    pub security_counts: bool,
}

impl Default for Config {
    fn default() -> Config {
        Config { webhook: None, security: None, log: Log::default(), syslog: None, security_counts: true }
    }
}

#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Webhook {
    pub url: url::Url,
    /// File with the secret that signs each message: `X-Gnomon-Signature: sha256=HEX`, HMAC-SHA-256 (RFC 2104) over
    /// `X-Gnomon-Timestamp`, a full stop and the body.
    #[serde(default)]
    pub secret_file: Option<std::path::PathBuf>,
    /// `gnomon`: the letter itself; `slack`, `teams`: as their webhooks want it.
    #[serde(default)]
    pub format: Format,
}

impl std::fmt::Debug for Webhook {
    /// The URL may hold a secret in its path: only the host is shown.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Webhook").field("host", &self.url.host_str()).finish_non_exhaustive()
    }
}

/// Messages as log lines of this process.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Log {
    pub enabled: bool,
    /// Whether a log line is proof that somebody was told. True only where whoever runs the process reads its log and answers
    /// for the servers, as with `gnomon up` on one's own machine.
    pub counts: bool,
}

impl Default for Log {
    fn default() -> Log {
        Log { enabled: true, counts: false }
    }
}

impl Config {
    pub(crate) fn check(&self) -> Result<(), String> {
        for (name, hook) in [("webhook", &self.webhook), ("security", &self.security)] {
            if let Some(hook) = hook
                && !(matches!(hook.url.scheme(), "http" | "https") && hook.url.has_host())
            {
                return Err(format!("`notify.{name}.url` must be an http or https URL with a host"));
            }
        }
        self.syslog.as_ref().map_or(Ok(()), Syslog::check)
    }
}

/// Whose webhook it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Format {
    /// The letter itself, for a program.
    #[default]
    Gnomon,
    /// A Slack incoming webhook: `text` for notifications, `blocks` to read.
    Slack,
    /// A Teams workflow ("when a webhook request is received"): one Adaptive Card 1.4.
    Teams,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Syslog {
    /// `HOST:PORT`.
    pub address: String,
    #[serde(default)]
    pub transport: Transport,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Transport {
    #[default]
    Udp,
    Tcp,
}

impl Syslog {
    fn check(&self) -> Result<(), String> {
        let good = self.address.rsplit_once(':').is_some_and(|(host, port)| !host.is_empty() && port.parse::<u16>().is_ok());
        if good { Ok(()) } else { Err("`notify.syslog.address` must be HOST:PORT".to_owned()) }
    }
}
