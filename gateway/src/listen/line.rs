//! A client's connection: what comes is watched for its framing, and what goes must be taken in time.

use super::framing::{Framing, FramingState};
use std::{
    io,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    task::{Context, Poll},
    time::Duration,
};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
    time::{Instant, Sleep, sleep_until},
};

/// What is known of a connection, for those who answer on it.
#[derive(Debug, Default)]
pub(super) struct ConnectionFlags {
    /// A request said its length in two ways.
    pub(super) ambiguous: AtomicBool,
    /// Nothing is served after the request under way.
    pub(super) last: AtomicBool,
    /// The client did not read what waited for it.
    pub(super) unread: AtomicBool,
}

#[derive(Debug)]
pub(super) struct Line {
    stream: TcpStream,
    framing: Framing,
    known: Arc<ConnectionFlags>,
    patience: Duration,
    /// Since when bytes wait for the client to make room.
    waiting: Option<Pin<Box<Sleep>>>,
}

impl Line {
    pub(super) fn new(stream: TcpStream, head_bytes: usize, patience: Duration, known: Arc<ConnectionFlags>) -> Line {
        Line { stream, framing: Framing::new(head_bytes), known, patience, waiting: None }
    }

    /// A client that took something has its time anew; one that takes nothing for too long has none.
    fn in_time<T>(&mut self, cx: &mut Context<'_>, wrote: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if wrote.is_ready() {
            self.waiting = None;
            return wrote;
        }
        let until = Instant::now() + self.patience;
        let waiting = self.waiting.get_or_insert_with(|| Box::pin(sleep_until(until)));
        if waiting.as_mut().poll(cx).is_pending() {
            return Poll::Pending;
        }
        self.known.unread.store(true, Relaxed);
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }
}

impl AsyncRead for Line {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(cx, buffer);
        match self.framing.see(buffer.filled().get(before..).unwrap_or_default()) {
            FramingState::Plain => {}
            FramingState::Last => self.known.last.store(true, Relaxed),
            FramingState::Ambiguous => self.known.ambiguous.store(true, Relaxed),
        }
        read
    }
}

impl AsyncWrite for Line {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let wrote = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.in_time(cx, wrote)
    }

    fn poll_write_vectored(mut self: Pin<&mut Self>, cx: &mut Context<'_>, parts: &[io::IoSlice<'_>]) -> Poll<io::Result<usize>> {
        let wrote = Pin::new(&mut self.stream).poll_write_vectored(cx, parts);
        self.in_time(cx, wrote)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
