//! IPv4, IPv6 with its extension headers, TCP, UDP, and the tunnels that ride on them.

use super::{Cut, Datagram, Fragment, GiveUp, MAX_DEPTH, Packet, Segment, Transport};
use etherparse::{Ipv4HeaderSlice, Ipv6HeaderSlice, TcpHeaderSlice, UdpHeaderSlice, err};
use std::net::IpAddr;

/// Extension headers in one IPv6 packet, at most.
const MAX_EXTENSIONS: usize = 8;

const VXLAN: u16 = 4789;
/// Linux' default before the port was assigned; still what some overlay networks use.
const VXLAN_OLD: u16 = 8472;
const GENEVE: u16 = 6081;

/// The end of the walk, or a tunnel with a link layer in it, which is walked through next.
pub(super) enum Step<'a> {
    Packet(Packet<'a>),
    Tunnel(Inner, Cut<'a>, u8),
}

/// How the inside of a tunnel begins.
pub(super) enum Inner {
    Ethernet,
    EtherType(u16),
}

pub(super) fn v4(packet: Cut<'_>, depth: u8) -> Result<Step<'_>, GiveUp> {
    let header = Ipv4HeaderSlice::from_slice(packet.bytes).map_err(|e| match e {
        err::ipv4::HeaderSliceError::Len(_) => GiveUp::Truncated,
        err::ipv4::HeaderSliceError::Content(_) => GiveUp::Malformed,
    })?;
    let length = header.slice().len();
    let total = match usize::from(header.total_len()) {
        // Segmentation offload hands frames to the capture before the length is filled in.
        0 => usize::MAX,
        total if total < length => return Err(GiveUp::Malformed),
        total => total,
    };
    let payload = packet.limit(total).skip(length).ok_or(GiveUp::Truncated)?;
    let ends = (IpAddr::V4(header.source_addr()), IpAddr::V4(header.destination_addr()));
    if header.is_fragmenting_payload() {
        let fragment = Fragment {
            id: u32::from(header.identification()),
            protocol: header.protocol().0,
            offset: usize::from(header.fragments_offset().value()) * 8,
            more: header.more_fragments(),
            payload,
        };
        return Ok(Step::Packet(Packet { source: ends.0, destination: ends.1, transport: Transport::Fragment(fragment) }));
    }
    transport(header.protocol().0, payload, ends, depth)
}

pub(super) fn v6(packet: Cut<'_>, depth: u8) -> Result<Step<'_>, GiveUp> {
    let header = Ipv6HeaderSlice::from_slice(packet.bytes).map_err(|e| match e {
        err::ipv6::HeaderSliceError::Len(_) => GiveUp::Truncated,
        err::ipv6::HeaderSliceError::Content(_) => GiveUp::Malformed,
    })?;
    let total = match usize::from(header.payload_length()) {
        // Offload, or a jumbogram (RFC 2675); either way the frame knows.
        0 => usize::MAX,
        n => n,
    };
    let mut payload = packet.skip(40).ok_or(GiveUp::Truncated)?.limit(total);
    let mut next = header.next_header().0;
    for _ in 0..MAX_EXTENSIONS {
        let length = match next {
            // hop-by-hop, routing, destination options, mobility, HIP, shim6 (RFC 8200 §4, RFC 7045 §4)
            0 | 43 | 60 | 135 | 139 | 140 => (usize::from(*payload.bytes.get(1).ok_or(GiveUp::Truncated)?) + 1) * 8,
            // authentication (RFC 4302 §2.2)
            51 => (usize::from(*payload.bytes.get(1).ok_or(GiveUp::Truncated)?) + 2) * 4,
            44 => {
                let place = payload.u16_at(2).ok_or(GiveUp::Truncated)?;
                // An atomic fragment (RFC 6946) has neither offset nor more to come, and is whole.
                if place & 0xfff9 != 0 {
                    return fragment(&header, place, payload);
                }
                8
            }
            _ => {
                let ends = (IpAddr::V6(header.source_addr()).to_canonical(), IpAddr::V6(header.destination_addr()).to_canonical());
                return transport(next, payload, ends, depth);
            }
        };
        next = *payload.bytes.first().ok_or(GiveUp::Truncated)?;
        payload = payload.skip(length).ok_or(GiveUp::Truncated)?;
    }
    Err(GiveUp::Malformed)
}

fn fragment<'a>(header: &Ipv6HeaderSlice<'a>, place: u16, payload: Cut<'a>) -> Result<Step<'a>, GiveUp> {
    let id = payload.bytes.get(4..).and_then(|b| b.first_chunk()).ok_or(GiveUp::Truncated)?;
    let fragment = Fragment {
        id: u32::from_be_bytes(*id),
        protocol: *payload.bytes.first().ok_or(GiveUp::Truncated)?,
        offset: usize::from(place & 0xfff8),
        more: place & 1 == 1,
        payload: payload.skip(8).ok_or(GiveUp::Truncated)?,
    };
    let (source, destination) = (header.source_addr().into(), header.destination_addr().into());
    Ok(Step::Packet(Packet { source, destination, transport: Transport::Fragment(fragment) }))
}

pub(super) fn transport(protocol: u8, payload: Cut<'_>, ends: (IpAddr, IpAddr), depth: u8) -> Result<Step<'_>, GiveUp> {
    if depth > MAX_DEPTH {
        return Err(GiveUp::TooDeep);
    }
    let (source, destination) = ends;
    match protocol {
        6 => Ok(Step::Packet(Packet { source, destination, transport: Transport::Tcp(tcp(payload)?) })),
        17 => {
            let datagram = udp(payload)?;
            match datagram.destination_port {
                VXLAN | VXLAN_OLD => vxlan(datagram.payload, depth),
                GENEVE => geneve(datagram.payload, depth),
                _ => Ok(Step::Packet(Packet { source, destination, transport: Transport::Udp(datagram) })),
            }
        }
        47 => gre(payload, depth),
        4 => v4(payload, depth + 1),
        41 => v6(payload, depth + 1),
        _ => Err(GiveUp::Foreign),
    }
}

fn tcp(bytes: Cut<'_>) -> Result<Segment<'_>, GiveUp> {
    let header = TcpHeaderSlice::from_slice(bytes.bytes).map_err(|e| match e {
        err::tcp::HeaderSliceError::Len(_) => GiveUp::Truncated,
        err::tcp::HeaderSliceError::Content(_) => GiveUp::Malformed,
    })?;
    Ok(Segment {
        source_port: header.source_port(),
        destination_port: header.destination_port(),
        sequence: header.sequence_number(),
        acknowledgment: header.ack().then(|| header.acknowledgment_number()),
        syn: header.syn(),
        fin: header.fin(),
        rst: header.rst(),
        urgent: header.urg() && header.urgent_pointer() > 0,
        payload: bytes.skip(header.slice().len()).ok_or(GiveUp::Truncated)?,
    })
}

fn udp(bytes: Cut<'_>) -> Result<Datagram<'_>, GiveUp> {
    let header = UdpHeaderSlice::from_slice(bytes.bytes).map_err(|_| GiveUp::Truncated)?;
    let length = match usize::from(header.length()) {
        0 => usize::MAX,
        n if n < 8 => return Err(GiveUp::Malformed),
        n => n,
    };
    let payload = bytes.limit(length).skip(8).ok_or(GiveUp::Truncated)?;
    Ok(Datagram { source_port: header.source_port(), destination_port: header.destination_port(), payload })
}

/// RFC 7348 §5: eight bytes, then an Ethernet frame.
fn vxlan(payload: Cut<'_>, depth: u8) -> Result<Step<'_>, GiveUp> {
    Ok(Step::Tunnel(Inner::Ethernet, payload.skip(8).ok_or(GiveUp::Truncated)?, depth + 1))
}

/// RFC 8926 §3.4: eight bytes and options, then what the protocol type names.
fn geneve(payload: Cut<'_>, depth: u8) -> Result<Step<'_>, GiveUp> {
    let options = usize::from(payload.bytes.first().ok_or(GiveUp::Truncated)? & 0x3f) * 4;
    let kind = payload.u16_at(2).ok_or(GiveUp::Truncated)?;
    Ok(Step::Tunnel(Inner::EtherType(kind), payload.skip(8 + options).ok_or(GiveUp::Truncated)?, depth + 1))
}

/// RFC 2784 and 2890; ERSPAN type II (an Ethernet mirror) in it.
fn gre(payload: Cut<'_>, depth: u8) -> Result<Step<'_>, GiveUp> {
    let flags = payload.u16_at(0).ok_or(GiveUp::Truncated)?;
    let kind = payload.u16_at(2).ok_or(GiveUp::Truncated)?;
    if flags & 0x4007 != 0 {
        // Source routes, and PPTP's version 1.
        return Err(GiveUp::Foreign);
    }
    let sequenced = flags & 0x1000 != 0;
    let optional = [flags & 0x8000 != 0, flags & 0x2000 != 0, sequenced].iter().filter(|present| **present).count();
    let inner = payload.skip(4 + 4 * optional).ok_or(GiveUp::Truncated)?;
    Ok(match kind {
        0x88be => Step::Tunnel(Inner::Ethernet, inner.skip(if sequenced { 8 } else { 0 }).ok_or(GiveUp::Truncated)?, depth + 1),
        _ => Step::Tunnel(Inner::EtherType(kind), inner, depth + 1),
    })
}
