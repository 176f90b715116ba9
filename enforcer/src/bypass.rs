//! Ways past our rules that other tables and the host itself hold open: said, since we cannot and must not close them.
//!
//! *Not* a bypass, so not listed: a table that accepts earlier, since `accept` ends its own chain only and the packet goes on to ours;
//! `notrack`, since no rule of ours asks connection tracking. Not seen from here: tc, XDP, Open vSwitch, and offload by iptables' legacy tables.
#![deny(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use crate::{config::Hook, nft::Nft};
use rules::{observation::PointStatus, printable::printable};
use serde_json::Value;
use std::{collections::BTreeSet, fs, path::Path};
use tokio::sync::watch;

/// Looks now and then every [`PointStatus::EVERY`], beside the loop, which must not wait for the listing of a large ruleset. Ends with the
/// receiver.
pub async fn keep_looking(nft: Nft, hooks: BTreeSet<Hook>, tell: watch::Sender<Vec<String>>) {
    let mut due = tokio::time::interval(PointStatus::EVERY.0);
    due.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = tell.closed() => return,
            _ = due.tick() => {}
        }
        let found = survey(&nft, &hooks).await;
        tell.send_if_modified(|known| std::mem::replace(known, found.clone()) != found);
    }
}

/// What passes by us at this host now, at most as many as one report holds. That it could not be looked for is one of them.
pub async fn survey(nft: &Nft, hooks: &BTreeSet<Hook>) -> Vec<String> {
    let (json, text, unseen) = match nft.everything().await {
        Ok((json, text)) => (json, text, None),
        Err(why) => (Vec::new(), String::new(), Some(format!("what other tables let by could not be seen: {why}"))),
    };
    let mut found = find(&json, &text, &Host { bridges: bridges(), forwards: forwards() }, hooks);
    found.splice(..0, unseen);
    found.truncate(PointStatus::MAX_BYPASSES);
    found
}

/// Ways past us at this host, in words. `json` is `nft -j -t list ruleset`, `text` is `nft list flowtables`: the first does not tell
/// whether the hardware does it.
pub fn find(json: &[u8], text: &str, host: &Host, hooks: &BTreeSet<Hook>) -> Vec<String> {
    let listing: Value = serde_json::from_slice(json).unwrap_or_default();
    let objects = listing.get("nftables").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let routes = hooks.contains(&Hook::Forward) || hooks.contains(&Hook::Prerouting);
    let mut found = Vec::new();
    if routes {
        found.extend(objects.iter().filter_map(|o| flowtable(o.get("flowtable")?, objects, text)));
        found.extend(host.bridges.iter().filter(|b| b.ports > 1 && !b.filtered).map(|b| {
            let (name, ports) = (printable(&b.name, 16), b.ports);
            format!("bridge {name}: what passes between its {ports} ports is not judged (bridge-nf-call-iptables is off)")
        }));
    }
    found.extend(objects.iter().filter_map(|o| forwarded(o.get("rule")?)));
    if !hooks.contains(&Hook::Prerouting) && (hooks.contains(&Hook::Input) || hooks.contains(&Hook::Forward)) {
        found.extend(objects.iter().filter_map(|o| translated(o.get("rule")?)));
    }
    if hooks.contains(&Hook::Output) {
        let of = |o: &Value| Some((word(o, "family")?.to_owned(), word(o, "table")?.to_owned()));
        let leaving = |o: &Value| of(o.get("chain").filter(|c| word(c, "hook") == Some("output") && word(c, "type") == Some("nat"))?);
        let tables: BTreeSet<_> = objects.iter().filter_map(leaving).collect();
        let rules = objects.iter().filter_map(|o| o.get("rule"));
        found.extend(rules.filter(|rule| of(rule).is_some_and(|of| tables.contains(&of))).filter_map(|rule| {
            let at = translates(rule)?;
            Some(format!("destinations are translated in {at} as they leave: what programs here aim at there is judged by where it leads"))
        }));
    }
    if hooks.contains(&Hook::Output) && !hooks.contains(&Hook::Forward) && host.forwards {
        let what = "this host forwards: what its containers and virtual machines send is not judged without the hook `forward`";
        found.push(what.to_owned());
    }
    found.sort();
    found.dedup();
    found
}

/// A flowtable that some rule gives flows to. From its second packet on, such a flow is seen by no forward rule, also one that was open
/// when the block came.
fn flowtable(table: &Value, objects: &[Value], text: &str) -> Option<String> {
    let (family, of, name) = (word(table, "family")?, word(table, "table")?, word(table, "name")?);
    let fed = objects.iter().filter_map(|o| o.get("rule")).any(|rule| {
        let here = word(rule, "family") == Some(family) && word(rule, "table") == Some(of);
        here && statements(rule).any(|s| s.get("flow").and_then(|f| word(f, "flowtable")).map(|n| n.trim_start_matches('@')) == Some(name))
    });
    if !fed {
        return None;
    }
    let devices = match table.get("dev") {
        Some(Value::String(one)) => one.clone(),
        Some(Value::Array(many)) => many.iter().filter_map(Value::as_str).collect::<Vec<_>>().join(", "),
        _ => "no device".to_owned(),
    };
    let by = if in_hardware(text, family, of, name) { "the hardware's way" } else { "the kernel's short way" };
    let at = printable(&format!("{family} {of} {name} on {devices}"), 160);
    Some(format!("flowtable {at}: its flows take {by}, and those open when a block comes go on"))
}

/// `flags offload` between the line of this flowtable and its end.
fn in_hardware(text: &str, family: &str, table: &str, name: &str) -> bool {
    let (heading, opening) = (format!("table {family} {table} {{"), format!("flowtable {name} {{"));
    let lines = text.lines().map(str::trim).skip_while(|l| *l != heading).skip_while(|l| *l != opening);
    lines
        .take_while(|l| *l != "}")
        .any(|l| l.strip_prefix("flags ").is_some_and(|f| f.trim_end_matches(';').split(", ").any(|f| f == "offload")))
}

/// A rule of the netdev family that sends packets out at another device, before any hook of ours.
fn forwarded(rule: &Value) -> Option<String> {
    let to = statements(rule).find_map(|s| s.get("fwd"))?;
    let (of, chain) = (word(rule, "table")?, word(rule, "chain")?);
    let to = to.get("dev").and_then(Value::as_str).unwrap_or("another device");
    Some(format!(
        "rule in {}: what it sends to {} does not come by here",
        printable(&format!("netdev {of} {chain}"), 80),
        printable(to, 16)
    ))
}

/// A rule that gives packets another destination before our hooks see them: a block of the address that clients aim at binds nothing.
fn translated(rule: &Value) -> Option<String> {
    let at = translates(rule)?;
    Some(format!(
        "destinations are translated in {at}: what clients aim at there is judged only with the hook `prerouting` (and `input` for this host's own addresses)"
    ))
}

/// Where that rule is, if it does.
fn translates(rule: &Value) -> Option<String> {
    let target = |s: &Value| {
        let xt = s.get("xt").and_then(|xt| word(xt, "name"));
        s.get("dnat").is_some() || s.get("redirect").is_some() || matches!(xt, Some("DNAT" | "REDIRECT"))
    };
    statements(rule).any(target).then_some(())?;
    let (family, of, chain) = (word(rule, "family")?, word(rule, "table")?, word(rule, "chain")?);
    Some(printable(&format!("{family} {of} {chain}"), 80))
}

fn statements(rule: &Value) -> impl Iterator<Item = &Value> {
    rule.get("expr").and_then(Value::as_array).into_iter().flatten()
}

fn word<'a>(of: &'a Value, key: &str) -> Option<&'a str> {
    of.get(key)?.as_str()
}

/// What the host itself does with packets.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Host {
    pub bridges: Vec<Bridge>,
    pub forwards: bool,
}

/// Whether it passes on packets of others, of either family.
pub fn forwards() -> bool {
    ["ipv4/ip_forward", "ipv6/conf/all/forwarding"]
        .iter()
        .any(|name| fs::read_to_string(format!("/proc/sys/net/{name}")).is_ok_and(|text| text.trim() == "1"))
}

/// One bridge of this network namespace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bridge {
    pub name: String,
    pub ports: usize,
    /// br_netfilter shows its packets to rules like ours.
    pub filtered: bool,
}

/// As `/sys/class/net` tells. What cannot be read is no bridge.
pub fn bridges() -> Vec<Bridge> {
    let on = |path: &Path| fs::read_to_string(path).is_ok_and(|t| t.trim() == "1");
    let everywhere =
        on(Path::new("/proc/sys/net/bridge/bridge-nf-call-iptables")) && on(Path::new("/proc/sys/net/bridge/bridge-nf-call-ip6tables"));
    let devices = fs::read_dir("/sys/class/net").into_iter().flatten().flatten();
    let bridge = |device: fs::DirEntry| {
        let own = device.path().join("bridge");
        if !own.is_dir() {
            return None;
        }
        let here = on(&own.join("nf_call_iptables")) && on(&own.join("nf_call_ip6tables"));
        let ports = fs::read_dir(device.path().join("brif")).into_iter().flatten().count();
        Some(Bridge { name: device.file_name().to_string_lossy().into_owned(), ports, filtered: everywhere || here })
    };
    devices.filter_map(bridge).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const RULESET: &str = r#"{"nftables": [{"metainfo": {"version": "1.0.6"}},
        {"flowtable": {"family": "inet", "name": "fast", "table": "fw", "handle": 2, "hook": "ingress", "prio": 0, "dev": ["eth0", "eth1"]}},
        {"flowtable": {"family": "ip", "name": "hw", "table": "fw", "handle": 2, "hook": "ingress", "prio": 0, "dev": "eth0"}},
        {"flowtable": {"family": "inet", "name": "idle", "table": "fw", "handle": 3, "hook": "ingress", "prio": 0, "dev": "eth0"}},
        {"rule": {"family": "inet", "table": "fw", "chain": "forward", "handle": 4, "expr": [{"flow": {"op": "add", "flowtable": "@fast"}}]}},
        {"rule": {"family": "ip", "table": "fw", "chain": "forward", "handle": 4, "expr": [{"flow": {"op": "add", "flowtable": "@hw"}}]}},
        {"rule": {"family": "inet", "table": "raw", "chain": "p", "handle": 2, "expr": [{"notrack": null}]}},
        {"rule": {"family": "inet", "table": "early", "chain": "p", "handle": 2, "expr": [{"accept": null}]}},
        {"rule": {"family": "ip", "table": "nat", "chain": "DOCKER", "handle": 5, "expr": [{"dnat": {"addr": "172.17.0.2", "port": 3000}}]}},
        {"rule": {"family": "ip", "table": "nat", "chain": "old", "handle": 6, "expr": [{"xt": {"type": "target", "name": "REDIRECT"}}]}},
        {"rule": {"family": "netdev", "table": "tap", "chain": "in", "handle": 2, "expr": [{"fwd": {"dev": "eth9"}}]}}]}"#;
    const TEXT: &str = "table inet fw {\n\tflowtable fast {\n\t\thook ingress priority filter\n\t\tdevices = { eth0, eth1 }\n\t}\n}\ntable ip fw {\n\tflowtable hw {\n\t\thook ingress priority filter\n\t\tdevices = { eth0 }\n\t\tflags offload;\n\t}\n}\n";

    #[test]
    fn names_what_passes_by_and_nothing_else() {
        let bridge = |name: &str, ports, filtered| Bridge { name: name.to_owned(), ports, filtered };
        let bridges = [bridge("br0", 3, false), bridge("docker0", 1, false), bridge("virbr0", 2, true)];
        let host = Host { bridges: bridges.into(), forwards: true };
        let found = find(RULESET.as_bytes(), TEXT, &host, &[Hook::Forward].into());
        expect_test::expect![[r#"
            bridge br0: what passes between its 3 ports is not judged (bridge-nf-call-iptables is off)
            destinations are translated in ip nat DOCKER: what clients aim at there is judged only with the hook `prerouting` (and `input` for this host's own addresses)
            destinations are translated in ip nat old: what clients aim at there is judged only with the hook `prerouting` (and `input` for this host's own addresses)
            flowtable inet fw fast on eth0, eth1: its flows take the kernel's short way, and those open when a block comes go on
            flowtable ip fw hw on eth0: its flows take the hardware's way, and those open when a block comes go on
            rule in netdev tap in: what it sends to eth9 does not come by here"#]]
        .assert_eq(&found.join("\n"));
        // What a host sends or gets itself goes through no flowtable and over no bridge's ports.
        let found = find(RULESET.as_bytes(), TEXT, &host, &[Hook::Output].into());
        assert!(found.len() == 2 && found.iter().any(|f| f.starts_with("this host forwards")), "{found:?}");
        assert_eq!(find(RULESET.as_bytes(), TEXT, &Host::default(), &[Hook::Output].into()).len(), 1);
        assert_eq!(find(RULESET.as_bytes(), TEXT, &Host::default(), &[Hook::Input, Hook::Prerouting].into()).len(), 3);
    }

    #[test]
    fn garbage_is_no_bypass() {
        for json in ["", "[]", "{\"nftables\": 7}", "{\"nftables\": [{\"flowtable\": {}}, {\"rule\": {\"expr\": [7]}}, null]}"] {
            assert!(find(json.as_bytes(), "flags offload", &Host::default(), &[Hook::Forward].into()).is_empty(), "{json}");
        }
    }
}
