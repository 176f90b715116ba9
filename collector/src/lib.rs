//! The policy administrator: receives observations, keeps the inventory and the registry, asks [`rules`], tells people, sends
//! decisions. It never touches a packet or a firewall.

pub mod inventory;
