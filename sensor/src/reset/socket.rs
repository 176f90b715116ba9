//! Raw sockets for whole packets, one of each family. They are opened while this process may, and nothing is ever read from them.

use super::answer::Reset;
use socket2::{Domain, Protocol, SockAddr, Socket, Type};
use std::{
    io,
    net::{IpAddr, SocketAddr},
};

/// IPPROTO_RAW: what is sent has its IP header, and nothing is ever received.
const WHOLE: i32 = 255;

#[derive(Debug)]
pub(super) struct Sockets {
    four: Socket,
    /// A host without IPv6 has nobody to reset there.
    six: Option<Socket>,
}

impl Sockets {
    pub(super) fn open() -> io::Result<Sockets> {
        let open = |domain| -> io::Result<Socket> {
            let socket = Socket::new(domain, Type::RAW, Some(Protocol::from(WHOLE)))?;
            // A full queue is no reason to look away from the wire.
            socket.set_nonblocking(true)?;
            Ok(socket)
        };
        let four = open(Domain::IPV4)?;
        four.set_header_included_v4(true)?;
        let six = open(Domain::IPV6).and_then(|s| s.set_header_included_v6(true).map(|()| s));
        Ok(Sockets { four, six: six.inspect_err(|why| tracing::warn!(%why, "no resets over IPv6")).ok() })
    }

    /// Whether it left, by the routes of this host.
    pub(super) fn send(&self, reset: &Reset) -> bool {
        let to = SockAddr::from(SocketAddr::new(reset.to.address, 0));
        let socket = match reset.to.address {
            IpAddr::V4(_) => Some(&self.four),
            IpAddr::V6(_) => self.six.as_ref(),
        };
        let (Some(socket), Some(packet)) = (socket, reset.packet()) else { return false };
        socket.send_to(packet.bytes(), &to).is_ok_and(|n| n == packet.bytes().len())
    }
}
