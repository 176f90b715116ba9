//! The start screen: what runs, what is off and why, where to look.

use super::roles::Started;
use crate::{
    api,
    failure::Failure,
    out::{self, BOLD, DIM, WARN},
    table::some,
};
use serde::Serialize;
use std::{io::IsTerminal, path::Path};

/// One part, and what there is to say about it.
#[derive(Debug, Serialize)]
struct Part {
    part: &'static str,
    on: bool,
    says: String,
}

#[derive(Debug, Serialize)]
struct Start<'a> {
    event: &'static str,
    version: &'static str,
    pid: u32,
    data: &'a Path,
    admin: String,
    gateway: String,
    decision_key: &'a str,
    parts: Vec<Part>,
}

pub(super) fn show(started: &Started, json: bool) -> Result<(), Failure> {
    let start = Start {
        event: "started",
        version: env!("CARGO_PKG_VERSION"),
        pid: std::process::id(),
        data: &started.data,
        admin: format!("http://{}", started.admin),
        gateway: format!("http://{}", started.gateway),
        decision_key: &started.key_id,
        parts: parts(started),
    };
    if json { out::object(&start) } else { print(&start) }
}

fn print(start: &Start<'_>) -> Result<(), Failure> {
    out::line(format!("{BOLD}Gnomon {}{BOLD:#}\n", start.version))?;
    for part in &start.parts {
        let (style, signature) = if part.on { (DIM, "on ") } else { (WARN, "off") };
        out::line(format!("  {:<11}{style}{signature}{style:#}  {}", part.part, part.says))?;
    }
    out::line(format!("\n  status     {}", status_page(start)))?;
    out::line(format!("  gateway    {}/mcp/v1/tools/<slug>/rpc", start.gateway))?;
    out::line(format!("  data       {}", start.data.display()))?;
    out::line(format!("\n{DIM}Ctrl-C ends it; `gnomon servers`, `gnomon findings` and `gnomon registry` ask it.{DIM:#}\n"))
}

/// With the token on a terminal, so that it can be clicked; without it in a log, where others read.
fn status_page(start: &Start<'_>) -> String {
    match api::read_token(start.data) {
        Ok(token) if std::io::stdout().is_terminal() => format!("{}/?token={token}", start.admin),
        // For a shell of whoever may read the token.
        _ => format!("{}/?token=$(cat {})", start.admin, start.data.join("admin.token").display()),
    }
}

fn parts(started: &Started) -> Vec<Part> {
    let config = &started.config;
    let part = |part, on, says: String| Part { part, on, says };
    let mut all = vec![wire(started)];
    let host = &config.sensor.host;
    all.push(part("host", host.enabled, format!("listeners and client configurations of this machine, every {}", host.every)));
    let probe = &config.sensor.probe;
    all.push(match probe.scan.targets.as_slice() {
        [] => part("probe", false, "asks nobody: no address was named (--probe CIDR)".to_owned()),
        named => part("probe", true, format!("asks {}, every {}", some(named, 4), probe.every)),
    });
    all.push(part(
        "collector",
        true,
        format!("site `{}`, {} mode", config.collector.site, crate::table::word(&config.collector.policy.mode)),
    ));
    all.push(match config.collector.intake {
        Some(address) => part("intake", true, format!("remote sensors at https://{address}")),
        None => part("intake", false, "takes in no remote sensors (--intake ADDR)".to_owned()),
    });
    all.push(enforcer(started));
    all
}

fn wire(started: &Started) -> Part {
    let capture = &started.config.sensor.capture;
    let reset = &started.config.sensor.reset;
    let sends = if reset.enabled && reset.ready().is_ok() {
        format!("{WARN}resets{WARN:#} connections to blocked servers (best effort, no enforcement)")
    } else {
        "sends nothing".to_owned()
    };
    let says = match (capture.enabled, sensor::privileges::may_capture()) {
        (false, _) => return Part { part: "wire", on: false, says: "turned off in the configuration".to_owned() },
        (true, Err(why)) => return Part { part: "wire", on: false, says: rules::printable::printable(&why.to_string(), 300) },
        (true, Ok(())) => match capture.interfaces.as_slice() {
            [] => format!("listens on all interfaces, {sends}"),
            named => format!("listens on {}, {sends}", some(named, 8)),
        },
    };
    Part { part: "wire", on: true, says }
}

fn enforcer(started: &Started) -> Part {
    let agents = &started.config.collector.policy.agents;
    let whom = if agents.is_empty() { "nobody: no agent range is set (--agents CIDR)".to_owned() } else { some(agents, 4) };
    match started.config.enforcer.mode {
        enforcer::Mode::DryRun => {
            Part { part: "enforcer", on: true, says: format!("dry run: plans and checks, blocks nothing; would bind {whom}") }
        }
        enforcer::Mode::Enforce => {
            Part { part: "enforcer", on: true, says: format!("{WARN}blocks{WARN:#} what is due, for traffic from {whom}") }
        }
    }
}

pub(super) fn farewell(late: &[&'static str], json: bool) -> Result<(), Failure> {
    if json {
        return out::object(&serde_json::json!({"event": "ended", "late": late}));
    }
    if late.is_empty() {
        return out::line("ended; everything that was acknowledged is kept");
    }
    out::line(format!("{WARN}ended, but {} did not finish in time{WARN:#}; what was acknowledged is kept", late.join(", ")))
}
