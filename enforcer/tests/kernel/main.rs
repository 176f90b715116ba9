//! What the kernel really does with our tables: real packets between namespaces, positive control first.

#![allow(unreachable_pub, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod blocking;
mod bypass;
mod clocks;
mod confined;
mod cost;
mod disk;
mod drift;
mod faults;
mod gate;
mod holes;
mod lab;
mod paths;
mod reload;
mod talk;
mod upgrade;
mod upkeep;
mod whom;
