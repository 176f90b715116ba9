//! The body of an answer on its way from a backend to a client: never held back, never outliving either side.

use super::{
    lens::Lens,
    pool::{Lease, Pool},
};
use crate::{
    answer::BoxError,
    audit::{Outcome, Ticket},
};
use bytes::Bytes;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use rules::printable::printable;
use std::{
    collections::VecDeque,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};
use tokio::{
    sync::mpsc,
    time::{Instant, Sleep, sleep_until},
};

/// Resolves when the HTTP transaction must end though both sides would go on; says why.
pub(crate) type Withdrawn = Pin<Box<dyn Future<Output = &'static str> + Send>>;

/// Dropped before its end (the client left), it closes the backend's connection and its ticket records the cancellation.
pub(crate) struct Relay {
    from: Incoming,
    connection: Option<(Lease, Arc<Pool>)>,
    ticket: Option<Ticket>,
    lens: Option<Lens>,
    withdrawn: Option<Withdrawn>,
    answers: Option<mpsc::Receiver<Bytes>>,
    idle: Option<(Duration, Pin<Box<Sleep>>)>,
    out: VecDeque<Bytes>,
    /// Whether whoever reads events expects them (a comment can say why the stream ends).
    events: bool,
}

pub(crate) struct Terms {
    pub(crate) lens: Option<Lens>,
    pub(crate) withdrawn: Option<Withdrawn>,
    /// Events of the gateway's own.
    pub(crate) answers: Option<mpsc::Receiver<Bytes>>,
    pub(crate) idle: Option<Duration>,
    pub(crate) events: bool,
}

impl Relay {
    pub(crate) fn new(from: Incoming, lease: Lease, pool: Arc<Pool>, ticket: Ticket, terms: Terms) -> Relay {
        let mut relay = Relay {
            from,
            connection: Some((lease, pool)),
            ticket: Some(ticket),
            lens: terms.lens,
            withdrawn: terms.withdrawn,
            answers: terms.answers,
            idle: terms.idle.map(|d| (d, Box::pin(sleep_until(Instant::now() + d)))),
            out: VecDeque::new(),
            events: terms.events,
        };
        if relay.from.is_end_stream() {
            relay.complete();
        }
        relay
    }

    fn over(&self) -> bool {
        self.ticket.is_none()
    }

    fn give(&mut self, bytes: Bytes) {
        if !bytes.is_empty() {
            if let Some(ticket) = &mut self.ticket {
                ticket.record.bytes = ticket.record.bytes.saturating_add(bytes.len() as u64);
            }
            self.out.push_back(bytes);
        }
    }

    /// The backend sent everything: its connection can serve another HTTP transaction.
    fn complete(&mut self) {
        if let Some((lease, pool)) = self.connection.take() {
            pool.put(lease);
        }
        let answered = self.close_lens("");
        self.finish(if answered { Outcome::Answered } else { Outcome::BackendFailed }, None);
    }

    /// Whether the client has its answer.
    fn close_lens(&mut self, why: &str) -> bool {
        match self.lens.take().map(|mut l| l.end(why)) {
            None => true,
            Some(Ok((rest, answered))) => {
                self.give(rest);
                answered
            }
            Some(Err(_)) => false,
        }
    }

    fn finish(&mut self, outcome: Outcome, why: Option<&str>) {
        if let Some(mut ticket) = self.ticket.take() {
            if let Some(why) = why {
                ticket.record.why = Some(printable(why, 200));
            }
            ticket.finish(outcome);
        }
    }

    /// The gateway ends the HTTP transaction. An open stream of events is ended as its protocol has it, anything else is broken off.
    fn cut(&mut self, outcome: Outcome, why: &str) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        self.connection = None;
        self.lens = None;
        if self.events {
            // A comment, and no empty line after it: an event cut in half must not be completed.
            self.give(Bytes::from(format!("\n: ended by the gateway: {}\n", printable(why, 200))));
        }
        self.finish(outcome, Some(why));
        match self.out.pop_front() {
            Some(bytes) => Poll::Ready(Some(Ok(Frame::data(bytes)))),
            None => Poll::Ready(Some(Err(why.to_owned().into()))),
        }
    }

    /// The backend broke off.
    fn broken(&mut self, why: hyper::Error) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        self.connection = None;
        let text = super::cause::chain_of(&why);
        let owed = !self.close_lens(&format!(": {}", printable(&text, 200)));
        self.finish(Outcome::BackendFailed, Some(&text));
        match self.out.pop_front() {
            // The client was told in the stream itself.
            Some(bytes) if owed => Poll::Ready(Some(Ok(Frame::data(bytes)))),
            _ => Poll::Ready(Some(Err(why.into()))),
        }
    }

    fn data(&mut self, bytes: Bytes) -> Result<(), String> {
        if let Some((idle, sleep)) = &mut self.idle {
            sleep.as_mut().reset(Instant::now() + *idle);
        }
        let bytes = match &mut self.lens {
            Some(lens) => lens.pass(&bytes).map_err(|opaque| opaque.0)?,
            None => bytes,
        };
        self.give(bytes);
        if self.from.is_end_stream() {
            self.complete();
        }
        Ok(())
    }

    /// Whether something other than the two sides ends the HTTP transaction now.
    fn poll_end(&mut self, cx: &mut Context<'_>) -> Option<(Outcome, &'static str)> {
        if let Some(withdrawn) = &mut self.withdrawn
            && let Poll::Ready(why) = withdrawn.as_mut().poll(cx)
        {
            self.withdrawn = None;
            return Some((Outcome::Withdrawn, why));
        }
        let (_, sleep) = self.idle.as_mut()?;
        sleep.as_mut().poll(cx).is_ready().then_some((Outcome::BackendFailed, "nothing came from the backend for too long"))
    }
}

impl Body for Relay {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        loop {
            if let Some(bytes) = self.out.pop_front() {
                return Poll::Ready(Some(Ok(Frame::data(bytes))));
            }
            if self.over() {
                return Poll::Ready(None);
            }
            if let Some((outcome, why)) = self.poll_end(cx) {
                return self.cut(outcome, why);
            }
            if let Some(answers) = &mut self.answers {
                match answers.poll_recv(cx) {
                    Poll::Ready(Some(event)) => {
                        self.give(event);
                        continue;
                    }
                    Poll::Ready(None) => self.answers = None,
                    Poll::Pending => {}
                }
            }
            match ready!(Pin::new(&mut self.from).poll_frame(cx)) {
                None => self.complete(),
                Some(Err(why)) => return self.broken(why),
                // Trailers mean nothing to MCP.
                Some(Ok(frame)) => {
                    if let Ok(bytes) = frame.into_data()
                        && let Err(why) = self.data(bytes)
                    {
                        return self.cut(Outcome::BackendFailed, &why);
                    }
                }
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.over() && self.out.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        if self.lens.is_some() || self.over() { SizeHint::default() } else { self.from.size_hint() }
    }
}
