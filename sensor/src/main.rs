//! The sensor alone, with no more privilege than it needs: `gnomon-sensor DATA_DIR [CONFIG.toml]`. `gnomon sensor` enrols it.

use collector_client::{Connection, Identity};
use sensor::{Config, Uplink, privileges};
use std::{error::Error, path::PathBuf, process::ExitCode};
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

fn main() -> ExitCode {
    let mut arguments = std::env::args_os().skip(1).map(PathBuf::from);
    let Some(data) = arguments.next() else {
        eprintln!(
            "usage: gnomon-sensor DATA_DIR [CONFIG.toml]\nDATA_DIR is where `gnomon sensor --collector URL --token T --data DATA_DIR` enrolled this host."
        );
        return ExitCode::from(2);
    };
    tracing_subscriber::fmt().with_writer(std::io::stderr).with_ansi(false).init();
    match start(data, arguments.next()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("gnomon-sensor: {why}");
            ExitCode::FAILURE
        }
    }
}

fn start(data: PathBuf, config: Option<PathBuf>) -> Result<(), Box<dyn Error>> {
    // Before any other thread is there to keep more.
    privileges::keep_only_watching()?;
    // Twice is once: whoever was first chose the same.
    drop(rustls::crypto::ring::default_provider().install_default());
    let mut config: Config = match config {
        Some(path) => toml::from_str(&std::fs::read_to_string(&path).map_err(|e| format!("{}: {e}", path.display()))?)
            .map_err(|e| format!("{}: {e}", path.display()))?,
        None => Config::default(),
    };
    let enrolled =
        Identity::load(&data)?.ok_or_else(|| format!("{} holds no identity: enrol with `gnomon sensor` first", data.display()))?;
    config.name.clone_from(&enrolled.name);
    config.uplink.spool.get_or_insert_with(|| data.join("spool"));
    config.probe.memory.get_or_insert_with(|| data.join("probe.memory"));
    config.probe.scan.stop_file.get_or_insert_with(|| data.join("probe.stop"));
    config.reset.memory.get_or_insert_with(|| data.join("reset.generation"));
    if config.reset.enabled {
        config.reset.ready()?;
    }
    let uplink = Uplink::Https(Box::new(Connection::open(&enrolled)?));
    tokio::runtime::Builder::new_multi_thread().enable_all().build()?.block_on(async {
        let shutdown = CancellationToken::new();
        let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
        let stop = shutdown.clone();
        tokio::spawn(async move {
            tokio::select! { _ = interrupt.recv() => {} _ = terminate.recv() => {} }
            stop.cancel();
        });
        Ok(sensor::run(config, uplink, shutdown).await?)
    })
}
