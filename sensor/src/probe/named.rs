//! From the operator's words to the space of a scan: lists, names, neighbours, and who is left alone. IO.

use super::{
    config::{ScanConfig, ScanError, ScanReport},
    neighbours::{Neighbour, neighbours, vendor},
    resolve,
    targets::{Limits, Space, Target, TargetError, parse},
};
use std::{
    collections::BTreeMap,
    fs::File,
    io::Read,
    net::{IpAddr, Ipv6Addr},
};

/// Bytes of a list of targets.
const MAX_LIST: u64 = 4 << 20;

/// The space, and the names some of its addresses came by.
pub(super) async fn space(config: &ScanConfig, report: &mut ScanReport) -> Result<(Space, BTreeMap<IpAddr, String>), ScanError> {
    let known = neighbours().unwrap_or_default();
    let (mut blocks, mut names) = (Vec::new(), BTreeMap::new());
    let mut wanted = Vec::new();
    for text in words(&config.targets)? {
        match parse(&text)? {
            Target::Block(first, last) => blocks.push((first, last)),
            Target::Name(name) => wanted.push(name),
        }
    }
    for (name, found) in wanted.iter().zip(resolve::addresses(&wanted).await) {
        if found.is_empty() {
            report.unresolved.push(name.clone());
        }
        for address in found {
            blocks.push((address, address));
            names.insert(address, name.clone());
        }
    }
    let allow = config.allow.clone();
    if config.neighbours {
        let on_link = known.iter().filter_map(|n| match n.address {
            // A link-local address names its host on one link only, and an endpoint knows no link.
            IpAddr::V6(a) if !a.is_unicast_link_local() && a != Ipv6Addr::UNSPECIFIED => Some(n.address),
            _ => None,
        });
        blocks.extend(on_link.filter(|a| allowed(&allow, *a)).map(|a| (a, a)));
    }
    if blocks.is_empty() && !report.unresolved.is_empty() {
        return Err(ScanError::NothingResolves(report.unresolved.join(", ")));
    }
    if blocks.is_empty() && config.neighbours {
        return Err(TargetError::NoNeighbour.into());
    }
    let mut exclude = config.exclude.clone();
    let spared = of_vendors(&known, &config.exclude_vendors)?;
    report.excluded_vendors = spared.iter().map(ToString::to_string).take(ScanReport::MAX_LISTED).collect();
    exclude.extend(spared.into_iter().map(ipnet::IpNet::from));
    let limits = Limits {
        allow_public: config.allow_public,
        allow,
        max_addresses: config.max_addresses,
        exclude,
        exclude_ports: config.exclude_ports.iter().copied().collect(),
    };
    let space = Space::new(&blocks, &config.ports, &limits)?;
    report.excluded = space.excluded();
    Ok((space, names))
}

fn allowed(allow: &[ipnet::IpNet], address: IpAddr) -> bool {
    allow.is_empty() || allow.iter().any(|net| net.contains(&address))
}

fn of_vendors(known: &[Neighbour], vendors: &[String]) -> Result<Vec<IpAddr>, ScanError> {
    let vendors = vendors.iter().map(|v| vendor(v)).collect::<Result<Vec<_>, _>>()?;
    Ok(known.iter().filter(|n| vendors.iter().any(|v| n.mac.starts_with(v))).map(|n| n.address).collect())
}

/// The targets, with those of lists (`@FILE`: one or more a line, `#` begins a remark) in their place.
pub(super) fn words(targets: &[String]) -> Result<Vec<String>, ScanError> {
    let mut words = Vec::new();
    for target in targets {
        let Some(path) = target.strip_prefix('@') else {
            words.push(target.clone());
            continue;
        };
        let wrong = |why: &dyn std::fmt::Display| ScanError::List(rules::printable::printable(path, 200), why.to_string());
        let mut text = String::new();
        let file = File::open(path).map_err(|e| wrong(&e))?;
        file.take(MAX_LIST + 1).read_to_string(&mut text).map_err(|e| wrong(&e))?;
        if text.len() as u64 > MAX_LIST {
            return Err(wrong(&"it is larger than 4 MiB"));
        }
        let lines = text.lines().map(|l| l.split('#').next().unwrap_or_default());
        words.extend(lines.flat_map(str::split_whitespace).map(str::to_owned));
    }
    Ok(words)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_is_read_and_a_missing_one_said() {
        let dir = tempfile::tempdir().unwrap();
        let list = dir.path().join("hosts");
        std::fs::write(&list, "# build hosts\n10.0.0.1 10.0.0.2\n\n10.0.1.0/24 # lab\n").unwrap();
        let at = format!("@{}", list.display());
        assert_eq!(words(&["a.corp".into(), at]).unwrap(), ["a.corp", "10.0.0.1", "10.0.0.2", "10.0.1.0/24"]);
        assert!(matches!(words(&["@/nowhere".into()]), Err(ScanError::List(..))));
    }

    #[test]
    fn printers_are_known_by_their_makers() {
        let known = [([0, 0x80, 0x77, 1, 2, 3], "10.0.0.5"), ([2, 0x80, 0x77, 1, 2, 3], "10.0.0.6")];
        let known = known.map(|(mac, a)| Neighbour { address: a.parse().unwrap(), mac });
        assert_eq!(of_vendors(&known, &["00:80:77".into()]).unwrap(), ["10.0.0.5".parse::<IpAddr>().unwrap()]);
        assert!(matches!(of_vendors(&known, &["printers".into()]), Err(ScanError::Vendor(_))));
    }
}
