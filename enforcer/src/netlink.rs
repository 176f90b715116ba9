//! The kernel's ruleset without `nft`: who changed it, what our table holds, and its elements changed.
//!
//! Over `NETLINK_NETFILTER`: which generation is it (4 us), what is in our table ([`table`]) or at one key of it, changes of elements
//! ([`batch`]), and the stream of `NEWGEN` events (within a millisecond of a commit), which name who committed. An overrun stream is not
//! repaired; it only means "look".
#![deny(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod batch;
mod routes;
mod table;
mod wire;

use crate::{
    present::{KernelBlock, Present},
    render::Transaction,
};
use nix::errno::Errno;
use rules::{decision::Action, endpoint::Endpoint, printable::printable_bytes};
use std::io;
use tokio::sync::mpsc;
use wire::{Attributes, Messages, Socket};

pub use batch::AT_ONCE;
pub use routes::routes;
pub use table::Tried;

/// `NFT_MSG_NEWGEN`, `NFT_MSG_GETGEN`
const NEWGEN: u8 = 15;
const GETGEN: u8 = 16;
/// `NFNLGRP_NFTABLES` is group 7.
const GROUP: u32 = 1 << 6;
const BUFFER: usize = 256 << 10;
/// A foreign batch of some 30,000 changes fits; beyond that the kernel says ENOBUFS.
const RECEIVE_QUEUE: usize = 16 << 20;
/// Of one question for many elements.
const ANSWERS: usize = 4 << 20;
/// Commits that wait for the loop at most; beyond that it is told that some were lost.
const QUEUE: usize = 256;

/// One committed transaction, by whomever.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Commit {
    pub generation: u32,
    /// `nft (pid 4711)`; empty if it was not told.
    pub actor: String,
    /// Whether it named our table.
    pub ours: bool,
}

/// The kernel of the network namespace of the thread that opened it.
#[derive(Debug)]
pub struct Monitor {
    questions: Socket,
    events: Option<Socket>,
}

impl Monitor {
    /// Needs CAP_NET_ADMIN.
    pub fn open() -> io::Result<Monitor> {
        let events = Socket::open(GROUP)?;
        events.enlarge(RECEIVE_QUEUE);
        let monitor = Monitor { questions: Socket::open(0)?, events: Some(events) };
        monitor.generation()?;
        Ok(monitor)
    }

    /// Commits from now on; `None`: some were lost. Once only.
    ///
    /// A thread, since a blocking `recv` needs nothing that an event loop would have to promise about a raw descriptor. It ends
    /// within a second after the receiver is dropped.
    pub fn listen(&mut self) -> io::Result<mpsc::Receiver<Option<Commit>>> {
        let events = self.events.take().ok_or_else(|| io::Error::other("already listening"))?;
        let (tell, told) = mpsc::channel(QUEUE);
        std::thread::Builder::new().name("nft-monitor".to_owned()).spawn(move || listen(&events, &tell))?;
        Ok(told)
    }

    /// The number of the newest transaction, now.
    pub fn generation(&self) -> io::Result<u32> {
        self.questions.ask(GETGEN, |answer| match answer.complaint() {
            Some(why) => Err(why),
            None => Ok(commit(answer.attributes()).generation),
        })
    }

    /// Our table as it is now; `None`: there is none.
    pub fn table(&self) -> io::Result<Option<Present>> {
        // A socket of its own: what an abandoned dump leaves behind goes with it.
        table::read(&Socket::open(0)?)
    }

    /// Our table but for what is blocked: chains, rules, whom it binds and what it protects.
    pub fn frame(&self) -> io::Result<Option<Present>> {
        table::frame(&Socket::open(0)?)
    }

    /// What the set of an action holds at each of these places, without a look at the others.
    pub fn held(&self, action: Action, places: &[Endpoint], mut tell: impl FnMut(Endpoint, Option<KernelBlock>)) -> io::Result<()> {
        let socket = Socket::open(0)?;
        socket.enlarge(ANSWERS);
        let (v4, v6): (Vec<Endpoint>, Vec<Endpoint>) = places.iter().partition(|place| place.address.is_ipv4());
        [v4, v6].iter().try_for_each(|family| table::held_at(&socket, action, family, &mut tell))
    }

    /// Who tried to reach what is blocked or counted.
    pub fn tried(&self) -> io::Result<Vec<Tried>> {
        table::tried(&Socket::open(0)?)
    }

    /// Commits everything of a transaction but its skeleton; how many commits that took. Up to [`AT_ONCE`] changes are one. `Err` with
    /// `ERESTART`: somebody committed since `generation`, and nothing was done.
    pub fn commit(&self, transaction: &Transaction, generation: Option<u32>, readd: bool) -> io::Result<u32> {
        let mut commits = 0;
        for batch in batch::batches(transaction, generation, readd) {
            // A socket of its own: complaints that nobody waits for go with it.
            Socket::open(0)?.commit(batch)?;
            commits += 1;
        }
        Ok(commits)
    }
}

impl Monitor {
    /// Takes our table away, and nothing else; that there was none is no error.
    pub fn remove(&self) -> io::Result<()> {
        Socket::open(0)?.commit(batch::removal())
    }
}

fn listen(events: &Socket, tell: &mpsc::Sender<Option<Commit>>) {
    let mut buffer = vec![0; BUFFER];
    let (mut ear, mut lost) = (CommitReader::default(), false);
    while !tell.is_closed() {
        let received = if ear.doubts { events.receive_at_once(&mut buffer) } else { events.receive(&mut buffer) };
        let heard = match ear.hear(received.map(|length| buffer.get(..length).unwrap_or_default())) {
            Ok(heard) => heard,
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

/// What the stream said so far of the commit to come.
#[derive(Debug, Default)]
struct CommitReader {
    /// It named our table, or may have.
    ours: bool,
    /// The queue ran over, and until it has been empty the kernel drops messages without saying so again.
    doubts: bool,
}

impl CommitReader {
    /// `Some(None)`: commits were missed.
    fn hear(&mut self, received: Result<&[u8], Errno>) -> Result<Option<Option<Commit>>, Errno> {
        match received {
            Ok(datagram) => {
                let heard = newest(datagram, &mut self.ours);
                self.ours |= self.doubts;
                Ok(heard.map(Some))
            }
            Err(Errno::ENOBUFS) => {
                (self.ours, self.doubts) = (true, true);
                Ok(Some(None))
            }
            // Of the commit that is told next the beginning may be among what was dropped.
            Err(Errno::EAGAIN) if std::mem::take(&mut self.doubts) => Ok(Some(None)),
            Err(why) => Err(why),
        }
    }
}

/// The last `NEWGEN` in a datagram. `ours` carries over whether our table was named since the one before: every message about a table,
/// chain, rule, set, element or object has the table's name as its attribute 1.
fn newest(datagram: &[u8], ours: &mut bool) -> Option<Commit> {
    let mut found: Option<Commit> = None;
    for message in Messages(datagram) {
        let attributes = message.attributes();
        if message.of_nftables() == Some(NEWGEN) {
            let earlier = found.as_ref().is_some_and(|c| c.ours);
            found = Some(Commit { ours: *ours || earlier, ..commit(attributes) });
            *ours = false;
        } else if attributes.get(1) == Some(b"gnomon\0") {
            *ours = true;
        }
    }
    found
}

/// `NFTA_GEN_ID` (1), `NFTA_GEN_PROC_PID` (2), `NFTA_GEN_PROC_NAME` (3).
fn commit(attributes: Attributes<'_>) -> Commit {
    let name = attributes.get(3).map(|n| printable_bytes(n.strip_suffix(&[0]).unwrap_or(n), 32));
    let actor = match (name, attributes.number32(2)) {
        (Some(name), Some(pid)) => format!("{name} (pid {pid})"),
        _ => String::new(),
    };
    Commit { generation: attributes.number32(1).unwrap_or(0), actor, ours: false }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing)]
mod tests {
    use super::*;
    use crate::fixtures::Chance;

    fn message(kind: u8, attributes: &[(u16, &[u8])]) -> Vec<u8> {
        let body: Vec<u8> = attributes.iter().flat_map(|(kind, value)| wire::attribute(*kind, value)).collect();
        let mut bytes = (20 + body.len() as u32).to_ne_bytes().to_vec();
        bytes.extend_from_slice(&u16::from_be_bytes([10, kind]).to_ne_bytes());
        bytes.extend_from_slice(&[0; 14]);
        bytes.extend_from_slice(&body);
        bytes
    }

    #[test]
    fn reads_a_commit_and_survives_any_cut_of_it() {
        let element = message(12, &[(1, b"gnomon\0"), (2, b"block4\0")]);
        let end = message(NEWGEN, &[(1, &7u32.to_be_bytes()), (2, &42u32.to_be_bytes()), (3, b"nft\0")]);
        let both = [element, end].concat();
        assert_eq!(newest(&both, &mut false), Some(Commit { generation: 7, actor: "nft (pid 42)".to_owned(), ours: true }));
        for cut in 0..both.len() - 3 {
            assert_eq!(newest(&both[..cut], &mut false), None);
        }
    }

    /// After an overrun the kernel says nothing of what it drops until the queue was empty once.
    #[test]
    fn after_an_overrun_every_commit_may_be_ours_until_the_queue_was_empty() {
        let end = |generation: u32| message(NEWGEN, &[(1, &generation.to_be_bytes())]);
        let mut ear = CommitReader::default();
        let mut hear = |received: Result<&[u8], Errno>| match ear.hear(received) {
            Ok(Some(Some(commit))) => format!("{} {}", commit.generation, commit.ours),
            Ok(Some(None)) => "lost".to_owned(),
            Ok(None) => "nothing".to_owned(),
            Err(why) => why.to_string(),
        };
        assert_eq!(hear(Ok(&end(1))), "1 false");
        assert_eq!(hear(Err(Errno::ENOBUFS)), "lost");
        assert_eq!(hear(Ok(&end(2))), "2 true");
        assert_eq!(hear(Ok(&end(3))), "3 true");
        assert_eq!(hear(Err(Errno::EAGAIN)), "lost");
        assert_eq!(hear(Ok(&end(4))), "4 true", "its beginning may have been dropped");
        assert_eq!(hear(Ok(&end(5))), "5 false");
        assert_eq!(hear(Err(Errno::EAGAIN)), Errno::EAGAIN.to_string());
    }

    #[test]
    fn lengths_that_lie_end_the_reading() {
        for bytes in [[0u8; 64], [0xff; 64], [1; 64]] {
            assert_eq!(newest(&bytes, &mut false), None);
        }
        let mut chance = Chance(1);
        for _ in 0..10_000 {
            let bytes: Vec<u8> = (0..chance.below(200)).map(|_| chance.pick(&[0, 4, 8, 10, 15, 16, 20, 255])).collect();
            let _ = newest(&bytes, &mut false);
        }
    }
}
