//! The global stop: a file in the data directory. While it is there nobody on this machine is asked anything.

use crate::{
    data,
    failure::{Exit, Failure, Side},
    out,
};
use std::{
    fs::{self, File},
    io::ErrorKind,
    path::{Path, PathBuf},
};

/// A sensor on the same data directory obeys it too.
pub(super) fn file(data: &Path) -> PathBuf {
    gnomon_sensor::settings::stop_file(data)
}

pub(super) fn turn(data: &Path, stop: bool, json: bool) -> Result<Exit, Failure> {
    data::prepare(data)?;
    let path = file(data);
    let done = if stop { File::create(&path).map(drop) } else { fs::remove_file(&path) };
    match done {
        Err(why) if why.kind() != ErrorKind::NotFound => {
            let what = format!("cannot {} {}: {why}", if stop { "make" } else { "remove" }, path.display());
            return Err(Failure::new(Side::Machine, what, "run this as the user that scans, with the same --data"));
        }
        _ => {}
    }
    if json {
        out::object(&serde_json::json!({"stopped": stop, "file": path}))?;
    } else if stop {
        out::line(format!("stopped: scans with {} end within a second, and none begins until `gnomon scan --go`", data.display()))?;
    } else {
        out::line(format!("scans with {} may run", data.display()))?;
    }
    Ok(Exit::Clear)
}
