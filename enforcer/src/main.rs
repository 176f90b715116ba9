//! The privileged process by itself: no parser of anything from the network, no listening socket. Signed sets arrive as a file.

use std::{process::ExitCode, time::Duration};
use tokio_util::sync::CancellationToken;

fn main() -> ExitCode {
    let Some(path) = std::env::args_os().nth(1) else {
        eprintln!("usage: enforcer CONFIG.json (see enforcer/README.md)");
        return ExitCode::from(2);
    };
    let config = std::fs::read(&path).map_err(|why| why.to_string());
    let config: enforcer::Config = match config.and_then(|bytes| serde_json::from_slice(&bytes).map_err(|why| why.to_string())) {
        Ok(config) => config,
        Err(why) => {
            eprintln!("enforcer: {}: {why}", path.display());
            return ExitCode::from(2);
        }
    };
    if config.sets.is_none() {
        eprintln!("enforcer: {}: `sets` must name the file in which signed sets arrive", path.display());
        return ExitCode::from(2);
    }
    // Before there is a second thread: a thread takes its bounds from the one that makes it.
    if config.confine {
        eprintln!("enforcer: {}", enforcer::confine(&config));
    }
    match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime.block_on(obey(config)),
        Err(why) => {
            eprintln!("enforcer: cannot start: {why}");
            ExitCode::FAILURE
        }
    }
}

async fn obey(config: enforcer::Config) -> ExitCode {
    let shutdown = CancellationToken::new();
    let (sets, arriving) = tokio::sync::mpsc::channel(1);
    let (reports, mut said) = tokio::sync::mpsc::channel(64);
    let file = config.sets.clone().unwrap_or_default();
    let complain = |why: &str| eprintln!("enforcer: {why}");
    tokio::spawn(enforcer::follow::follow(file, sets, Duration::from_millis(200), complain));
    let health = config.health.clone().map(|file| {
        let (told, health) = tokio::sync::watch::channel(None);
        tokio::spawn(enforcer::follow::follow_health(file, told, Duration::from_millis(200), complain));
        health
    });
    tokio::spawn(async move {
        // One JSON object per line: whoever runs us carries them to the collector.
        while let Some(applied) = said.recv().await {
            println!("{}", serde_json::to_string(&applied).unwrap_or_default());
        }
    });
    tokio::spawn(end_on_signal(shutdown.clone()));
    match enforcer::run_gated(config, arriving, health, reports, shutdown).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("enforcer: {why}");
            ExitCode::FAILURE
        }
    }
}

async fn end_on_signal(shutdown: CancellationToken) {
    use tokio::signal::unix::{SignalKind, signal};
    match (signal(SignalKind::terminate()), signal(SignalKind::interrupt())) {
        (Ok(mut term), Ok(mut int)) => tokio::select! { _ = term.recv() => {}, _ = int.recv() => {} },
        _ => std::future::pending().await,
    }
    shutdown.cancel();
}
