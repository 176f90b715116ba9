//! How a server that was found keeps its door: by-products of answers that were asked for anyway.

use super::{Interrogation, told::note};
use crate::probe::question::LEGACY;
use rules::{Timestamp, endpoint::Place, evidence::Evidence};

impl Interrogation {
    /// About the server at `place`: whether callers need a certificate, and what is weak or old. Each with what showed it.
    pub(super) fn posture(&self, place: &Place, at: Timestamp) -> Vec<Evidence> {
        let said = [self.client_certificate(), self.weak_tls(at), self.outdated()];
        said.into_iter().flatten().map(|(signature, detail)| note(place, signature, &detail, at)).collect()
    }

    /// RFC 8446 §4.3.2: a server that wants a client's certificate asks in the handshake. Whether it insists shows only when
    /// one goes on without: in TLS 1.3 the refusal comes after the handshake, as an alert where the answer should be.
    pub(super) fn client_certificate(&self) -> Option<(&'static str, String)> {
        if let Some(why) = &self.certificates.refused_without {
            return Some(("probe.context.certificate-required", format!("asked for a certificate, and refused without one: {why}")));
        }
        let good = |signature: &str| matches!(signature, "probe.server.discover-result" | "probe.server.initialize-result");
        let (_, answered) = self.indicators.iter().find(|(_, s)| good(s.signature))?;
        Some(match &self.certificates.theirs {
            Some(tls) if tls.wants_certificate => (
                "probe.context.certificate-optional",
                format!("{} asks for a certificate, and without one: {}", tls.version, answered.detail),
            ),
            Some(tls) => ("probe.context.certificate-not-asked", format!("{} asks for none: {}", tls.version, answered.detail)),
            None => ("probe.context.certificate-not-asked", format!("no TLS at all: {}", answered.detail)),
        })
    }

    fn weak_tls(&self, at: Timestamp) -> Option<(&'static str, String)> {
        let tls = self.certificates.theirs.as_ref()?;
        let expired = tls.expires.parse::<Timestamp>().is_ok_and(|until| until <= at);
        let own = !tls.subject.is_empty() && tls.subject == tls.issuer && tls.chain_length == 1;
        let why = match (expired, own) {
            (true, _) => format!("expired at {}", tls.expires),
            (_, true) => "signed by itself".to_owned(),
            _ => return None,
        };
        Some(("probe.context.tls-weak", format!("{}, certificate {} by {}: {why}", tls.version, tls.subject, tls.issuer)))
    }

    /// It was offered the newest revision that has `initialize`, and chose an older one.
    fn outdated(&self) -> Option<(&'static str, String)> {
        let (_, indicator) = self.indicators.iter().find(|(_, s)| s.signature == "probe.server.initialize-result")?;
        let newest = indicator.facts.revisions.last().filter(|r| r.as_str() < LEGACY)?;
        Some(("probe.context.revision-outdated", format!("offered {LEGACY}, chose {newest}: {}", indicator.detail)))
    }
}
