//! The straight line: a frame goes in, evidence comes out.

#![deny(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use crate::{
    decode::{self, Datagram, Link, Packet, Transport, fragments::Assembler},
    dissect::{Context, Talk, dns, hear_hello, mcp::World, quic},
    flow::{Bounds, Heavy, Peers, Table},
    heard::Networks,
    moment::Moment,
};
use rules::{endpoint::Endpoint, evidence::Evidence, observation::Coverage};
use std::{collections::BTreeMap, net::IpAddr, time::Duration};

/// One capture point's memory: connections, names, open questions. Bounded; not shared.
#[derive(Debug)]
pub struct Watch {
    fragments: Assembler,
    table: Table<Talk>,
    world: World,
    quic: quic::Listener,
    heard: Networks,
    frames: u64,
    lost: BTreeMap<&'static str, u64>,
    now: Moment,
    swept: Moment,
}

impl Watch {
    pub fn new(bounds: Bounds) -> Watch {
        Watch {
            fragments: Assembler::default(),
            table: Table::new(bounds),
            world: World::default(),
            quic: quic::Listener::default(),
            heard: Networks::default(),
            frames: 0,
            lost: BTreeMap::new(),
            now: Moment::default(),
            swept: Moment::default(),
        }
    }

    /// As [`Watch::new`], for one of several that share an interface: all hear name service, and another one tells and counts it.
    pub(crate) fn beside(bounds: Bounds) -> Watch {
        let mut watch = Watch::new(bounds);
        watch.world.names_told_elsewhere = true;
        watch
    }

    /// Takes the next frame, of which `bytes` were captured and `wire_length` were on the wire.
    pub fn frame(&mut self, link: Link, bytes: &[u8], wire_length: usize, at: Moment) {
        self.frames += 1;
        self.tick(at);
        let packet = match decode::decode(link, bytes, wire_length) {
            Ok(packet) => packet,
            Err(why) => {
                if let Some(reason) = why.reason() {
                    *self.lost.entry(reason).or_default() += 1;
                }
                return;
            }
        };
        self.packet(packet, at);
    }

    fn packet(&mut self, packet: Packet<'_>, at: Moment) {
        self.heard.hear(packet.source);
        if self.world.names_told_elsewhere && is_name_service(&packet.transport) {
            self.frames -= 1;
        }
        match packet.transport {
            Transport::Fragment(fragment) => {
                let whole = self.fragments.add(packet.source, packet.destination, &fragment, at);
                // Pieces of pieces (in tunnels) are given up on.
                let inner = whole.as_ref().and_then(|whole| decode::decode_whole(whole).ok());
                if let Some(inner) = inner.filter(|p| !matches!(p.transport, Transport::Fragment(_))) {
                    self.packet(inner, at);
                }
            }
            Transport::Tcp(segment) => {
                if segment.payload.missing > 0 {
                    *self.lost.entry("truncated").or_default() += 1;
                }
                let source = Endpoint { address: packet.source, port: segment.source_port };
                let destination = Endpoint { address: packet.destination, port: segment.destination_port };
                self.table.segment(source, destination, &segment, at, &mut self.world);
            }
            Transport::Udp(datagram) => self.datagram(packet.source, packet.destination, &datagram, at),
        }
    }

    fn datagram(&mut self, source: IpAddr, destination: IpAddr, datagram: &Datagram<'_>, at: Moment) {
        let (port, payload) = (datagram.source_port, datagram.payload);
        if payload.missing > 0 {
            return;
        }
        let (from, to) = (Endpoint::new(source, port), Endpoint::new(destination, datagram.destination_port));
        let cx = &mut Context { now: at, peers: &Peers::of_datagram(from, to), world: &mut self.world };
        if matches!(port, dns::DNS | dns::MDNS | dns::LLMNR) {
            dns::message(payload.bytes, port, destination, cx);
        } else if quic::begins(payload.bytes)
            && let Some(hello) = self.quic.datagram(from, to, payload.bytes)
        {
            hear_hello(from, to, &hello, cx);
        }
    }

    /// Time goes on, with or without frames: what is overdue is forgotten.
    pub fn tick(&mut self, now: Moment) {
        self.now = self.now.max(now);
        if self.now.since(self.swept) >= Duration::from_secs(1) {
            self.swept = self.now;
            self.table.expire(self.now, &mut self.world);
        }
    }

    /// The capture is over: what waited is judged as it is.
    pub fn finish(&mut self) {
        self.table.finish(self.now, &mut self.world);
    }

    /// Evidence found since the last call.
    pub fn evidence(&mut self) -> impl Iterator<Item = Evidence> + '_ {
        self.world.told()
    }

    /// Connections of which much came that nobody can read, and their ends, since the last call.
    pub(crate) fn heavy(&mut self) -> impl Iterator<Item = Heavy> + '_ {
        self.table.heavy()
    }

    /// What was seen and lost so far, without what the kernel knows.
    pub fn coverage(&mut self, interface: &str) -> Coverage {
        let flow = self.table.lost();
        let counted = [
            ("flow-evicted", flow.evicted),
            ("reassembly-full", flow.held_full),
            ("buffers-full", flow.buffers_full),
            ("gap", flow.gaps),
            ("out-of-window", flow.strays),
            ("ambiguous", flow.ambiguous + self.fragments.ambiguous),
            ("urgent", flow.urgent),
            ("fragment", self.fragments.lost),
            ("names-forgotten", self.world.names.forgotten),
            ("quic-hello", self.quic.lost),
        ];
        let all = counted.into_iter().chain(self.lost.iter().map(|(k, v)| (*k, *v))).chain(self.world.lost().iter().map(|(k, v)| (*k, *v)));
        let lost = all.filter(|(_, n)| *n > 0).map(|(reason, n)| (reason.to_owned(), n)).collect();
        Coverage { interface: interface.to_owned(), frames: self.frames, lost, heard: self.heard.tell(self.now), ..Coverage::default() }
    }
}

fn is_name_service(transport: &Transport<'_>) -> bool {
    match transport {
        Transport::Tcp(segment) => segment.source_port == dns::DNS || segment.destination_port == dns::DNS,
        Transport::Udp(datagram) => matches!(datagram.source_port, dns::DNS | dns::MDNS | dns::LLMNR),
        Transport::Fragment(_) => false,
    }
}
