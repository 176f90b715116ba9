//! Raw sockets: SYNs out, answers in. IO, one thread for each way and family.

use super::packet::{Cookies, Heard, syn};
use nix::sys::socket::{MsgFlags, MultiHeaders, SockaddrIn, SockaddrIn6, SockaddrLike, sendmmsg};
use rules::endpoint::Endpoint;
use socket2::{Domain, Protocol, SockFilter, Socket, Type};
use std::{
    collections::HashMap,
    io::{self, IoSlice, Read},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6, UdpSocket},
    os::fd::AsRawFd,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
        mpsc as sync_mpsc,
    },
    thread,
    time::Duration,
};
use tokio::sync::mpsc;

/// What the sockets tell the sweep.
#[derive(Debug)]
pub enum KnockReport {
    Heard(Heard),
    /// A batch has left: packets sent, and packets the kernel or the route refused.
    Sent {
        sent: u32,
        failed: u32,
    },
}

/// The port stage's sockets, and the threads that serve them. Dropping it ends both.
#[derive(Debug)]
pub struct Knocker {
    batches: sync_mpsc::SyncSender<Vec<Endpoint>>,
    over: Arc<AtomicBool>,
}

/// Batches that may wait for the sender.
const BATCHES: usize = 16;
/// Answers that may wait for the sweep; what does not fit is lost, and its SYN repeated if the sweep looks twice.
const ANSWERS: usize = 16_384;
/// How soon a receiver sees that it is over.
const NUDGE: Duration = Duration::from_millis(200);
const RECEIVE_BYTES: usize = 4 << 20;

impl Knocker {
    /// Opens the sockets. An error means that this process may not: there is no port stage then.
    pub fn open() -> io::Result<(Knocker, mpsc::Receiver<KnockReport>)> {
        let cookies = Cookies::new();
        let (tell, told) = mpsc::channel(ANSWERS);
        let (batches, waiting) = sync_mpsc::sync_channel(BATCHES);
        let over = Arc::new(AtomicBool::new(false));
        let four = Family::open(Domain::IPV4)?;
        // A host without IPv6 has nobody to ask there.
        let six = Family::open(Domain::IPV6).ok();
        for family in [Some(&four), six.as_ref()].into_iter().flatten() {
            let socket = family.socket.try_clone()?;
            let (is_four, cookies, tell, over) = (family.is_four, cookies.clone(), tell.clone(), over.clone());
            thread::Builder::new().name("knock-in".into()).spawn(move || receive(&socket, is_four, &cookies, &tell, &over))?;
        }
        let sender = Sender { four, six, cookies, sources: HashMap::new() };
        thread::Builder::new().name("knock-out".into()).spawn(move || sender.run(&waiting, &tell))?;
        Ok((Knocker { batches, over }, told))
    }

    /// Hands a batch to the sender. False when it did not fit, or the sender is gone.
    pub fn knock(&self, batch: Vec<Endpoint>) -> bool {
        self.batches.try_send(batch).is_ok()
    }
}

impl Drop for Knocker {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Release);
    }
}

/// One address family's raw socket, and a port nobody else uses.
#[derive(Debug)]
struct Family {
    is_four: bool,
    socket: Socket,
    /// Bound and never used: as long as it lives no other socket gets our port, and the kernel resets what comes to it.
    _reserved: Socket,
    port: u16,
}

impl Family {
    fn open(domain: Domain) -> io::Result<Family> {
        let is_four = domain == Domain::IPV4;
        let any: IpAddr = if is_four { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
        let reserved = Socket::new(domain, Type::STREAM, None)?;
        if !is_four {
            reserved.set_only_v6(true)?;
        }
        reserved.bind(&SocketAddr::new(any, 0).into())?;
        let port = reserved.local_addr()?.as_socket().map(|a| a.port()).unwrap_or_default();
        let socket = Socket::new(domain, Type::RAW, Some(Protocol::TCP))?;
        // Before anything else: what is not for us never leaves the kernel.
        socket.attach_filter(&filter(is_four, port))?;
        if is_four {
            socket.set_header_included_v4(true)?;
        }
        socket.set_read_timeout(Some(NUDGE))?;
        socket.set_recv_buffer_size(RECEIVE_BYTES)?;
        Ok(Family { is_four, socket, _reserved: reserved, port })
    }
}

/// Classic BPF over what a raw socket sees (IPv4: the IP header first, IPv6: TCP): to our port, SYN-ACK, or a refusal that belongs
/// to the sample.
fn filter(is_four: bool, port: u16) -> Vec<SockFilter> {
    const LDX_MSH: u16 = 0xb1;
    const LDX_IMM: u16 = 0x01;
    const LDH_IND: u16 = 0x48;
    const LDB_IND: u16 = 0x50;
    const AND: u16 = 0x54;
    const JEQ: u16 = 0x15;
    const RET: u16 = 0x06;
    let start = if is_four { SockFilter::new(LDX_MSH, 0, 0, 0) } else { SockFilter::new(LDX_IMM, 0, 0, 0) };
    vec![
        start,
        SockFilter::new(LDH_IND, 0, 0, 2),
        SockFilter::new(JEQ, 0, 8, u32::from(port)),
        SockFilter::new(LDB_IND, 0, 0, 13),
        SockFilter::new(AND, 0, 0, 0x16),
        SockFilter::new(JEQ, 4, 0, 0x12),
        SockFilter::new(JEQ, 0, 4, 0x14),
        SockFilter::new(LDB_IND, 0, 0, 11),
        SockFilter::new(AND, 0, 0, Cookies::SAMPLE - 1),
        SockFilter::new(JEQ, 0, 1, 1),
        SockFilter::new(RET, 0, 0, 256),
        SockFilter::new(RET, 0, 0, 0),
    ]
}

fn receive(mut socket: &Socket, is_four: bool, cookies: &Cookies, tell: &mpsc::Sender<KnockReport>, over: &AtomicBool) {
    let mut bytes = [0u8; 256];
    while !over.load(Ordering::Acquire) {
        let heard = if is_four {
            match socket.read(&mut bytes) {
                Ok(length) => bytes.get(..length).and_then(|packet| heard_v4(cookies, packet)),
                Err(_) => None,
            }
        } else {
            match nix::sys::socket::recvfrom::<SockaddrIn6>(socket.as_raw_fd(), &mut bytes) {
                Ok((length, Some(from))) => bytes.get(..length).and_then(|tcp| cookies.read(from.ip().into(), tcp)),
                _ => None,
            }
        };
        // A full channel: the sweep is behind, and a lost answer is a lost packet to it.
        if let Some(heard) = heard
            && let Err(mpsc::error::TrySendError::Closed(_)) = tell.try_send(KnockReport::Heard(heard))
        {
            return;
        }
    }
}

fn heard_v4(cookies: &Cookies, packet: &[u8]) -> Option<Heard> {
    let header = usize::from(packet.first()? & 0x0f) * 4;
    let source: [u8; 4] = packet.get(12..16)?.try_into().ok()?;
    cookies.read(Ipv4Addr::from(source).into(), packet.get(header..)?)
}

struct Sender {
    four: Family,
    six: Option<Family>,
    cookies: Cookies,
    /// Our address towards a subnet, as the kernel's routes choose it.
    sources: HashMap<u128, Option<IpAddr>>,
}

const MAX_SOURCES: usize = 4096;

impl Sender {
    fn run(mut self, batches: &sync_mpsc::Receiver<Vec<Endpoint>>, tell: &mpsc::Sender<KnockReport>) {
        while let Ok(batch) = batches.recv() {
            let count = batch.len() as u32;
            let sent = self.batch(&batch);
            if tell.blocking_send(KnockReport::Sent { sent, failed: count.saturating_sub(sent) }).is_err() {
                return;
            }
        }
    }

    /// How many left.
    fn batch(&mut self, batch: &[Endpoint]) -> u32 {
        let (mut four, mut six) = (Vec::with_capacity(batch.len()), Vec::new());
        for to in batch {
            let Some(source) = self.source(to.address) else { continue };
            let port = if to.address.is_ipv4() { self.four.port } else { self.six.as_ref().map_or(0, |f| f.port) };
            let packet = syn(SocketAddr::new(source, port), *to, self.cookies.of(*to));
            match to.address {
                IpAddr::V4(a) => four.push((SockaddrIn::from(SocketAddrV4::new(a, 0)), packet)),
                IpAddr::V6(a) => six.push((SockaddrIn6::from(SocketAddrV6::new(a, 0, 0, 0)), packet)),
            }
        }
        send(&self.four.socket, &four) + self.six.as_ref().map_or(0, |f| send(&f.socket, &six))
    }

    fn source(&mut self, to: IpAddr) -> Option<IpAddr> {
        let subnet = match to {
            IpAddr::V4(a) => u128::from(a.to_bits() >> 8),
            IpAddr::V6(a) => a.to_bits() >> 64,
        };
        if let Some(known) = self.sources.get(&subnet).filter(|_| !to.is_loopback()) {
            return *known;
        }
        if self.sources.len() >= MAX_SOURCES {
            self.sources.clear();
        }
        let found = route(to);
        self.sources.insert(subnet, found);
        found
    }
}

/// Our address towards `to`: a connected UDP socket sends nothing, but has one.
fn route(to: IpAddr) -> Option<IpAddr> {
    let any: IpAddr = if to.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    let socket = UdpSocket::bind((any, 0)).ok()?;
    socket.connect((to, 9)).ok()?;
    socket.local_addr().ok().map(|a| a.ip())
}

/// Sends each packet to its address; how many left. A packet that cannot be sent (no route, a firewall's refusal) is passed over;
/// when the queue of the interface is full, the rest waits a moment.
fn send<A: SockaddrLike + Copy>(socket: &Socket, packets: &[(A, Vec<u8>)]) -> u32 {
    let (mut at, mut sent, mut full) = (0, 0u32, 0);
    while let Some(rest) = packets.get(at..).filter(|r| !r.is_empty()) {
        let slices: Vec<[IoSlice<'_>; 1]> = rest.iter().map(|(_, p)| [IoSlice::new(p)]).collect();
        let addresses: Vec<Option<A>> = rest.iter().map(|(a, _)| Some(*a)).collect();
        let mut headers = MultiHeaders::preallocate(rest.len(), None);
        let count = sendmmsg(socket.as_raw_fd(), &mut headers, &slices, &addresses, [], MsgFlags::empty()).map(Iterator::count);
        match count {
            Ok(count) if count > 0 => {
                at += count;
                sent += count as u32;
            }
            Err(nix::errno::Errno::ENOBUFS | nix::errno::Errno::EAGAIN) if full < 20 => {
                full += 1;
                thread::sleep(Duration::from_millis(1));
            }
            Err(nix::errno::Errno::EINTR) => {}
            _ => at += 1,
        }
    }
    sent
}

/// Whether this process may knock.
pub fn may_knock() -> bool {
    Socket::new(Domain::IPV4, Type::RAW, Some(Protocol::TCP)).is_ok()
}
