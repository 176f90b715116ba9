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
/// Header and `struct nfgenmsg`.
const HEAD: usize = 20;
const BUFFER: usize = 256 << 10;

#[derive(Debug)]
pub(super) struct Socket(OwnedFd);

impl Socket {
    /// With groups, it hears of events. An answer that does not come within a second is an error (`EAGAIN`).
    pub(super) fn open(groups: u32) -> io::Result<Socket> {
        let fd = socket(AddressFamily::Netlink, SockType::Raw, SockFlag::SOCK_CLOEXEC, SockProtocol::NetlinkNetFilter)?;
        bind(fd.as_raw_fd(), &NetlinkAddr::new(0, groups))?;
        setsockopt(&fd, sockopt::ReceiveTimeout, &TimeVal::seconds(1))?;
        Ok(Socket(fd))
    }

    /// A longer queue; without the privilege to exceed the host's limit the short one has to do.
    pub(super) fn enlarge(&self, bytes: usize) {
        let _ = setsockopt(&self.0, sockopt::RcvBufForce, &bytes);
    }

    pub(super) fn receive(&self, buffer: &mut [u8]) -> Result<usize, Errno> {
        recv(self.0.as_raw_fd(), buffer, MsgFlags::empty())
    }

    /// One request, one datagram of answer.
    pub(super) fn ask(&self, kind: u8, buffer: &mut [u8]) -> io::Result<usize> {
        self.send(kind, 0, 0, &[])?;
        Ok(self.receive(buffer)?)
    }

    /// Everything of a kind. A dump that the kernel says was interrupted by a change is begun anew by the caller, who sees that the
    /// generation moved on.
    pub(super) fn dump(&self, kind: u8, attributes: &[u8], mut each: impl FnMut(Attributes<'_>)) -> io::Result<()> {
        self.send(kind, DUMP, INET, attributes)?;
        let mut buffer = vec![0; BUFFER];
        loop {
            let length = self.receive(&mut buffer)?;
            for message in Messages(buffer.get(..length).unwrap_or_default()) {
                match message.kind {
                    DONE => return Ok(()),
                    ERROR => match message.error() {
                        // No such table or set: nothing of it.
                        why if why.kind() == io::ErrorKind::NotFound => return Ok(()),
                        why => return Err(why),
                    },
                    _ if message.flags & INTERRUPTED != 0 => {}
                    _ => each(message.attributes()),
                }
            }
        }
    }

    fn send(&self, kind: u8, flags: u16, family: u8, attributes: &[u8]) -> io::Result<()> {
        let mut request = Vec::with_capacity(HEAD + attributes.len());
        request.extend_from_slice(&u32::try_from(HEAD + attributes.len()).map_err(io::Error::other)?.to_ne_bytes());
        request.extend_from_slice(&u16::from_be_bytes([NFTABLES, kind]).to_ne_bytes());
        request.extend_from_slice(&(REQUEST | flags).to_ne_bytes());
        // Sequence and port; version and resource of nfgenmsg.
        request.extend_from_slice(&[0; 8]);
        request.extend_from_slice(&[family, 0, 0, 0]);
        request.extend_from_slice(attributes);
        send(self.0.as_raw_fd(), &request, MsgFlags::empty())?;
        Ok(())
    }
}

/// An attribute as it is sent: length, type, value, padding.
pub(super) fn attribute(kind: u16, value: &[u8]) -> Vec<u8> {
    let mut bytes = u16::try_from(4 + value.len()).unwrap_or(u16::MAX).to_ne_bytes().to_vec();
    bytes.extend_from_slice(&kind.to_ne_bytes());
    bytes.extend_from_slice(value);
    bytes.resize(bytes.len().next_multiple_of(4), 0);
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
