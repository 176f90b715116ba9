//! The kernel's table of neighbours: who is on the link, and by which MAC address (rtnetlink `RTM_GETNEIGH`). IO at the rim.

use super::config::ScanError;
use nix::sys::socket::{AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, recv, sendto, socket};
use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    os::fd::AsRawFd,
};

/// Somebody on the link.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Neighbour {
    pub(super) address: IpAddr,
    pub(super) mac: [u8; 6],
}

const RTM_NEWNEIGH: u16 = 28;
const RTM_GETNEIGH: u16 = 30;
const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;
const NLM_F_REQUEST_DUMP: u16 = 0x0301;
const NDA_DST: u16 = 1;
const NDA_LLADDR: u16 = 2;
/// `NUD_FAILED`, `NUD_NOARP`: nobody is there, or it needs no table.
const NOBODY: u16 = 0x20 | 0x40;
const MAX: usize = 65_536;

/// All neighbours the kernel knows now, at most 65,536.
pub(super) fn neighbours() -> io::Result<Vec<Neighbour>> {
    let socket = socket(AddressFamily::Netlink, SockType::Raw, SockFlag::SOCK_CLOEXEC, SockProtocol::NetlinkRoute)?;
    let mut request = [0u8; 28];
    let head = [28u32.to_ne_bytes().as_slice(), &RTM_GETNEIGH.to_ne_bytes(), &NLM_F_REQUEST_DUMP.to_ne_bytes()].concat();
    request.iter_mut().zip(head).for_each(|(to, from)| *to = from);
    sendto(socket.as_raw_fd(), &request, &NetlinkAddr::new(0, 0), MsgFlags::empty())?;
    let (mut found, mut bytes) = (Vec::new(), vec![0u8; 64 << 10]);
    loop {
        let length = recv(socket.as_raw_fd(), &mut bytes, MsgFlags::empty())?;
        if !messages(bytes.get(..length).unwrap_or_default(), &mut found) || found.len() >= MAX || length == 0 {
            return Ok(found);
        }
    }
}

/// False when it was the last.
fn messages(mut rest: &[u8], found: &mut Vec<Neighbour>) -> bool {
    while let (Some(length), Some(kind)) = (u32_at(rest, 0), u16_at(rest, 4)) {
        let length = length as usize;
        let Some(body) = rest.get(16..length) else { return false };
        match kind {
            NLMSG_DONE | NLMSG_ERROR => return false,
            RTM_NEWNEIGH => found.extend(neighbour(body)),
            _ => {}
        }
        rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
    true
}

/// `struct ndmsg`, then attributes.
fn neighbour(body: &[u8]) -> Option<Neighbour> {
    if u16_at(body, 8)? & NOBODY != 0 {
        return None;
    }
    let (mut address, mut mac, mut rest) = (None, None, body.get(12..)?);
    while let (Some(length), Some(kind)) = (u16_at(rest, 0), u16_at(rest, 2)) {
        let value = rest.get(4..usize::from(length))?;
        match kind {
            NDA_DST => address = ip(value),
            NDA_LLADDR => mac = <[u8; 6]>::try_from(value).ok(),
            _ => {}
        }
        rest = rest.get(usize::from(length).next_multiple_of(4)..).unwrap_or_default();
    }
    Some(Neighbour { address: address?, mac: mac? })
}

fn ip(value: &[u8]) -> Option<IpAddr> {
    let four = <[u8; 4]>::try_from(value).ok().map(|a| Ipv4Addr::from(a).into());
    four.or_else(|| <[u8; 16]>::try_from(value).ok().map(|a| Ipv6Addr::from(a).into()))
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_ne_bytes(bytes.get(at..at + 2)?.try_into().ok()?))
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

/// A vendor's prefix, `00:80:77` or `00-80-77`, three to six bytes.
pub(super) fn vendor(text: &str) -> Result<Vec<u8>, ScanError> {
    let bytes: Option<Vec<u8>> = text.trim().split([':', '-']).map(|p| u8::from_str_radix(p, 16).ok().filter(|_| p.len() == 2)).collect();
    bytes.filter(|b| (3..=6).contains(&b.len())).ok_or_else(|| ScanError::Vendor(rules::printable::printable(text, 40)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_of_the_kernel_is_read_and_a_cut_one_is_not() {
        let mut body = vec![2, 0, 0, 0, 3, 0, 0, 0, 2, 0, 0, 1];
        body.extend([8, 0, 1, 0, 10, 0, 0, 5]);
        body.extend([10, 0, 2, 0, 0x00, 0x80, 0x77, 1, 2, 3, 0, 0]);
        let mut message = ((16 + body.len()) as u32).to_ne_bytes().to_vec();
        message.extend(RTM_NEWNEIGH.to_ne_bytes());
        message.extend([0; 10]);
        message.extend(&body);
        let read = |bytes: &[u8]| {
            let mut found = Vec::new();
            messages(bytes, &mut found);
            found
        };
        assert_eq!(read(&message), [Neighbour { address: "10.0.0.5".parse().unwrap(), mac: [0, 0x80, 0x77, 1, 2, 3] }]);
        for length in 0..message.len() {
            assert!(read(&message[..length]).is_empty());
        }
        let failed = {
            let mut m = message.clone();
            m[24] = 0x20;
            m
        };
        assert!(read(&failed).is_empty());
    }

    #[test]
    fn prefixes() {
        assert_eq!(vendor("00:80:77").unwrap(), [0, 0x80, 0x77]);
        assert!(vendor("00:80").is_err() && vendor("printer").is_err() && vendor("0:80:77").is_err());
    }

    #[test]
    fn the_kernel_answers() {
        neighbours().unwrap();
    }
}
