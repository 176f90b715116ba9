//! Shapes between processes. They are separate from the nouns because sensors, collectors and enforcers upgrade on
//! different days: a noun may change in a release, a published shape may not.

pub mod v1;
