//! What an interrogation learned, as evidence.

use super::{Indicator, Interrogation, stream::is_stream_path};
use crate::probe::answer::TlsFacts;
use rules::{
    Timestamp,
    endpoint::Place,
    evidence::{Auth, Evidence, Facts, Source},
};
use std::collections::BTreeSet;

impl Interrogation {
    /// All that was learned, as evidence. What speaks only against a place nobody named is left out.
    pub fn evidence(&self, at: Timestamp) -> Vec<Evidence> {
        let mut out: Vec<Evidence> = Vec::new();
        let mut told = BTreeSet::new();
        let alone = self.gate_alone();
        for (path, indicator) in self.indicators.iter().chain(alone.as_ref()).filter(|(path, _)| !self.is_repetition(path)) {
            let place = self.place(path);
            if self.worth_telling(path, indicator) && told.insert((place.clone(), indicator.signature)) {
                out.push(
                    Evidence::new(place, Source::Probe, indicator.signature, at).detail(&indicator.detail).facts(indicator.facts.clone()),
                );
            }
        }
        let first = out.first().map(|e| e.place.clone());
        if let Some(place) = first.or_else(|| self.hint.nominated.then(|| self.place(self.known_path()))) {
            out.extend(self.certificates.theirs.as_ref().map(|tls| certificate(tls, place.clone(), at)));
            out.extend(self.posture(&place, at));
        }
        let silent_here = self.presence.absent || (self.presence.reached && out.is_empty());
        if self.hint.nominated && silent_here {
            let what = if self.presence.absent { "connection refused or no answer" } else { "answers, but not as an MCP server" };
            out.push(Evidence::new(self.place(self.known_path()), Source::Probe, "probe.context.gone", at).detail(what));
        }
        out
    }

    /// One server that answers everywhere alike is one server, told where it was first asked.
    fn is_repetition(&self, path: &str) -> bool {
        let signatures = |path: &str| self.indicators.iter().filter(|(p, _)| p == path).map(|(_, s)| s.signature).collect::<BTreeSet<_>>();
        let mine = signatures(path);
        let before = self.indicators.iter().map(|(p, _)| p.as_str()).take_while(|p| *p != path).collect::<BTreeSet<_>>();
        !self.hint.paths.iter().any(|p| p == path) && before.into_iter().any(|p| signatures(p) == mine)
    }

    fn worth_telling(&self, path: &str, indicator: &Indicator) -> bool {
        let positive = |signature: &str| {
            signature.starts_with("probe.server.") && !signature.contains("against") && signature != "probe.server.auth-gate"
        };
        match indicator.signature {
            "probe.server.auth-gate" => path.contains("mcp") || is_stream_path(path) || self.hint.paths.iter().any(|p| p == path),
            signature if positive(signature) => true,
            "probe.context.silent-sse" => true,
            _ => self.hint.nominated || self.indicators.iter().any(|(p, s)| p == path && positive(s.signature)),
        }
    }

    fn known_path(&self) -> &str {
        self.hint.paths.first().map_or("", String::as_str)
    }

    /// Metadata is about the path it was asked for.
    fn place(&self, path: &str) -> Place {
        let path = match path.strip_prefix(rules::mcp::well_known::PROTECTED_RESOURCE) {
            Some(_) => self.gates.paths.first().map_or(path, String::as_str),
            None => path,
        };
        let place = Place::new(self.endpoint).with_target(path);
        match &self.hint.host {
            Some(host) => place.with_host(host),
            None => place,
        }
    }
}

fn certificate(tls: &TlsFacts, place: Place, at: Timestamp) -> Evidence {
    let mutual = if tls.wants_certificate { ", asks for a client certificate" } else { "" };
    let detail = format!("{} {} by {}, names {}, until {}{mutual}", tls.version, tls.subject, tls.issuer, tls.names.join(" "), tls.expires);
    let auth = tls.wants_certificate.then_some(Auth::Mtls);
    let facts = Facts { tls: Some(true), auth, ..Facts::default() };
    Evidence::new(place, Source::Probe, "probe.context.certificate", at).detail(&detail).facts(facts)
}

/// Something beside the point of whether this is a server.
pub(super) fn note(place: &Place, signature: &str, detail: &str, at: Timestamp) -> Evidence {
    Evidence::new(place.clone(), Source::Probe, signature, at).detail(detail)
}
