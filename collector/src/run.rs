//! Start, the parts that run, and the end.

use crate::{
    AcceptError, Config, Error, Unavailable, VerifyingKey,
    api::{
        self, Admin, Api,
        listen::{Door, Turned},
    },
    dispatch::{Shown, Signer, Windows},
    intake::{self, Speaker},
    judge, notify, own,
    packs::{self, Shelf},
    prior, registry, retention, secrets,
    state::State,
    store::{self, Writer},
};
use rules::{
    Timestamp,
    endpoint::Endpoint,
    wire::v1::{Ack, Batch},
};
use rusqlite::Connection;
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

/// The way in for roles of the same process. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Handle {
    pub(crate) inner: Arc<Inner>,
}

#[derive(Debug)]
pub(crate) struct Inner {
    pub(crate) config: Arc<Config>,
    pub(crate) writer: Writer,
    pub(crate) shown: Arc<Windows>,
    pub(crate) key: VerifyingKey,
    pub(crate) turned: Arc<Turned>,
}

/// Opens the data directory, restores what was known, and starts all parts. What is returned is ready to be asked.
pub async fn start(mut config: Config, shutdown: CancellationToken) -> Result<Running, Error> {
    config.check().map_err(Error::Config)?;
    // Idempotent: another role of this process may have done it.
    let _ = rustls::crypto::ring::default_provider().install_default();
    secrets::make_dir(&config.data)?;
    let lock = lock(&config.data)?;
    let admin = listen(config.admin, "the admin API", "admin").await?;
    let intake = match config.intake {
        Some(address) => Some(listen(address, "the intake", "intake").await?),
        None => None,
    };
    // A collector must not have itself cut off.
    let own = intake.as_ref().and_then(|l| l.local_addr().ok());
    config.protect.extend(own.map(|a| Endpoint::new(a.ip(), a.port())));
    config.protect = own::spelled_out(&config.protect).map_err(Error::Config)?;
    let post = notify::Post::open(&config.notify).map_err(Error::Config)?;
    config.beginning = prior::settle(&config, Timestamp::now())?;
    secrets::close_to_others(&database(&config.data))?;
    let db = store::open(&database(&config.data), config.limits.database_pages)?;
    own::forget_former(&db, &config.protect).map_err(Unavailable::from)?;
    let (signer, authority) = prior::keys(&config, &db, Timestamp::now())?;
    let (key, authority) = (signer.public().clone(), Arc::new(authority));
    let token = secrets::read_or_make(&config.data.join("admin.token"), || secrets::random_hex(32))?;
    let tls = authority.tls(&names(&config), Timestamp::now())?;
    let config = Arc::new(config);
    let shown = Arc::new(Windows::default());
    let shelf = Shelf::open(config.packs.as_deref(), &config.data);
    let (writer, thread) = open_store(db, &config, signer, &shown, &shelf)?;
    // Before anything is judged: confidence is by the site's packs from the first round on.
    packs::look(&writer, &shelf).await;
    first_look(&writer, &config.site, (key.key_id.clone(), authority.pin().to_owned())).await?;
    let turned = Arc::default();
    let handle = Handle { inner: Arc::new(Inner { config: config.clone(), writer: writer.clone(), shown: shown.clone(), key, turned }) };

    let api = Api { handle: handle.clone(), authority, admin: Admin::new(token.trim()) };
    let mut running = Running {
        admin: admin.local_addr().unwrap_or(config.admin),
        intake: intake.as_ref().and_then(|l| l.local_addr().ok()),
        handle,
        parts: JoinSet::new(),
        thread,
        shutdown: shutdown.clone(),
        _lock: lock,
    };
    let (most, turned, stop) = (config.limits.connections, running.handle.inner.turned.clone(), &shutdown);
    let door = Door { router: api::admin(api.clone()), tls: None, most, turned };
    if let Some(intake) = intake {
        let tls = TlsAcceptor::from(Arc::new(tls));
        let door = Door { router: api::intake(api), tls: Some(tls), ..door.clone() };
        running.part("the intake", api::listen::serve(intake, door, stop.clone()));
    }
    running.part("the admin API", api::listen::serve(admin, door, stop.clone()));
    running.part("the writer", tick(config.judge_every.0, writer.clone(), stop.clone()));
    running.part("the resolver", registry::refresh(writer.clone(), stop.clone()));
    running.part("the packs", packs::run(writer.clone(), shelf, stop.clone()));
    running.part("the pruner", retention::run(writer.clone(), config.clone(), stop.clone()));
    let (wake, clock) = (shown.committed.clone(), config.clock.clone());
    let post = notify::run(post, database(&config.data), writer, clock, wake, stop.clone());
    running.part("the notifier", post);
    Ok(running)
}

async fn listen(address: SocketAddr, what: &'static str, key: &'static str) -> Result<TcpListener, Error> {
    TcpListener::bind(address).await.map_err(|e| Error::Listen { what, address, key, why: e.to_string() })
}

/// What the intake's certificate is for: what the configuration says, this machine, loopback, and the address it listens on.
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

/// The site exists from now on, and what passed while nobody ran is judged.
async fn first_look(writer: &Writer, site: &str, (key, root): (String, String)) -> Result<(), Unavailable> {
    let site = site.to_owned();
    let look = writer.write(move |turn| {
        prior::note(turn, &key, &root)?;
        turn.state.site(turn.db, &site, turn.now)?;
        turn.state.touched.tick = true;
        Ok(())
    });
    look.await
}

pub(crate) fn database(data: &Path) -> std::path::PathBuf {
    data.join("gnomon.db")
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

fn open_store(
    db: Connection,
    config: &Arc<Config>,
    signer: Signer,
    shown: &Arc<Windows>,
    shelf: &Shelf,
) -> Result<(Writer, JoinHandle<()>), Unavailable> {
    let (loading, showing, shelf) = (config.clone(), shown.clone(), shelf.clone());
    Writer::start(
        db,
        config.limits.queue,
        config.clock.clone(),
        move |db| {
            let mut state = State::load(db, &loading)?;
            packs::bring(&mut state, shelf.now());
            Ok(state)
        },
        Box::new(move |turn| judge::settle(turn, &signer)),
        Box::new(move |state| showing.publish(state)),
    )
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
        let judged = writer.write(|turn| {
            turn.state.touched.tick = true;
            Ok(())
        });
        match judged.await {
            Ok(()) => {}
            // The writer has ended: nothing works any more, and whoever waits for us must know.
            Err(Unavailable::Stopping) => return,
            Err(why) => tracing::warn!(%why, "the clocks were not looked at"),
        }
    }
}

impl Running {
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

impl Handle {
    /// Takes a batch of a sensor of this process. Durable when it returns.
    pub async fn accept(&self, batch: Batch) -> Result<Ack, AcceptError> {
        let speaker = Speaker::InProcess { site: self.inner.config.site.clone() };
        self.accept_from(speaker, batch).await
    }

    pub(crate) async fn accept_from(&self, speaker: Speaker, batch: Batch) -> Result<Ack, AcceptError> {
        intake::check(&batch)?;
        self.inner.writer.write(move |turn| intake::take(turn, &speaker, &batch)).await?
    }

    /// The newest signed decision set of this process's site; durable before it is seen here.
    pub fn decisions(&self) -> Shown {
        self.inner.shown.decisions(&self.inner.config.site)
    }

    /// The newest signed bundle for gateways.
    pub fn bundle(&self) -> Shown {
        self.inner.shown.bundle()
    }

    /// What both are verified with.
    pub fn verifying_key(&self) -> VerifyingKey {
        self.inner.key.clone()
    }
}
