//! Connections of which nothing more can be read, and much comes, are left in the kernel: most of what a network carries is the inside of
//! TLS. Their beginnings and ends still come by, so that a pair of ports used again is a new connection here, too.
//!
//! They are written in front of the filter that libpcap compiled, and both replace what was there in a single step, in which no frame is
//! lost (`pcap_setfilter` lets nothing in for a moment, and empties the ring). A connection comes back after a while and has to show again
//! that it is one of these.

use super::bpf::{self, Instruction};
use crate::{decode::Link, flow::Heavy};
use pcap::{Active, Capture};
use rules::endpoint::Endpoint;
use socket2::{SockFilter, SockRef};
use std::time::{Duration, Instant};

/// Connections left in the kernel at a time; each costs every frame a few instructions.
const MOST: usize = 16;
/// Then it comes back.
const KEEP: Duration = Duration::from_secs(60);
/// From one filter to the next, so that writing them costs little; a connection that begins or ends does not wait.
const PAUSE: Duration = Duration::from_millis(250);

#[derive(Debug)]
pub(super) struct Shunt {
    /// What the kernel's filter is without them.
    plain: Vec<Instruction>,
    left: Vec<(Endpoint, Endpoint, Instant)>,
    /// The kernel's filter is another one than `left` asks for; when one of them may have begun anew, that is urgent.
    differs: bool,
    urgent: bool,
    written: Option<Instant>,
    off: bool,
    /// Connections that were left, since the beginning.
    pub(super) total: u64,
}

impl Shunt {
    /// For a capture that has the filter `program`. On other links than Ethernet libpcap changes a filter before the kernel gets it.
    pub(super) fn new(capture: &Capture<Active>, link: Link, program: &str, wanted: bool) -> Shunt {
        let wanted = wanted && link == Link::Ethernet;
        let plain = if wanted { capture.compile(program, true).ok().as_ref().and_then(bpf::read) } else { None };
        if wanted && plain.is_none() {
            tracing::warn!("encrypted bulk is not left in the kernel: the filter cannot be read back");
        }
        Shunt::with(plain)
    }

    fn with(plain: Option<Vec<Instruction>>) -> Shunt {
        let off = plain.is_none();
        Shunt { plain: plain.unwrap_or_default(), left: Vec::new(), differs: false, urgent: false, written: None, off, total: 0 }
    }

    /// Takes what the flow table noticed, and lets come back what was left long enough.
    pub(super) fn take(&mut self, noticed: impl Iterator<Item = Heavy>, now: Instant) {
        for heavy in noticed.filter(|_| !self.off) {
            match heavy {
                Heavy::Unread(a, b) if self.left.len() < MOST && !self.left.iter().any(|(x, y, _)| (*x, *y) == (a, b)) => {
                    self.left.push((a, b, now));
                    self.differs = true;
                    self.total += 1;
                }
                Heavy::Unread(..) => {}
                Heavy::Over(a, b) => {
                    let before = self.left.len();
                    self.left.retain(|(x, y, _)| (*x, *y) != (a, b));
                    self.urgent |= self.left.len() < before;
                }
            }
        }
        let before = self.left.len();
        self.left.retain(|(.., since)| now.duration_since(*since) < KEEP);
        self.differs |= self.urgent || self.left.len() < before;
    }

    /// Gives the kernel the filter it should have. Once it does not take it, all comes back and nothing is left any more.
    pub(super) fn apply(&mut self, capture: &Capture<Active>, now: Instant) {
        let soon = self.written.is_some_and(|at| now.duration_since(at) < PAUSE);
        if self.off || !self.differs || (soon && !self.urgent) {
            return;
        }
        (self.differs, self.urgent, self.written) = (false, false, Some(now));
        if let Err(why) = self.attach(capture) {
            (self.off, self.left) = (true, Vec::new());
            let detached = self.attach(capture).is_ok();
            tracing::warn!(%why, detached, "the kernel did not take the filter; encrypted bulk is read by the sensor");
        }
    }

    fn attach(&self, capture: &Capture<Active>) -> std::io::Result<()> {
        let filter: Vec<SockFilter> = self.program().map(|i| SockFilter::new(i.code, i.true_skips, i.false_skips, i.operand)).collect();
        SockRef::from(capture).attach_filter(&filter)
    }

    fn program(&self) -> impl Iterator<Item = Instruction> {
        let front = self.left.iter().map(|(a, b, _)| (*a, *b)).collect::<Vec<_>>();
        bpf::without(&front).into_iter().chain(self.plain.iter().copied())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair(n: u16) -> (Endpoint, Endpoint) {
        (Endpoint::new([10, 0, 0, 1].into(), 40_000 + n), Endpoint::new([10, 0, 0, 2].into(), 443))
    }

    #[test]
    fn so_many_are_left_each_for_a_while_and_none_after_its_end() {
        let (mut shunt, start) = (Shunt::with(Some(vec![bpf::ALL])), Instant::now());
        let unread = |n| {
            let (a, b) = pair(n);
            Heavy::Unread(a, b)
        };
        shunt.take((0..20).chain(0..20).map(unread), start);
        assert_eq!((shunt.left.len(), shunt.total, shunt.urgent), (MOST, MOST as u64, false));
        let (a, b) = pair(3);
        shunt.take([Heavy::Over(a, b)].into_iter(), start);
        assert!(shunt.urgent && shunt.left.len() == MOST - 1 && !shunt.left.iter().any(|(x, ..)| *x == a));
        shunt.take(std::iter::empty(), start + KEEP);
        assert_eq!(shunt.left.len(), 0);
        assert_eq!(shunt.program().collect::<Vec<_>>(), [bpf::ALL]);
    }
}
