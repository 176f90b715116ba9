//! A SYN (RFC 9293) as raw sockets send it, and what comes back. Pure.

use etherparse::{IpNumber, Ipv4Header, TcpHeader, TcpOptionElement};
use rules::endpoint::Endpoint;
use std::{
    hash::{BuildHasher, RandomState},
    net::{IpAddr, SocketAddr},
};

/// Recognises answers without remembering questions: the number a SYN carries is a keyed hash (SipHash) of whom it goes to.
#[derive(Clone, Debug)]
pub struct Cookies {
    keys: RandomState,
}

/// What an answer says. Of refusals only one in [`Cookies::SAMPLE`] is looked at: enough to know who is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Heard {
    Open(Endpoint),
    Closed(Endpoint),
}

impl Heard {
    pub fn endpoint(self) -> Endpoint {
        let (Heard::Open(endpoint) | Heard::Closed(endpoint)) = self;
        endpoint
    }
}

impl Cookies {
    /// A power of two. The kernel's filter passes a refusal when the number it acknowledges is 1 modulo this.
    pub const SAMPLE: u32 = 32;

    pub fn new() -> Cookies {
        Cookies { keys: RandomState::new() }
    }

    pub fn of(&self, endpoint: Endpoint) -> u32 {
        self.keys.hash_one(endpoint) as u32
    }

    /// What the TCP header `tcp` from `address` says; `None` when it answers no SYN of ours.
    pub fn read(&self, address: IpAddr, tcp: &[u8]) -> Option<Heard> {
        let field = |at: usize| tcp.get(at).copied();
        let endpoint = Endpoint::new(address, u16::from_be_bytes([field(0)?, field(1)?]));
        let acknowledged = u32::from_be_bytes([field(8)?, field(9)?, field(10)?, field(11)?]);
        if acknowledged != self.of(endpoint).wrapping_add(1) {
            return None;
        }
        match field(13)? & (SYN | RST | ACK) {
            flags if flags == SYN | ACK => Some(Heard::Open(endpoint)),
            flags if flags == RST | ACK => Some(Heard::Closed(endpoint)),
            _ => None,
        }
    }
}

impl Default for Cookies {
    fn default() -> Self {
        Cookies::new()
    }
}

pub const SYN: u8 = 0x02;
pub const RST: u8 = 0x04;
pub const ACK: u8 = 0x10;
const MSS: u16 = 1440;
const HOPS: u8 = 64;

/// The bytes for a raw socket: with an IPv4 header (`IP_HDRINCL`), or the TCP header alone for IPv6. Empty when the families differ.
pub fn syn(from: SocketAddr, to: Endpoint, number: u32) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(48);
    let mut tcp = TcpHeader::new(from.port(), to.port, number, 64_240);
    tcp.syn = true;
    // One option of four bytes always fits.
    let _ = tcp.set_options(&[TcpOptionElement::MaximumSegmentSize(MSS)]);
    let made = match (from.ip(), to.address) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => {
            tcp.checksum = tcp.calc_checksum_ipv4_raw(source.octets(), destination.octets(), &[]).unwrap_or_default();
            let ip = Ipv4Header::new(tcp.header_len() as u16, HOPS, IpNumber::TCP, source.octets(), destination.octets());
            ip.ok().and_then(|ip| ip.write(&mut bytes).ok())
        }
        (IpAddr::V6(source), IpAddr::V6(destination)) => {
            tcp.checksum = tcp.calc_checksum_ipv6_raw(source.octets(), destination.octets(), &[]).unwrap_or_default();
            Some(())
        }
        _ => None,
    };
    if made.is_some() && tcp.write(&mut bytes).is_err() {
        bytes.clear();
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;
    use etherparse::{NetSlice, SlicedPacket, TransportSlice};

    fn answer(to: Endpoint, number: u32, flags: u8) -> Vec<u8> {
        let mut tcp = vec![0; 20];
        tcp[0..2].copy_from_slice(&to.port.to_be_bytes());
        tcp[8..12].copy_from_slice(&number.wrapping_add(1).to_be_bytes());
        tcp[13] = flags;
        tcp
    }

    #[test]
    fn a_syn_is_whole_and_its_checksum_right() {
        let to: Endpoint = "10.0.0.5:3001".parse().unwrap();
        let bytes = syn("10.0.0.1:40000".parse().unwrap(), to, 7);
        let packet = SlicedPacket::from_ip(&bytes).unwrap();
        let (Some(NetSlice::Ipv4(ip)), Some(TransportSlice::Tcp(tcp))) = (packet.net, packet.transport) else { panic!() };
        assert_eq!((tcp.syn(), tcp.ack(), tcp.sequence_number(), tcp.destination_port()), (true, false, 7, 3001));
        assert_eq!(tcp.checksum(), tcp.to_header().calc_checksum_ipv4(&ip.header().to_header(), &[]).unwrap());
        let six = syn("[fd00::1]:40000".parse().unwrap(), "[fd00::5]:3001".parse().unwrap(), 7);
        assert_eq!(six.len(), 24);
        assert!(syn("[fd00::1]:40000".parse().unwrap(), to, 7).is_empty());
    }

    #[test]
    fn only_an_answer_to_our_own_syn_counts() {
        let cookies = Cookies::new();
        let to: Endpoint = "10.0.0.5:3001".parse().unwrap();
        let number = cookies.of(to);
        let read = |from: &str, tcp: &[u8]| cookies.read(from.parse().unwrap(), tcp);
        assert_eq!(read("10.0.0.5", &answer(to, number, SYN | ACK)), Some(Heard::Open(to)));
        assert_eq!(read("10.0.0.5", &answer(to, number, RST | ACK)), Some(Heard::Closed(to)));
        assert_eq!(read("10.0.0.6", &answer(to, number, SYN | ACK)), None, "another host");
        assert_eq!(read("10.0.0.5", &answer(to, number ^ 1, SYN | ACK)), None, "a guess");
        assert_eq!(Cookies::new().read("10.0.0.5".parse().unwrap(), &answer(to, number, SYN | ACK)), None, "another run");
        for length in 0..14 {
            assert_eq!(read("10.0.0.5", &answer(to, number, SYN | ACK)[..length]), None);
        }
    }
}
