//! Who is asking? Every request says so itself; nothing is remembered from the one before.

pub mod hmac;
