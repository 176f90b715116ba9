//! Netlink messages and attributes: a socket that asks, and bytes read without trusting a length (RFC 3549, linux/netlink.h).
#![deny(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use nix::{
    errno::Errno,
    sys::{
        socket::{AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, bind, recv, send, setsockopt, socket, sockopt},
        time::{TimeVal, TimeValLike},
    },
};
use std::{
    io,
    os::fd::{AsRawFd, OwnedFd},
    sync::atomic::{AtomicU32, Ordering},
};

/// `NFNL_SUBSYS_NFTABLES`, the high byte of a message type.
const NFTABLES: u8 = 10;
/// `NFPROTO_INET`
const INET: u8 = 1;
const REQUEST: u16 = 1;
const DUMP: u16 = 0x300;
const INTERRUPTED: u16 = 0x10;
const ERROR: u16 = 2;
const DONE: u16 = 3;
const ACKNOWLEDGE: u16 = 4;
const NESTED: u16 = 1 << 15;
/// `NFNL_MSG_BATCH_BEGIN`, `NFNL_MSG_BATCH_END` (linux/netfilter/nfnetlink.h)
const BATCH_BEGIN: u16 = 0x10;
const BATCH_END: u16 = 0x11;
/// The kernel frees and allocates 100,000 elements in well under a second; beyond this something is wrong.
const COMMIT_SECONDS: i64 = 10;
/// Header and `struct nfgenmsg`.
const HEAD: usize = 20;
const BUFFER: usize = 256 << 10;
/// A batch is one datagram.
const LARGEST_BATCH: usize = 16 << 20;

#[derive(Debug)]
pub(super) struct Socket {
    descriptor: OwnedFd,
    /// Of the last question: an answer has its number, and one that came too late for its own question is nobody's.
    asked: AtomicU32,
}

impl Socket {
    /// With groups, it hears of events. An answer that does not come within a second is an error (`EAGAIN`).
    pub(super) fn open(groups: u32) -> io::Result<Socket> {
        Socket::of(SockProtocol::NetlinkNetFilter, groups)
    }

    /// Asks rtnetlink instead; needs no capability.
    pub(super) fn for_routes() -> io::Result<Socket> {
        Socket::of(SockProtocol::NetlinkRoute, 0)
    }

    fn of(protocol: SockProtocol, groups: u32) -> io::Result<Socket> {
        let fd = socket(AddressFamily::Netlink, SockType::Raw, SockFlag::SOCK_CLOEXEC, protocol)?;
        bind(fd.as_raw_fd(), &NetlinkAddr::new(0, groups))?;
        setsockopt(&fd, sockopt::ReceiveTimeout, &TimeVal::seconds(1))?;
        Ok(Socket { descriptor: fd, asked: AtomicU32::new(0) })
    }

    /// A longer queue; without the privilege to exceed the host's limit the short one has to do.
    pub(super) fn enlarge(&self, bytes: usize) {
        let _ = setsockopt(&self.descriptor, sockopt::RcvBufForce, &bytes);
    }

    pub(super) fn receive(&self, buffer: &mut [u8]) -> Result<usize, Errno> {
        recv(self.descriptor.as_raw_fd(), buffer, MsgFlags::empty())
    }

    /// What is there already; `EAGAIN` when that is nothing.
    pub(super) fn receive_at_once(&self, buffer: &mut [u8]) -> Result<usize, Errno> {
        recv(self.descriptor.as_raw_fd(), buffer, MsgFlags::MSG_DONTWAIT)
    }

    /// One request, one message of answer.
    pub(super) fn ask<T>(&self, kind: u8, read: impl FnOnce(Message<'_>) -> io::Result<T>) -> io::Result<T> {
        let number = self.send(u16::from_be_bytes([NFTABLES, kind]), 0, 0, &[])?;
        let mut buffer = [0; 4096];
        loop {
            let length = self.receive(&mut buffer)?;
            if let Some(answer) = Messages(buffer.get(..length).unwrap_or_default()).find(|m| m.number() == Some(number)) {
                return read(answer);
            }
        }
    }

    /// Everything of a kind. A dump that the kernel says was interrupted by a change is begun anew by the caller, who sees that the
    /// generation moved on.
    pub(super) fn dump(&self, kind: u8, attributes: &[u8], mut each: impl FnMut(Attributes<'_>)) -> io::Result<()> {
        self.dump_of(u16::from_be_bytes([NFTABLES, kind]), INET, attributes, |message| {
            if message.flags & INTERRUPTED == 0 {
                each(message.attributes());
            }
        })
    }

    /// Everything of a kind of message, whosever. After the family come three bytes of zero, then `rest`.
    pub(super) fn dump_of(&self, kind: u16, family: u8, rest: &[u8], mut each: impl FnMut(Message<'_>)) -> io::Result<()> {
        let number = self.send(kind, DUMP, family, rest)?;
        let mut buffer = vec![0; BUFFER];
        loop {
            let length = self.receive(&mut buffer)?;
            for message in Messages(buffer.get(..length).unwrap_or_default()).filter(|m| m.number() == Some(number)) {
                match message.kind {
                    DONE => return message.error().raw_os_error().filter(|code| *code > 0).map_or(Ok(()), |_| Err(message.error())),
                    ERROR => match message.error() {
                        // No such table or set: nothing of it.
                        why if why.kind() == io::ErrorKind::NotFound => return Ok(()),
                        why => return Err(why),
                    },
                    _ => each(message),
                }
            }
        }
    }

    /// So many things by their names, each in an answer of its own, up to the first that there is none of.
    pub(super) fn get(&self, kind: u8, attributes: &[u8], asked: usize, mut each: impl FnMut(Attributes<'_>)) -> io::Result<()> {
        let number = self.send(u16::from_be_bytes([NFTABLES, kind]), 0, INET, attributes)?;
        let mut buffer = [0; 4096];
        let mut told = 0;
        while told < asked {
            let length = self.receive(&mut buffer)?;
            for message in Messages(buffer.get(..length).unwrap_or_default()).filter(|m| m.number() == Some(number)) {
                match message.kind {
                    ERROR => match message.error() {
                        why if why.kind() == io::ErrorKind::NotFound => return Ok(()),
                        why => return Err(why),
                    },
                    _ => each(message.attributes()),
                }
                told += 1;
            }
        }
        Ok(())
    }

    /// Commits a batch; an error means that nothing of it was done. The socket is used up: further complaints may wait in it.
    pub(super) fn commit(self, batch: Batch) -> io::Result<()> {
        let (bytes, last) = batch.end();
        if bytes.len() > LARGEST_BATCH {
            return Err(io::Error::other("a batch beyond all bounds"));
        }
        // Without the privilege to exceed the host's limit, a large batch is refused by `send`.
        let _ = setsockopt(&self.descriptor, sockopt::SndBufForce, &(bytes.len() * 2 + (64 << 10)));
        setsockopt(&self.descriptor, sockopt::ReceiveTimeout, &TimeVal::seconds(COMMIT_SECONDS))?;
        send(self.descriptor.as_raw_fd(), &bytes, MsgFlags::empty())?;
        drop(bytes);
        let mut buffer = [0; 8192];
        loop {
            let length = self.receive(&mut buffer)?;
            for message in Messages(buffer.get(..length).unwrap_or_default()).filter(|m| m.kind == ERROR) {
                match message.error().raw_os_error() {
                    Some(0) | None if message.sequence() == Some(last) => return Ok(()),
                    Some(0) | None => {}
                    Some(_) => return Err(message.error()),
                }
            }
        }
    }

    /// Gives the number of the question.
    fn send(&self, kind: u16, flags: u16, family: u8, attributes: &[u8]) -> io::Result<u32> {
        let number = self.asked.fetch_add(1, Ordering::Relaxed).wrapping_add(1);
        let mut request = Vec::with_capacity(HEAD + attributes.len());
        head(&mut request, kind, REQUEST | flags, number, [family, 0, 0, 0], attributes);
        send(self.descriptor.as_raw_fd(), &request, MsgFlags::empty())?;
        Ok(number)
    }
}

/// Message header, `struct nfgenmsg`, attributes.
fn head(bytes: &mut Vec<u8>, kind: u16, flags: u16, sequence: u32, family: [u8; 4], attributes: &[u8]) {
    bytes.extend_from_slice(&u32::try_from(HEAD + attributes.len()).unwrap_or(u32::MAX).to_ne_bytes());
    bytes.extend_from_slice(&kind.to_ne_bytes());
    bytes.extend_from_slice(&flags.to_ne_bytes());
    bytes.extend_from_slice(&sequence.to_ne_bytes());
    bytes.extend_from_slice(&[0; 4]);
    bytes.extend_from_slice(&family);
    bytes.extend_from_slice(attributes);
}

/// Messages that the kernel carries out all or none.
#[derive(Debug)]
pub(super) struct Batch {
    bytes: Vec<u8>,
    sequence: u32,
}

impl Batch {
    /// Refused (`ERESTART`) if the ruleset is not at `generation`: somebody was there since we looked.
    pub(super) fn begin(generation: Option<u32>) -> Batch {
        let mut bytes = Vec::new();
        let named = generation.map(|g| attribute(1, &g.to_be_bytes())).unwrap_or_default();
        head(&mut bytes, BATCH_BEGIN, REQUEST, 0, [0, 0, 0, NFTABLES], &named);
        Batch { bytes, sequence: 0 }
    }

    pub(super) fn add(&mut self, kind: u8, flags: u16, attributes: &[u8]) {
        self.sequence += 1;
        // An answer to each, or we would not know the end; those of success are few, since one message carries many elements.
        let flags = REQUEST | ACKNOWLEDGE | flags;
        head(&mut self.bytes, u16::from_be_bytes([NFTABLES, kind]), flags, self.sequence, [INET, 0, 0, 0], attributes);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.sequence == 0
    }

    fn end(mut self) -> (Vec<u8>, u32) {
        head(&mut self.bytes, BATCH_END, REQUEST, self.sequence + 1, [0, 0, 0, NFTABLES], &[]);
        (self.bytes, self.sequence)
    }
}

/// An attribute that holds others, written in place.
pub(super) fn nest(bytes: &mut Vec<u8>, kind: u16, inner: impl FnOnce(&mut Vec<u8>)) {
    let begin = bytes.len();
    bytes.extend_from_slice(&[0, 0]);
    bytes.extend_from_slice(&(NESTED | kind).to_ne_bytes());
    inner(bytes);
    let length = u16::try_from(bytes.len() - begin).unwrap_or(u16::MAX);
    if let Some(place) = bytes.get_mut(begin..begin + 2) {
        place.copy_from_slice(&length.to_ne_bytes());
    }
}

/// A plain attribute, written in place.
pub(super) fn put(bytes: &mut Vec<u8>, kind: u16, value: &[u8]) {
    bytes.extend_from_slice(&u16::try_from(4 + value.len()).unwrap_or(u16::MAX).to_ne_bytes());
    bytes.extend_from_slice(&kind.to_ne_bytes());
    bytes.extend_from_slice(value);
    bytes.resize(bytes.len().next_multiple_of(4), 0);
}

/// An attribute as it is sent: length, type, value, padding.
pub(super) fn attribute(kind: u16, value: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(8 + value.len());
    put(&mut bytes, kind, value);
    bytes
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Message<'a> {
    pub(super) kind: u16,
    flags: u16,
    bytes: &'a [u8],
}

impl<'a> Message<'a> {
    /// Of nftables, the message number; of others none.
    pub(super) fn of_nftables(&self) -> Option<u8> {
        let [subsystem, kind] = self.kind.to_be_bytes();
        (subsystem == NFTABLES).then_some(kind)
    }

    pub(super) fn attributes(&self) -> Attributes<'a> {
        Attributes(self.bytes.get(HEAD..).unwrap_or_default())
    }

    /// What follows the message header.
    pub(super) fn body(&self) -> &'a [u8] {
        self.bytes.get(16..).unwrap_or_default()
    }

    /// Of an answer: the number of the question.
    fn number(&self) -> Option<u32> {
        self.bytes.get(8..12).and_then(|b| b.try_into().ok()).map(u32::from_ne_bytes)
    }

    /// `ERROR`, and what it says; `None` for anything else.
    pub(super) fn complaint(&self) -> Option<io::Error> {
        (self.kind == ERROR).then(|| self.error())
    }

    fn sequence(&self) -> Option<u32> {
        // Of an answer to a message: that message's own header follows the error.
        self.bytes.get(28..32).and_then(|b| b.try_into().ok()).map(u32::from_ne_bytes)
    }

    /// `struct nlmsgerr` begins with a negative errno.
    fn error(&self) -> io::Error {
        let code = self.bytes.get(16..20).and_then(|b| b.try_into().ok()).map_or(0, i32::from_ne_bytes);
        io::Error::from_raw_os_error(code.saturating_neg())
    }
}

/// The messages of a datagram, up to the first that lies about its length.
pub(super) struct Messages<'a>(pub(super) &'a [u8]);

impl<'a> Iterator for Messages<'a> {
    type Item = Message<'a>;

    fn next(&mut self) -> Option<Message<'a>> {
        let length = u32::from_ne_bytes(self.0.get(..4)?.try_into().ok()?) as usize;
        let kind = u16::from_ne_bytes(self.0.get(4..6)?.try_into().ok()?);
        let flags = u16::from_ne_bytes(self.0.get(6..8)?.try_into().ok()?);
        if length < 16 {
            return None;
        }
        let bytes = self.0.get(..length)?;
        self.0 = self.0.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some(Message { kind, flags, bytes })
    }
}

/// Type and value of each attribute, up to the first that lies about its length. Numbers of nftables are big-endian.
#[derive(Clone, Copy, Debug)]
pub(super) struct Attributes<'a>(pub(super) &'a [u8]);

impl<'a> Attributes<'a> {
    pub(super) fn get(mut self, kind: u16) -> Option<&'a [u8]> {
        self.find(|(k, _)| *k == kind).map(|(_, value)| value)
    }

    pub(super) fn number32(self, kind: u16) -> Option<u32> {
        self.get(kind)?.try_into().ok().map(u32::from_be_bytes)
    }

    pub(super) fn number64(self, kind: u16) -> Option<u64> {
        self.get(kind)?.try_into().ok().map(u64::from_be_bytes)
    }
}

impl<'a> Iterator for Attributes<'a> {
    type Item = (u16, &'a [u8]);

    fn next(&mut self) -> Option<(u16, &'a [u8])> {
        let length = usize::from(u16::from_ne_bytes(self.0.get(..2)?.try_into().ok()?));
        // The upper bits say that it is nested, or in network order.
        let kind = u16::from_ne_bytes(self.0.get(2..4)?.try_into().ok()?) & 0x3fff;
        let value = self.0.get(4..length)?;
        self.0 = self.0.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some((kind, value))
    }
}
