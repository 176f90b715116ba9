//! The bytes of a reset, from the IP header on, with both checksums. No allocation.

use super::answer::Reset;
use etherparse::{IpNumber, Ipv4Header, Ipv6FlowLabel, Ipv6Header, TcpHeader};
use std::net::IpAddr;

/// An IPv6 and a TCP header without options.
const MOST: usize = 60;
const HOPS: u8 = 64;

#[derive(Clone, Copy, Debug)]
pub struct Packet {
    bytes: [u8; MOST],
    length: usize,
}

impl Packet {
    pub fn bytes(&self) -> &[u8] {
        self.bytes.get(..self.length).unwrap_or_default()
    }

    fn of(parts: [&[u8]; 2]) -> Option<Packet> {
        let mut packet = Packet { bytes: [0; MOST], length: 0 };
        for part in parts {
            let end = packet.length.checked_add(part.len())?;
            packet.bytes.get_mut(packet.length..end)?.copy_from_slice(part);
            packet.length = end;
        }
        Some(packet)
    }
}

impl Reset {
    /// `None`: its ends are of different families, which no segment's are.
    pub fn packet(&self) -> Option<Packet> {
        let mut tcp = TcpHeader::new(self.from.port, self.to.port, self.sequence, 0);
        tcp.rst = true;
        tcp.ack = self.acknowledgment.is_some();
        tcp.acknowledgment_number = self.acknowledgment.unwrap_or(0);
        match (self.from.address, self.to.address) {
            (IpAddr::V4(from), IpAddr::V4(to)) => {
                tcp.checksum = tcp.calc_checksum_ipv4_raw(from.octets(), to.octets(), &[]).ok()?;
                let mut ip = Ipv4Header::new(tcp.header_len_u16(), HOPS, IpNumber::TCP, from.octets(), to.octets()).ok()?;
                ip.header_checksum = ip.calc_header_checksum();
                Packet::of([&ip.to_bytes(), &tcp.to_bytes()])
            }
            (IpAddr::V6(from), IpAddr::V6(to)) => {
                tcp.checksum = tcp.calc_checksum_ipv6_raw(from.octets(), to.octets(), &[]).ok()?;
                let ip = Ipv6Header {
                    traffic_class: 0,
                    flow_label: Ipv6FlowLabel::ZERO,
                    payload_length: tcp.header_len_u16(),
                    next_header: IpNumber::TCP,
                    hop_limit: HOPS,
                    source: from.octets(),
                    destination: to.octets(),
                };
                Packet::of([&ip.to_bytes(), &tcp.to_bytes()])
            }
            _ => None,
        }
    }
}
