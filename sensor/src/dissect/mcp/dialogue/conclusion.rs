//! The end of a dialogue: what waited is told or dropped, with the facts that both sides showed.

use super::{Dialogue, MAX_PENDING, Outcome};
use crate::dissect::{
    Context,
    mcp::{STATELESS, shapes::ResultFacts},
};
use rules::evidence::{Auth, Client, Facts, Transport};
use std::collections::BTreeSet;

impl Dialogue {
    /// The attempt is over: signatures of the client's side are told, or dropped with a refusal that says nothing of MCP.
    pub fn conclude(&mut self, outcome: Outcome, cx: &mut Context<'_>) {
        if self.server_side.recited {
            self.pending.clear();
        }
        if self.pending.is_empty() {
            return;
        }
        let tell = match outcome {
            _ if cx.world.ledger.proven(&self.place) => true,
            Outcome::Answered if self.transport == Some(Transport::HttpSse) => return self.wait(cx),
            Outcome::Challenged if self.client_side.mcp => {
                let facts = self.facts(&ResultFacts::default());
                cx.world.ledger.say(&self.place, "wire.server.auth-gate", "asks an MCP client for credentials", cx.now, facts);
                true
            }
            Outcome::Unreadable if self.client_side.mcp => {
                // Whether it was accepted would be in what could not be read.
                self.pending.retain(|(signature, _)| *signature != "wire.client.established");
                let facts = self.facts(&ResultFacts::default());
                cx.world.ledger.say(
                    &self.place,
                    "wire.context.truncated",
                    "an answer to an MCP client that could not be read",
                    cx.now,
                    facts,
                );
                true
            }
            Outcome::Unseen => {
                self.server_side.agreed = true;
                self.client_side.mcp
            }
            _ => false,
        };
        if tell {
            self.tell_pending(cx);
        } else {
            self.pending.clear();
        }
    }

    /// The message was taken; the answer is to come on the stream of its session.
    pub(super) fn wait(&mut self, cx: &mut Context<'_>) {
        let pending = std::mem::take(&mut self.pending);
        let server = self.place.endpoint;
        let Some(session) = self.session else { return };
        let Some(mut stream) = cx.world.take_waiting(server, session) else { return };
        stream.waiting.extend(pending);
        stream.waiting.truncate(MAX_PENDING);
        stream.software = self.client_side.software.clone().or(stream.software);
        cx.world.stream_opened(server, session, stream);
    }

    /// What waited for this stream to speak.
    pub(super) fn stop_waiting(&mut self, cx: &mut Context<'_>) {
        let stream =
            self.session.filter(|_| self.server_side.offered).and_then(|session| cx.world.take_waiting(self.place.endpoint, session));
        if let Some(stream) = stream {
            self.pending.extend(stream.waiting);
            self.client_side.software = stream.software.or(self.client_side.software.take());
        }
    }

    pub(super) fn tell_pending(&mut self, cx: &mut Context<'_>) {
        for (signature, detail) in std::mem::take(&mut self.pending) {
            let facts = self.facts(&ResultFacts::default());
            cx.world.ledger.say(&self.place, signature, &detail, cx.now, facts);
        }
    }

    pub(super) fn facts(&self, told: &ResultFacts) -> Facts {
        // What a client offers and a server refuses is not what the server speaks.
        let agreed = self.revision.as_ref().filter(|_| self.server_side.agreed);
        let revisions: BTreeSet<String> = told.revisions.iter().chain(agreed).cloned().collect();
        let transport = match self.transport {
            Some(Transport::StreamableHttp) if !self.server_side.agreed => None,
            Some(Transport::StreamableHttp) if agreed.is_some_and(|r| r.as_str() >= STATELESS) => Some(Transport::StatelessHttp),
            other => other,
        };
        Facts {
            transport,
            revisions,
            auth: Some(self.auth.unwrap_or(Auth::None)),
            tls: Some(false),
            server_info: told.server.clone(),
            tools: told.tools.clone(),
            client: Some(Client { address: self.client, software: self.client_side.software.clone() }),
            ..Facts::default()
        }
    }
}
