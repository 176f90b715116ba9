//! TLS, as far as it is in the clear.

use crate::{
    dissect::{
        Context,
        nominate::{self, Call},
        tls::{self, Carrier, Handshakes, Hello},
    },
    flow::{Both, End},
};

/// TLS, as long as it is in the clear.
#[derive(Debug)]
pub(super) struct Secret {
    pub(super) client: End,
    pub(super) ends: Both<Handshakes>,
    /// The client's hello was read or cannot be.
    pub(super) heard: bool,
}

impl Secret {
    pub(super) fn new(client: End) -> Secret {
        Secret { client, ends: Both::default(), heard: false }
    }

    /// `Err` when nothing more can be read on this connection.
    pub(super) fn bytes(&mut self, from: End, bytes: &[u8], cx: &mut Context<'_>) -> Result<(), tls::Over> {
        let fed = self.ends.at_mut(from).feed(bytes);
        let call = Call { client: cx.peers.endpoint(self.client).address, server: cx.peers.endpoint(self.client.other()) };
        while let Some((kind, body)) = self.ends.at_mut(from).take() {
            match kind {
                tls::CLIENT_HELLO if from == self.client && !self.heard => {
                    let hello = Hello::parse(&body, Carrier::Tcp).ok_or(tls::Over)?;
                    nominate::by_hello(call, &hello, "TLS", cx);
                    self.heard = true;
                }
                // What comes after this one is secret in TLS 1.3, and then not even a handshake record.
                tls::SERVER_HELLO if from != self.client => {}
                tls::CERTIFICATE if from != self.client => {
                    if let Some(shown) = tls::certificate(&body) {
                        nominate::by_certificate(call, &shown, cx);
                    }
                    return Err(tls::Over);
                }
                _ => return Err(tls::Over),
            }
        }
        // The server may need a longer look than the client, and the other way round.
        match fed {
            Err(tls::Over) if from == self.client && !self.heard => Err(tls::Over),
            Err(tls::Over) if from != self.client => Err(tls::Over),
            _ => Ok(()),
        }
    }
}
