//! The channels themselves: a letter goes out, and whether it was taken comes back.

use super::letter::{Channel, Waiting};
use crate::config::notify::{Config, Webhook};
use ring::hmac;
use rules::Timestamp;
use std::time::Duration;

/// The channels, opened.
pub(crate) struct Channels {
    pub(super) config: Config,
    /// Made when there is a webhook at all.
    client: Option<reqwest::Client>,
    /// This machine, as syslog has it.
    host: String,
    webhook: Option<Keyed>,
    security: Option<Keyed>,
}

impl Channels {
    /// Reads the secrets. A channel that cannot work is an error at the start, not when somebody should be told.
    pub(crate) fn open(config: &Config) -> Result<Channels, String> {
        let (webhook, security) = (keyed(config.webhook.as_ref())?, keyed(config.security.as_ref())?);
        let client = (webhook.is_some() || security.is_some()).then(|| {
            reqwest::Client::builder()
                .redirect(reqwest::redirect::Policy::none())
                .connect_timeout(Duration::from_secs(5))
                .timeout(Duration::from_secs(15))
                .user_agent(concat!("gnomon/", env!("CARGO_PKG_VERSION")))
                .build()
                .map_err(|e| format!("webhooks cannot be used: {e}; are the system's CA certificates installed?"))
        });
        let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default().trim().to_owned();
        Ok(Channels { config: config.clone(), client: client.transpose()?, host, webhook, security })
    }

    pub(super) async fn send(&self, one: &Waiting, now: Timestamp) -> Result<(), String> {
        let hook = match one.channel {
            Channel::Log => {
                let letter = &one.letter;
                tracing::warn!(finding = %letter.finding, to = %letter.to, subject = %letter.subject, "{}", letter.text);
                return Ok(());
            }
            Channel::Syslog => {
                let Some(syslog) = &self.config.syslog else { return Err("the channel is no longer configured".to_owned()) };
                return syslog.send(&one.letter, &self.host, now).await;
            }
            Channel::Webhook => &self.webhook,
            Channel::Security => &self.security,
            Channel::Other(_) => return Err("no such channel in this version".to_owned()),
        };
        let (Some((hook, key)), Some(client)) = (hook, &self.client) else {
            return Err("the channel is no longer configured".to_owned());
        };
        let body = hook.format.body(&one.letter)?;
        let stamp = now.as_second().to_string();
        let mut request = client
            .post(hook.url.clone())
            .header("content-type", "application/json")
            .header("idempotency-key", format!("{} {} {}", one.letter.finding, one.step, one.channel))
            .header("x-gnomon-timestamp", &stamp);
        if let Some(key) = key {
            let tag = hmac::sign(key, format!("{stamp}.{body}").as_bytes());
            request = request.header("x-gnomon-signature", format!("sha256={}", crate::hex(tag.as_ref())));
        }
        let answer = request.body(body).send().await.map_err(|e| e.without_url().to_string())?;
        if answer.status().is_success() { Ok(()) } else { Err(format!("the webhook answered {}", answer.status())) }
    }
}

type Keyed = (Webhook, Option<hmac::Key>);

/// The webhook with its secret.
fn keyed(hook: Option<&Webhook>) -> Result<Option<Keyed>, String> {
    let Some(hook) = hook.cloned() else { return Ok(None) };
    let key = match &hook.secret_file {
        None => None,
        Some(path) => {
            let secret = std::fs::read(path).map_err(|e| format!("the webhook's secret_file {} cannot be read: {e}", path.display()))?;
            Some(hmac::Key::new(hmac::HMAC_SHA256, secret.trim_ascii()))
        }
    };
    Ok(Some((hook, key)))
}
