//! Who changed the ruleset, and when: the kernel numbers each committed transaction and tells who made it.
//!
//! Two questions only, over `NETLINK_NETFILTER`: which generation is it (4 us, asked every second), and the stream of `NEWGEN`
//! events (within a millisecond of a commit). An overrun stream is not repaired; it only means "look".
#![deny(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use nix::{
    errno::Errno,
    sys::{
        socket::{AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, bind, recv, send, setsockopt, socket, sockopt},
        time::{TimeVal, TimeValLike},
    },
};
use rules::printable::printable_bytes;
use std::{
    io,
    os::fd::{AsRawFd, OwnedFd},
};
use tokio::sync::mpsc;

/// `NFNL_SUBSYS_NFTABLES << 8 | NFT_MSG_*` (linux/netfilter/nf_tables.h).
const NEWGEN: u16 = 10 << 8 | 15;
const GETGEN: u16 = 10 << 8 | 16;
/// `NFNLGRP_NFTABLES` is group 7.
const GROUP: u32 = 1 << 6;
const BUFFER: usize = 256 << 10;
/// A foreign batch of some 30,000 changes fits; beyond that the kernel says ENOBUFS.
const RECEIVE_QUEUE: usize = 16 << 20;

/// One committed transaction, by whomever.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Commit {
    pub generation: u32,
    /// `nft (pid 4711)`; empty if it was not told.
    pub actor: String,
    /// Whether it named our table.
    pub ours: bool,
}

/// The stream of commits in the network namespace of the thread that opened it, and a way to ask for the newest.
#[derive(Debug)]
pub struct Monitor {
    questions: OwnedFd,
    events: Option<OwnedFd>,
}

/// What is listened to at most without being heard by the loop; beyond that it is told that some were lost.
const QUEUE: usize = 256;

impl Monitor {
    /// Needs CAP_NET_ADMIN.
    pub fn open() -> io::Result<Monitor> {
        let events = open(GROUP)?;
        // Without the privilege to exceed the host's limit the smaller queue has to do.
        let _ = setsockopt(&events, sockopt::RcvBufForce, &RECEIVE_QUEUE);
        let questions = open(0)?;
        // The kernel answers at once or not at all.
        setsockopt(&questions, sockopt::ReceiveTimeout, &TimeVal::seconds(1))?;
        let monitor = Monitor { questions, events: Some(events) };
        monitor.generation()?;
        Ok(monitor)
    }

    /// Commits from now on; `None`: some were lost. Once only.
    ///
    /// A thread, since a blocking `recv` needs nothing that an event loop would have to promise about a raw descriptor. It ends
    /// within a second after the receiver is dropped.
    pub fn listen(&mut self) -> io::Result<mpsc::Receiver<Option<Commit>>> {
        let events = self.events.take().ok_or_else(|| io::Error::other("already listening"))?;
        setsockopt(&events, sockopt::ReceiveTimeout, &TimeVal::seconds(1))?;
        let (tell, told) = mpsc::channel(QUEUE);
        std::thread::Builder::new().name("nft-monitor".to_owned()).spawn(move || listen(&events, &tell))?;
        Ok(told)
    }

    /// The number of the newest transaction, now.
    pub fn generation(&self) -> io::Result<u32> {
        let mut request = Vec::with_capacity(20);
        request.extend_from_slice(&20u32.to_ne_bytes());
        request.extend_from_slice(&GETGEN.to_ne_bytes());
        // NLM_F_REQUEST; sequence, port; family, version, resource of nfgenmsg.
        request.extend_from_slice(&1u16.to_ne_bytes());
        request.extend_from_slice(&[0; 12]);
        send(self.questions.as_raw_fd(), &request, MsgFlags::empty())?;
        let mut answer = [0; 4096];
        let length = recv(self.questions.as_raw_fd(), &mut answer, MsgFlags::empty())?;
        let mut ours = false;
        newest(answer.get(..length).unwrap_or_default(), &mut ours)
            .map(|commit| commit.generation)
            .ok_or_else(|| io::Error::other("the kernel did not tell its ruleset generation; CAP_NET_ADMIN is needed"))
    }
}

fn listen(events: &OwnedFd, tell: &mpsc::Sender<Option<Commit>>) {
    let mut buffer = vec![0; BUFFER];
    let (mut ours, mut lost) = (false, false);
    while !tell.is_closed() {
        let heard = match recv(events.as_raw_fd(), &mut buffer, MsgFlags::empty()) {
            Ok(length) => newest(buffer.get(..length).unwrap_or_default(), &mut ours).map(Some),
            Err(Errno::ENOBUFS) => Some(None),
            Err(Errno::EAGAIN | Errno::EINTR) => None,
            Err(_) => return,
        };
        match heard {
            // What is queued already makes the loop look; what does not fit is told as lost with the next one.
            Some(heard) => lost = tell.try_send(if lost { None } else { heard }).is_err(),
            None if lost => lost = tell.try_send(None).is_err(),
            None => {}
        }
    }
}

fn open(groups: u32) -> io::Result<OwnedFd> {
    let fd = socket(AddressFamily::Netlink, SockType::Raw, SockFlag::SOCK_CLOEXEC, SockProtocol::NetlinkNetFilter)?;
    bind(fd.as_raw_fd(), &NetlinkAddr::new(0, groups))?;
    Ok(fd)
}

/// The last `NEWGEN` in a datagram of netlink messages. `ours` carries over whether our table was named since the one before:
/// every message about a table, chain, rule, set, element or object has the table's name as its attribute 1.
fn newest(mut datagram: &[u8], ours: &mut bool) -> Option<Commit> {
    let mut found: Option<Commit> = None;
    while let Some((length, kind)) = header(datagram) {
        let Some(message) = datagram.get(..length) else { break };
        let body = message.get(20..).unwrap_or_default();
        if kind == NEWGEN {
            let earlier = found.as_ref().is_some_and(|c| c.ours);
            found = Some(Commit { ours: *ours || earlier, ..commit(body) });
            *ours = false;
        } else if attribute(body).is_some_and(|(name, _)| name == b"gnomon\0") {
            *ours = true;
        }
        datagram = datagram.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
    found
}

/// `struct nlmsghdr`: length of the message with its header, type.
fn header(bytes: &[u8]) -> Option<(usize, u16)> {
    let length = u32::from_ne_bytes(bytes.get(..4)?.try_into().ok()?) as usize;
    let kind = u16::from_ne_bytes(bytes.get(4..6)?.try_into().ok()?);
    (length >= 16).then_some((length, kind))
}

/// Attributes `NFTA_GEN_ID` (1), `NFTA_GEN_PROC_PID` (2), `NFTA_GEN_PROC_NAME` (3); numbers are big-endian.
fn commit(mut attributes: &[u8]) -> Commit {
    let (mut generation, mut pid, mut name) = (0, 0, String::new());
    while let Some((value, length)) = attribute(attributes) {
        let kind = attributes.get(2..4).and_then(|b| b.try_into().ok()).map_or(0, u16::from_ne_bytes);
        let number = value.get(..4).and_then(|b| b.try_into().ok()).map(u32::from_be_bytes);
        match kind {
            1 => generation = number.unwrap_or(0),
            2 => pid = number.unwrap_or(0),
            3 => name = printable_bytes(value.strip_suffix(&[0]).unwrap_or(value), 32),
            _ => {}
        }
        attributes = attributes.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
    let actor = if pid == 0 && name.is_empty() { String::new() } else { format!("{name} (pid {pid})") };
    Commit { generation, actor, ours: false }
}

fn attribute(bytes: &[u8]) -> Option<(&[u8], usize)> {
    let length = usize::from(u16::from_ne_bytes(bytes.get(..2)?.try_into().ok()?));
    Some((bytes.get(4..length)?, length))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
mod tests {
    use super::*;

    #[test]
    fn reads_a_commit_and_survives_any_cut_of_it() {
        let mut attributes = Vec::new();
        for (kind, value) in [(1u16, 7u32.to_be_bytes().to_vec()), (2, 42u32.to_be_bytes().to_vec()), (3, b"nft\0".to_vec())] {
            attributes.extend_from_slice(&(4 + value.len() as u16).to_ne_bytes());
            attributes.extend_from_slice(&kind.to_ne_bytes());
            attributes.extend_from_slice(&value);
        }
        let mut message = (20 + attributes.len() as u32).to_ne_bytes().to_vec();
        message.extend_from_slice(&NEWGEN.to_ne_bytes());
        message.extend_from_slice(&[0; 14]);
        message.extend_from_slice(&attributes);
        assert_eq!(newest(&message, &mut true), Some(Commit { generation: 7, actor: "nft (pid 42)".to_owned(), ours: true }));
        for cut in 0..message.len() {
            assert_eq!(newest(&message[..cut], &mut false), None);
        }
    }

    #[test]
    fn lengths_that_lie_end_the_reading() {
        for bytes in [[0u8; 64], [0xff; 64], [1; 64]] {
            assert_eq!(newest(&bytes, &mut false), None);
        }
    }
}
