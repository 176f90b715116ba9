//! The words of a script. Each command is one line; see `tests/README.md` for the list.

use super::{show, stage::Stage};
use jiff::SignedDuration;
use rules::{
    admission::Exemption,
    endpoint::Place,
    evidence::{Client, Evidence, Implementation, Owner, OwnerSource, Source},
    explain::Subject,
    finding::FindingId,
    period::Period,
    policy::Mode,
    registry::{Backend, Lifecycle, Registration},
};

type Said = Result<Vec<String>, String>;

pub(super) fn perform(stage: &mut Stage, command: &str) -> Said {
    let words: Vec<&str> = command.split_whitespace().collect();
    match words.as_slice() {
        ["wire", "sees", rest @ ..] => sees(stage, Source::Wire, rest),
        ["host", "sees", rest @ ..] => sees(stage, Source::Host, rest),
        ["probe", "sees", rest @ ..] => sees(stage, Source::Probe, rest),
        ["probe", "finds", "nothing", "at", place] => {
            let evidence = Evidence::new(at_place(place)?, Source::Probe, "probe.context.gone", stage.now);
            stage.see("s1", &evidence);
            Ok(stage.judge())
        }
        [place, "falls", "silent"] => {
            stage.falls_silent(&at_place(place)?);
            Ok(stage.judge())
        }
        ["sensor", sensor, "is", "unplugged"] => {
            stage.habits.retain(|(s, _)| s != sensor);
            stage.unplugged.insert((*sensor).to_owned());
            Ok(stage.judge())
        }
        ["sensor", sensor, "is", "back"] => {
            stage.unplugged.remove(*sensor);
            stage.sensors.insert((*sensor).to_owned(), stage.now);
            Ok(stage.judge())
        }
        ["advance", period] => Ok(stage.advance(period.parse()?)),
        ["clock", "jumps", "ahead", by] => Ok(stage.jump(signed(by)?)),
        ["clock", "jumps", "back", by] => Ok(stage.jump(-signed(by)?)),
        ["outage", by] => Ok(stage.jump(signed(by)?)),
        ["restart"] => Ok(stage.restart()),
        ["deliver", "notice"] => deliver(stage, None),
        ["deliver", "notice", place] => deliver(stage, Some(&at_place(place)?)),
        ["register", slug, "backend", url] => register(stage, slug, url),
        ["unregister", slug] => {
            stage.registry.registrations.remove(*slug).ok_or("no such registration")?;
            Ok(stage.judge())
        }
        ["retire", slug] => {
            let since = stage.now;
            stage.registry.registrations.get_mut(*slug).ok_or("no such registration")?.lifecycle = Lifecycle::Sunset { since };
            Ok(stage.judge())
        }
        ["exempt", place, "for", period, "by", by, "approved", approved, "because", reason @ ..] => {
            let until = period.parse::<Period>()?.after(stage.now);
            let exemption =
                Exemption { requested_by: (*by).to_owned(), approved_by: (*approved).to_owned(), reason: reason.join(" "), until };
            let (policy, now) = (stage.policy.clone(), stage.now);
            let refused = case_at(stage, place)?.exempt(exemption, &policy, now).err();
            Ok(refused.map(|why| vec![format!("refused: {why}")]).unwrap_or_else(|| stage.judge()))
        }
        ["snooze", place, period] => {
            let until = period.parse::<Period>()?.after(stage.now);
            let (policy, now, start) = (stage.policy.clone(), stage.now, stage.site().soft_phase_start);
            let refused = case_at(stage, place)?.snooze(until, &policy, start, now).err();
            Ok(refused.map(|why| vec![format!("refused: {why}")]).unwrap_or_else(|| stage.judge()))
        }
        ["policy", key, value] => {
            policy(stage, key, value)?;
            Ok(stage.judge())
        }
        ["show", "servers"] => Ok(show::servers(stage)),
        ["show", "findings"] => Ok(show::findings(stage)),
        ["show", "plan"] => Ok(show::plan(stage)),
        ["show", "why", subject] => Ok(show::why(stage, &about(stage, subject)?)),
        _ => Err(format!("`{command}`")),
    }
}

/// `PLACE MARK [by SENSOR] [client ADDRESS] [owner NAME] [dns-owner NAME] [named NAME] [host NAME] [tools A,B]`
fn sees(stage: &mut Stage, source: Source, words: &[&str]) -> Said {
    let [place, signature, rest @ ..] = words else { return Err("sees what, where?".to_owned()) };
    let mut evidence = Evidence::new(at_place(place)?, source, &full_mark(stage, source, signature)?, stage.now);
    let mut sensor = "s1";
    let (pairs, odd) = rest.as_chunks::<2>();
    for [key, value] in pairs {
        let text = (*value).to_owned();
        match *key {
            "by" => sensor = value,
            "client" => {
                let address = value.parse().map_err(|e| format!("{value}: {e}"))?;
                evidence.facts.client = Some(Client { address, software: None });
            }
            "owner" => evidence.facts.owner = Some(Owner { name: text, source: OwnerSource::ProcessUser }),
            "dns-owner" => evidence.facts.owner = Some(Owner { name: text, source: OwnerSource::ReverseDns }),
            "named" => evidence.facts.server_info = Some(Implementation { name: text, version: None }),
            "host" => evidence.place = evidence.place.with_host(value),
            "tools" => evidence.facts.tools = value.split(',').map(str::to_owned).collect(),
            other => return Err(format!("`{other}`")),
        }
    }
    if odd.is_empty() { Ok(stage.observe(sensor, evidence)) } else { Err(format!("`{}` without a value", odd.join(" "))) }
}

fn full_mark(stage: &Stage, source: Source, short: &str) -> Result<String, String> {
    let source = match source {
        Source::Wire => "wire",
        Source::Host => "host",
        Source::Probe => "probe",
    };
    ["server", "client", "context", "control"]
        .iter()
        .map(|side| format!("{source}.{side}.{short}"))
        .find(|id| stage.pack().get(id).is_some())
        .ok_or_else(|| format!("the pack has no mark `{short}` for the {source}"))
}

fn at_place(text: &str) -> Result<Place, String> {
    let (endpoint, path) = match text.find('/') {
        Some(at) => text.split_at(at),
        None => (text, ""),
    };
    let place = Place::new(endpoint.parse()?);
    Ok(if path.is_empty() { place } else { place.with_target(path) })
}

fn case_at<'a>(stage: &'a mut Stage, place: &str) -> Result<&'a mut rules::admission::Case, String> {
    let place = at_place(place)?;
    let here =
        |m: &&mut rules::site::Matter| m.finding.place.as_ref().is_some_and(|p| p.endpoint == place.endpoint && p.path == place.path);
    stage.matters.values_mut().find(here).map(|m| &mut m.case).ok_or_else(|| format!("no finding at {place}"))
}

fn deliver(stage: &mut Stage, place: Option<&Place>) -> Said {
    let meant = |m: &rules::site::Matter| {
        place.is_none_or(|place| m.finding.place.as_ref().is_some_and(|p| p.endpoint == place.endpoint && p.path == place.path))
    };
    let (now, matters) = (stage.now, &stage.matters);
    let ids: Vec<FindingId> = stage.undelivered.iter().filter(|id| matters.get(id).is_some_and(meant)).cloned().collect();
    for id in &ids {
        if let Some(m) = stage.matters.get_mut(id) {
            m.case.delivered(now);
        }
    }
    stage.undelivered.retain(|id| !ids.contains(id));
    let mut lines = if ids.is_empty() { vec!["nothing waits for its delivery".to_owned()] } else { Vec::new() };
    lines.extend(stage.judge());
    Ok(lines)
}

fn register(stage: &mut Stage, slug: &str, url: &str) -> Said {
    let registration = Registration {
        slug: slug.to_owned(),
        name: slug.to_owned(),
        description: String::new(),
        version: "1.0.0".to_owned(),
        owner: "platform".to_owned(),
        contact: "platform@corp.example".to_owned(),
        backends: vec![Backend { url: url.parse().map_err(|e| format!("{url}: {e}"))?, addresses: Default::default() }],
        transport: None,
        lifecycle: Lifecycle::Active,
        tools: Default::default(),
        revision: 1,
        registered_at: stage.now,
        registered_by: "ann".to_owned(),
    };
    registration.check().map_err(|e| e.to_string())?;
    stage.registry.revision += 1;
    stage.registry.registrations.insert(slug.to_owned(), registration);
    Ok(stage.judge())
}

fn policy(stage: &mut Stage, key: &str, value: &str) -> Result<(), String> {
    let net = || value.parse().map_err(|e| format!("{value}: {e}"));
    let policy = &mut stage.policy;
    match (key, value) {
        ("mode", "observe") => policy.mode = Mode::Observe,
        ("mode", "soft") => policy.mode = Mode::Soft,
        ("mode", "hard") => policy.mode = Mode::Hard,
        ("grace", _) => policy.grace.period = value.parse()?,
        ("soft-phase", _) => policy.grace.soft_phase = value.parse()?,
        ("protected", _) => policy.protected.push(net()?),
        ("agents", "none") => policy.agents.clear(),
        ("agents", _) => policy.agents.push(net()?),
        ("max-new-blocks", _) => policy.blocking.max_new_blocks = value.parse().map_err(|e| format!("{value}: {e}"))?,
        _ => return Err(format!("`policy {key} {value}`")),
    }
    Ok(())
}

fn signed(text: &str) -> Result<SignedDuration, String> {
    let Period(by) = text.parse()?;
    SignedDuration::try_from(by).map_err(|e| e.to_string())
}

fn about(stage: &Stage, text: &str) -> Result<Subject, String> {
    match at_place(text) {
        Ok(place) if place.path.is_some() => {
            let here = |m: &&rules::site::Matter| m.finding.place.as_ref() == Some(&place);
            let id = stage.matters.values().find(here).map(|m| m.finding.id.clone());
            Ok(id.map_or(Subject::Endpoint(place.endpoint), |id| Subject::Finding(id.into())))
        }
        _ => text.parse(),
    }
}
