//! Start, the parts that run, and the end.

use crate::{
    Config, Error, Unavailable,
    api::{self, Api},
    commit::{self, Hooks, Writer},
    console,
    dispatch::{Signer, Windows},
    enrol::Authority,
    handle::{Handle, Inner},
    http::{
        guard::{Admin, Gate},
        listen::{self, Listener, TurnedAway},
    },
    image::Image,
    judge,
    notify::{self, Channels},
    own,
    packs::{self, Shelf},
    prior, registry, retention, secrets,
    store::{self, Engine, Reader, Sqlite, database},
};
use rules::{Timestamp, endpoint::Endpoint};
use std::{
    fs::{File, TryLockError},
    net::SocketAddr,
    path::Path,
    sync::Arc,
    thread::JoinHandle,
};
use tokio::{net::TcpListener, task::JoinSet};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

/// A collector that runs. Dropping it does not stop it; the token given to [`start`] does.
#[derive(Debug)]
pub struct Running {
    handle: Handle,
    parts: JoinSet<&'static str>,
    thread: JoinHandle<()>,
    shutdown: CancellationToken,
    admin: SocketAddr,
    intake: Option<SocketAddr>,
    /// Held until the end: one collector per data directory.
    _lock: File,
}

/// The sockets, bound before anything is served.
struct Sockets {
    admin: TcpListener,
    intake: Option<TcpListener>,
}

/// Opens the data directory, loads the database, and starts all parts. The returned collector answers at once.
pub async fn start(mut config: Config, shutdown: CancellationToken) -> Result<Running, Error> {
    config.check().map_err(Error::Config)?;
    // Idempotent: another role of this process may have done it.
    let _ = rustls::crypto::ring::default_provider().install_default();
    secrets::make_dir(&config.data)?;
    let lock = lock(&config.data)?;
    let sockets = bind(&mut config).await?;
    let channels = Channels::open(&config.notify).map_err(Error::Config)?;
    let engine = open_database(&mut config)?;
    let (signer, authority) = prior::keys(&config, engine.records(), Timestamp::now())?;
    let key = signer.public().clone();
    let config = Arc::new(config);
    let gate = open_gate(&config)?;
    let windows = Arc::new(Windows::default());
    let shelf = Shelf::open(config.packs.as_deref(), &config.data);
    let (writer, thread) = start_writer(engine, &config, signer, &windows, &shelf)?;
    // Before anything is judged: confidence is by the site's packs from the first round on.
    packs::look(&writer, &shelf).await;
    first_look(&writer, &config.site, (key.key_id.clone(), authority.pin().to_owned())).await?;
    let reader = Reader::of(database(&config.data));
    let inner = Inner { config: config.clone(), writer: writer.clone(), windows: windows.clone(), key, reader: reader.clone() };
    let mut running = Running {
        admin: sockets.admin.local_addr().unwrap_or(config.admin),
        intake: sockets.intake.as_ref().and_then(|l| l.local_addr().ok()),
        handle: Handle { inner: Arc::new(inner) },
        parts: JoinSet::new(),
        thread,
        shutdown,
        _lock: lock,
    };
    running.serve(sockets, gate, authority)?;
    let stop = running.shutdown.clone();
    running.part("the writer", tick(config.judge_every.0, writer.clone(), stop.clone()));
    running.part("the resolver", registry::refresh(writer.clone(), stop.clone()));
    running.part("the packs", packs::run(writer.clone(), shelf, stop.clone()));
    running.part("the pruner", retention::run(writer.clone(), config.clone(), stop.clone()));
    let (wake, clock) = (windows.committed.clone(), config.clock.clone());
    running.part("the notifier", notify::run(channels, reader, writer, clock, wake, stop));
    Ok(running)
}

/// Binds the addresses to listen on. They are protected: a collector must not have itself cut off.
async fn bind(config: &mut Config) -> Result<Sockets, Error> {
    let admin = listen(config.admin, "the admin API", "admin").await?;
    let intake = match config.intake {
        Some(address) => Some(listen(address, "the intake", "intake").await?),
        None => None,
    };
    let own = intake.as_ref().and_then(|l| l.local_addr().ok());
    config.protect.extend(own.map(|a| Endpoint::new(a.ip(), a.port())));
    config.protect = own::spelled_out(&config.protect).map_err(Error::Config)?;
    Ok(Sockets { admin, intake })
}

async fn listen(address: SocketAddr, what: &'static str, key: &'static str) -> Result<TcpListener, Error> {
    TcpListener::bind(address).await.map_err(|e| Error::Listen { what, address, key, why: e.to_string() })
}

/// The database that was left, or the one that a person asked for.
fn open_database(config: &mut Config) -> Result<Sqlite, Error> {
    config.beginning = prior::settle(config, Timestamp::now())?;
    let path = database(&config.data);
    secrets::close_to_others(&path)?;
    let mut engine = store::open(&path, config.limits.database_pages)?;
    engine.begin()?;
    own::forget_former(engine.records(), &config.protect)?;
    engine.commit()?;
    Ok(engine)
}

fn open_gate(config: &Config) -> Result<Gate, Error> {
    let token_file = config.data.join("admin.token");
    let token = secrets::read_or_make(&token_file, || secrets::random_hex(32))?;
    Ok(Gate { admin: Admin::new(token.trim()), token_file })
}

/// Names in the intake's certificate: the configured ones, this machine's, loopback, and the address it listens on.
fn names(config: &Config) -> Vec<String> {
    let machine = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let mut names: Vec<String> = config.names.clone();
    names.extend(["localhost", "127.0.0.1", "::1", machine.trim()].map(str::to_owned));
    names.extend(config.intake.map(|a| a.ip()).filter(|ip| !ip.is_unspecified()).map(|ip| ip.to_string()));
    names.retain(|n| !n.is_empty());
    names.sort();
    names.dedup();
    names
}

/// Makes the site if it is new, and judges the time in which no collector ran.
async fn first_look(writer: &Writer, site: &str, (key, root): (String, String)) -> Result<(), Unavailable> {
    let site = site.to_owned();
    let look = writer.write(move |tx| {
        prior::note(tx, &key, &root)?;
        tx.image.site(tx.records, &site, tx.now)?;
        tx.touched.tick = true;
        Ok(())
    });
    look.await
}

fn lock(data: &Path) -> Result<File, Error> {
    let fail = |e: std::io::Error| Error::Data { path: data.to_owned(), why: e.to_string() };
    let file = File::options().create(true).truncate(false).write(true).open(data.join("collector.lock")).map_err(fail)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(Error::Running(data.to_owned())),
        Err(TryLockError::Error(e)) => Err(fail(e)),
    }
}

fn start_writer(
    engine: Sqlite,
    config: &Arc<Config>,
    signer: Signer,
    windows: &Arc<Windows>,
    shelf: &Shelf,
) -> Result<(Writer, JoinHandle<()>), Unavailable> {
    let (loading, showing, shelf) = (config.clone(), windows.clone(), shelf.clone());
    let hooks = Hooks {
        load: Box::new(move |read| {
            let mut image = Image::load(read, &loading)?;
            image.judge_by(shelf.now());
            Ok(image)
        }),
        judge: Some(Box::new(move |tx| judge::settle(tx, &signer))),
        publish: Box::new(move |image, announced| {
            commit::log(announced);
            showing.publish(image);
        }),
    };
    Writer::start(Box::new(engine), config.limits.queue, config.clock.clone(), hooks)
}

/// Time passes: every site is looked at, whether anything was said or not.
async fn tick(every: std::time::Duration, writer: Writer, stop: CancellationToken) {
    let mut timer = tokio::time::interval(every);
    timer.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            _ = timer.tick() => {}
        }
        let judged = writer.write(|tx| {
            tx.touched.tick = true;
            Ok(())
        });
        match judged.await {
            Ok(()) => {}
            // The writer has ended, and nothing works without it: ending stops the whole collector.
            Err(Unavailable::Stopping) => return,
            Err(why) => tracing::warn!(%why, "the clocks were not looked at"),
        }
    }
}

impl Running {
    /// Starts the admin API, and the intake when it is on.
    fn serve(&mut self, sockets: Sockets, gate: Gate, authority: Authority) -> Result<(), Error> {
        let config = self.handle.inner.config.clone();
        let tls = authority.tls(&names(&config), Timestamp::now())?;
        let turned = Arc::new(TurnedAway::default());
        let api = Api { handle: self.handle.clone(), authority: Arc::new(authority), turned: turned.clone(), gate };
        let router = api::admin(api.clone(), console::routes());
        let admin = Listener { router, tls: None, most: config.limits.connections, turned };
        if let Some(intake) = sockets.intake {
            let tls = Some(TlsAcceptor::from(Arc::new(tls)));
            let listener = Listener { router: api::intake(api), tls, ..admin.clone() };
            self.part("the intake", listen::serve(intake, listener, self.shutdown.clone()));
        }
        self.part("the admin API", listen::serve(sockets.admin, admin, self.shutdown.clone()));
        Ok(())
    }

    fn part(&mut self, name: &'static str, work: impl Future<Output = ()> + Send + 'static) {
        self.parts.spawn(async move {
            work.await;
            name
        });
    }

    /// Where the admin API listens.
    pub fn admin_address(&self) -> SocketAddr {
        self.admin
    }

    /// Where remote roles report, when that is on.
    pub fn intake_address(&self) -> Option<SocketAddr> {
        self.intake
    }

    pub fn handle(&self) -> Handle {
        self.handle.clone()
    }

    /// Until the token is cancelled and all that was asked is done, or a part fails.
    pub async fn wait(mut self) -> Result<(), Error> {
        let mut failed = None;
        while let Some(ended) = self.parts.join_next().await {
            if !self.shutdown.is_cancelled() {
                failed = Some(ended.unwrap_or("a task that panicked"));
                self.shutdown.cancel();
            }
        }
        self.handle.inner.writer.close().await;
        let thread = self.thread;
        let joined = tokio::task::spawn_blocking(move || thread.join()).await;
        if let Some(what) = failed {
            return Err(Error::Ended(what));
        }
        if !matches!(joined, Ok(Ok(()))) {
            return Err(Error::Ended("the writer"));
        }
        Ok(())
    }
}
