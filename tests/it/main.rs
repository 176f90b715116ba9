//! Tests of the whole: scenarios, simulation, and the world of real packets, real nft and real MCP servers.

mod crash;
mod lab;
mod sdk;
mod world;
