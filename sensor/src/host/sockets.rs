//! Listening TCP sockets, from the kernel's tables (`/proc/net/tcp`, `/proc/net/tcp6`). Pure.

use rules::endpoint::Endpoint;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Listener {
    /// As bound; unspecified means every address of the family.
    pub(super) bound: IpAddr,
    pub(super) port: u16,
    pub(super) inode: u64,
}

impl Listener {
    pub(super) fn is_wildcard(&self) -> bool {
        self.bound.is_unspecified()
    }

    /// A socket bound to `::` serves IPv4 too, unless told otherwise; that cannot be seen here.
    pub(super) fn endpoint(&self, address: IpAddr) -> Endpoint {
        Endpoint::new(address, self.port)
    }
}

/// Rows in state LISTEN (0A). A row that cannot be read is skipped.
pub(super) fn listeners(table: &str) -> Vec<Listener> {
    table.lines().skip(1).filter_map(row).collect()
}

fn row(line: &str) -> Option<Listener> {
    let mut fields = line.split_whitespace();
    let local = fields.nth(1)?;
    let state = fields.nth(1)?;
    let inode = fields.nth(5)?.parse().ok()?;
    let (address, port) = local.split_once(':')?;
    if state != "0A" {
        return None;
    }
    Some(Listener { bound: self::address(address)?, port: u16::from_str_radix(port, 16).ok()?, inode })
}

/// 32-bit words in host byte order, most significant digit first.
fn address(hex: &str) -> Option<IpAddr> {
    let words: Vec<u32> =
        hex.as_bytes().chunks(8).map(|w| u32::from_str_radix(std::str::from_utf8(w).ok()?, 16).ok()).collect::<Option<_>>()?;
    let mut bytes = words.iter().flat_map(|w| w.to_ne_bytes());
    match words.len() {
        1 => {
            let octets: Vec<u8> = bytes.collect();
            Some(IpAddr::V4(Ipv4Addr::from(<[u8; 4]>::try_from(octets).ok()?)))
        }
        4 => {
            let mut octets = [0u8; 16];
            octets.fill_with(|| bytes.next().unwrap_or(0));
            Some(IpAddr::V6(Ipv6Addr::from(octets)).to_canonical())
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[cfg(target_endian = "little")]
    fn rows_in_listen_are_read_and_nothing_else() {
        let table = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n\
            0: 0100007F:0BB9 00000000:0000 0A 00000000:00000000 00:00000000 00000000  1000        0 4711 1 0\n\
            1: 0100007F:0BB9 0100007F:9999 01 00000000:00000000 00:00000000 00000000  1000        0 4712 1 0\n\
            2: 00000000000000000000000000000000:1F40 00000000000000000000000000000000:0000 0A 0:0 00:0 0 0 0 4713 1 0\n\
            3: 00000000000000000000000001000000:1F41 00000000000000000000000000000000:0000 0A 0:0 00:0 0 0 0 4714 1 0\n\
            4: garbage";
        let shown: Vec<String> = listeners(table).iter().map(|l| format!("{} {} {}", l.bound, l.port, l.inode)).collect();
        assert_eq!(shown, ["127.0.0.1 3001 4711", ":: 8000 4713", "::1 8001 4714"]);
    }
}
