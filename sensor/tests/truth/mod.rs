//! Captures and what is in them, as the manifest beside them says: those of this project, or of the folder in `TRACES`.

use serde::Deserialize;
use std::{net::IpAddr, path::PathBuf};

#[derive(Deserialize)]
struct Manifest {
    entries: Vec<Trace>,
}

#[derive(Deserialize)]
pub(crate) struct Trace {
    pub file: String,
    #[serde(default)]
    pub endpoints: Vec<Truth>,
}

#[derive(Deserialize)]
pub(crate) struct Truth {
    pub ip: IpAddr,
    pub port: u16,
    pub label: String,
    #[serde(default)]
    pub tls: bool,
    #[serde(default)]
    pub expect: String,
}

pub(crate) fn folder() -> PathBuf {
    std::env::var_os("TRACES").map_or_else(|| PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/traces")), PathBuf::from)
}

pub(crate) fn traces() -> Vec<Trace> {
    let files = std::fs::read_dir(folder()).unwrap().filter_map(|f| f.ok().map(|f| f.path()));
    let manifests = files.filter(|p| p.extension().is_some_and(|e| e == "json"));
    let traces: Vec<Trace> =
        manifests.flat_map(|m| serde_json::from_slice::<Manifest>(&std::fs::read(m).unwrap()).unwrap().entries).collect();
    assert!(!traces.is_empty(), "no captures in {}", folder().display());
    traces
}
