//! The straight line: a frame goes in, evidence comes out.
