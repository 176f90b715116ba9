//! Link layers, tags and labels: everything below IP.

use super::{
    Cut, GiveUp, MAX_DEPTH, Packet,
    ip::{self, Inner, Step},
};

/// How the frames of one capture begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Link {
    Ethernet,
    /// `LINKTYPE_LINUX_SLL`, 16 bytes.
    LinuxCooked,
    /// `LINKTYPE_LINUX_SLL2`, 20 bytes.
    LinuxCooked2,
    /// No link header: the version nibble tells IPv4 from IPv6.
    Raw,
    /// BSD loopback: an address family in either byte order.
    Null,
}

impl Link {
    /// From a `LINKTYPE_` or the `DLT_` of this platform (<https://www.tcpdump.org/linktypes.html>).
    pub fn from_number(number: i32) -> Option<Link> {
        match number {
            1 => Some(Link::Ethernet),
            113 => Some(Link::LinuxCooked),
            276 => Some(Link::LinuxCooked2),
            // DLT_RAW is 12 on Linux and 14 on OpenBSD; LINKTYPE_RAW 101; 228 and 229 say IPv4, IPv6.
            12 | 14 | 101 | 228 | 229 => Some(Link::Raw),
            0 | 108 => Some(Link::Null),
            _ => None,
        }
    }
}

pub(super) fn decode(link: Link, frame: Cut<'_>, depth: u8) -> Result<Packet<'_>, GiveUp> {
    let (kind_at, length) = match link {
        Link::Ethernet => (12, 14),
        Link::LinuxCooked => (14, 16),
        Link::LinuxCooked2 => (0, 20),
        Link::Raw => return by_version(frame, depth),
        Link::Null => return by_version(frame.skip(4).ok_or(GiveUp::Truncated)?, depth),
    };
    let kind = frame.u16_at(kind_at).ok_or(GiveUp::Truncated)?;
    ether(kind, frame.skip(length).ok_or(GiveUp::Truncated)?, depth)
}

/// Goes on by EtherType: IP, or one more tag.
pub(super) fn ether(kind: u16, payload: Cut<'_>, depth: u8) -> Result<Packet<'_>, GiveUp> {
    if depth > MAX_DEPTH {
        return Err(GiveUp::TooDeep);
    }
    match kind {
        0x0800 => through(ip::v4(payload, depth)),
        0x86dd => through(ip::v6(payload, depth)),
        // 802.1Q, 802.1ad and the older QinQ types
        0x8100 | 0x88a8 | 0x9100 | 0x9200 => {
            let inner = payload.u16_at(2).ok_or(GiveUp::Truncated)?;
            ether(inner, payload.skip(4).ok_or(GiveUp::Truncated)?, depth + 1)
        }
        0x8847 | 0x8848 => mpls(payload, depth),
        0x8864 => pppoe(payload, depth),
        // Transparent Ethernet bridging, as inside GRE and Geneve
        0x6558 => decode(Link::Ethernet, payload, depth + 1),
        _ => Err(GiveUp::Foreign),
    }
}

/// Goes on in a tunnel until there is a packet.
pub(super) fn through(step: Result<Step<'_>, GiveUp>) -> Result<Packet<'_>, GiveUp> {
    match step? {
        Step::Packet(packet) => Ok(packet),
        Step::Tunnel(Inner::Ethernet, payload, depth) => decode(Link::Ethernet, payload, depth),
        Step::Tunnel(Inner::EtherType(kind), payload, depth) => ether(kind, payload, depth),
    }
}

fn by_version(packet: Cut<'_>, depth: u8) -> Result<Packet<'_>, GiveUp> {
    match packet.bytes.first().map(|b| b >> 4) {
        Some(4) => through(ip::v4(packet, depth)),
        Some(6) => through(ip::v6(packet, depth)),
        Some(_) => Err(GiveUp::Foreign),
        None => Err(GiveUp::Truncated),
    }
}

/// RFC 3032: labels until the bottom of the stack; what follows is not named, so IP goes by its version.
fn mpls(mut payload: Cut<'_>, depth: u8) -> Result<Packet<'_>, GiveUp> {
    for _ in 0..MAX_DEPTH {
        let bottom = payload.bytes.get(2).ok_or(GiveUp::Truncated)? & 1 == 1;
        payload = payload.skip(4).ok_or(GiveUp::Truncated)?;
        if bottom {
            return by_version(payload, depth + 1);
        }
    }
    Err(GiveUp::TooDeep)
}

/// RFC 2516 §4: six bytes, then a PPP protocol number.
fn pppoe(payload: Cut<'_>, depth: u8) -> Result<Packet<'_>, GiveUp> {
    let inner = payload.skip(8).ok_or(GiveUp::Truncated)?;
    match payload.u16_at(6) {
        Some(0x0021) => through(ip::v4(inner, depth + 1)),
        Some(0x0057) => through(ip::v6(inner, depth + 1)),
        _ => Err(GiveUp::Foreign),
    }
}
