//! Tests of the whole, in one binary: scenarios, simulation, and the world of real packets, real nft and real MCP servers.

mod crash;
mod house;
mod joining;
mod lab;
mod scenarios;
mod sdk;
mod simulation;
mod world;
mod world_addresses;
mod world_hostile;
mod world_interfaces;
mod world_line;
mod world_reset;
mod world_shunt;
