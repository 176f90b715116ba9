//! The world, simulated: [`scenario`] plays scripts in the domain's words, [`simulation`] plays at random against a small
//! reference model. Both drive the very code the product runs: `collector::inventory` and `rules`.

pub mod scenario;
pub mod simulation;
