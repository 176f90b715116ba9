//! A thread at an interface: how it reads, how it is woken, and what the kernel says it lost.

use pcap::{Active, BreakLoop, Capture, Packet};
use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
};

pub(crate) struct Running {
    thread: thread::JoinHandle<()>,
    wake: BreakLoop,
    nudged: Arc<AtomicBool>,
}

impl Running {
    pub(crate) fn spawn(name: &str, wake: BreakLoop, work: impl FnOnce(Arc<AtomicBool>) + Send + 'static) -> io::Result<Running> {
        let nudged = Arc::new(AtomicBool::new(false));
        let theirs = nudged.clone();
        // Linux cuts thread names at 15 bytes.
        let thread = thread::Builder::new().name(name.to_owned()).spawn(move || work(theirs))?;
        Ok(Running { thread, wake, nudged })
    }

    /// A quiet interface keeps its thread asleep in the kernel: this lets it look at the clock and its token.
    pub(crate) fn nudge(&self) {
        self.nudged.store(true, Ordering::Release);
        self.wake.breakloop();
    }

    pub(crate) fn is_finished(&self) -> bool {
        self.thread.is_finished()
    }

    /// False when it crashed.
    pub(crate) fn join(self) -> bool {
        self.thread.join().is_ok()
    }
}

/// Hands over what is there; returns also when there is nothing for a while, or it was woken.
pub(crate) fn frames(capture: &mut Capture<Active>, nudged: &AtomicBool, each: impl FnMut(Packet<'_>)) -> Result<(), pcap::Error> {
    match capture.dispatch(None, each) {
        Ok(_) | Err(pcap::Error::TimeoutExpired) => Ok(()),
        // Only woken; an error that is one comes again.
        Err(_) if nudged.swap(false, Ordering::AcqRel) => Ok(()),
        Err(why) => Err(why),
    }
}

/// The kernel's counters are 32 bits wide and wrap.
#[derive(Debug, Default)]
pub(crate) struct Dropped {
    last: (u32, u32),
    pub(crate) kernel: u64,
    pub(crate) interface: u64,
}

impl Dropped {
    pub(crate) fn take(&mut self, stat: pcap::Stat) {
        self.kernel += u64::from(stat.dropped.wrapping_sub(self.last.0));
        self.interface += u64::from(stat.if_dropped.wrapping_sub(self.last.1));
        self.last = (stat.dropped, stat.if_dropped);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kernel_counters_wrap() {
        let stat = |dropped| pcap::Stat { received: 0, dropped, if_dropped: 0 };
        let mut dropped = Dropped::default();
        for n in [5, u32::MAX, 4] {
            dropped.take(stat(n));
        }
        assert_eq!(dropped.kernel, u64::from(u32::MAX) + 5);
    }
}
