//! One interface over several threads: which frames are whose, and one report of all of them.
//!
//! The kernel's own way (`PACKET_FANOUT`) hashes ports as well, so that the connections of one session and the fragments of one datagram
//! part, and needs a socket option that no library offers without `unsafe`. Here each thread has a socket whose filter takes the pairs of
//! addresses that are its own: what two hosts say to each other is heard by one thread, whatever connection or fragment it comes in.

use rules::observation::Coverage;
use std::sync::{Mutex, PoisonError};

/// Threads at one interface, at most: each costs every frame a run of its filter.
pub(super) const MOST: u8 = 16;

/// Which of how many.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Share {
    pub(super) index: u8,
    pub(super) of: u8,
}

impl Share {
    #[cfg(test)]
    pub(super) const WHOLE: Share = Share { index: 0, of: 1 };

    pub(super) fn is_first(self) -> bool {
        self.index == 0
    }

    /// What is its own, in the language of pcap-filter(7); none where all is. Sums are the same in both directions; the multiplication
    /// (Knuth, TAOCP 3, §6.4) spreads neighbours.
    pub(super) fn addresses(self) -> Option<String> {
        let Share { index, of } = self;
        let mine = |sum: &str| format!("((({sum}) * 2654435761) >> 16) % {of} = {index}");
        let words = |from: usize| (from..from + 32).step_by(4).map(|at| format!("ip6[{at}:4]")).collect::<Vec<_>>().join(" + ");
        (of > 1).then(|| format!("(ip and {}) or (ip6 and {})", mine("ip[12:4] + ip[16:4]"), mine(&words(8))))
    }
}

/// What the threads of one interface saw and lost, each the last it said.
#[derive(Debug)]
pub(super) struct Joint {
    said: Mutex<Vec<(Coverage, bool)>>,
}

impl Joint {
    pub(super) fn new(threads: u8) -> Joint {
        Joint { said: Mutex::new(vec![(Coverage::default(), false); usize::from(threads)]) }
    }

    /// Takes what the thread of `share` counted since it began, and gives what all did where it is to be told now: at the first one's
    /// reports, and when the last one ends.
    pub(super) fn take(&self, share: Share, coverage: Coverage, ended: bool) -> Option<Coverage> {
        let mut said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        let mine = said.get_mut(usize::from(share.index))?;
        // Networks are told once.
        let heard = std::mem::take(&mut mine.0.heard);
        *mine = (coverage, ended);
        mine.0.heard.extend(heard);
        let over = said.iter().all(|(_, ended)| *ended);
        if !over && (ended || !share.is_first()) {
            return None;
        }
        let mut all = Coverage::default();
        for (one, _) in said.iter_mut() {
            all.add(one.clone());
            one.heard.clear();
        }
        Some(all)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    fn counted(frames: u64, lost: u64, net: &str) -> Coverage {
        let lost = BTreeMap::from([("gap".to_owned(), lost)]);
        Coverage { frames, lost, heard: [net.parse().unwrap()].into(), ..Coverage::default() }
    }

    #[test]
    fn one_report_has_what_all_threads_counted_and_each_network_once() {
        let joint = Joint::new(2);
        let [first, second] = [0, 1].map(|index| Share { index, of: 2 });
        assert_eq!(joint.take(second, counted(5, 1, "10.0.1.0/24"), false), None);
        assert_eq!(joint.take(second, counted(7, 2, "10.0.2.0/24"), false), None);
        let told = joint.take(first, counted(10, 0, "10.0.0.0/24"), false).unwrap();
        assert_eq!((told.frames, told.lost["gap"], told.heard.len()), (17, 2, 3));
        assert_eq!(joint.take(first, counted(11, 0, "10.0.3.0/24"), false).unwrap().heard.len(), 1);
        // The end is told once, by the last, whoever that is.
        assert_eq!(joint.take(first, counted(12, 1, "10.0.0.0/24"), true), None);
        let told = joint.take(second, counted(8, 3, "10.0.0.0/24"), true).unwrap();
        assert_eq!((told.frames, told.lost["gap"]), (20, 4));
    }
}
