//! The gateway from outside: real sockets, a signed bundle, backends that answer what each test says.

#![allow(unreachable_pub)]

mod audited;
mod backend;
mod client;
mod hostile;
mod refusals;
mod sessions;
mod site;
mod streams;
mod tls;
