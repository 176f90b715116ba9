//! Does what this host needs still answer? Asked by whoever has no privileges, for the enforcement point beside it: after new blocks
//! went into its kernel, and now and then without.
//!
//! Only doors are knocked at: a connection that opens, a DNS answer with our number, an HTTP status. Nothing that comes back is believed
//! beyond that, and no command is run.

use enforcer::health::Health;
use rules::{observation::Applied, printable::printable};
use std::{
    collections::BTreeMap,
    net::{IpAddr, SocketAddr},
    time::Duration,
};
use tokio::{
    net::{TcpStream, UdpSocket},
    sync::{mpsc, watch},
};
use url::Url;

pub use gnomon_enforcer::health::Config;

/// More than this is not asked.
const MOST: usize = 32;

/// Who is asked, by the name that a failure is reported under.
#[derive(Clone, Debug)]
enum Question {
    /// Host and port.
    Connect(String),
    Dns(IpAddr),
    Get(Url),
}

/// Tells the enforcement point how it goes, whenever its reports ask, until they end.
pub(crate) async fn watch(
    config: Config,
    collector: Option<String>,
    mut reports: mpsc::Receiver<Applied>,
    told: watch::Sender<Option<Health>>,
) {
    let questions = questions(&config, collector, &std::fs::read_to_string("/etc/resolv.conf").unwrap_or_default());
    let mut every = tokio::time::interval(config.every.0.max(Duration::from_secs(1)));
    every.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let (mut waits, mut enforces) = (false, false);
    loop {
        let generation = tokio::select! {
            biased;
            said = reports.recv() => match said {
                None => return,
                Some(applied) => {
                    (waits, enforces) = (applied.status.on_trial, applied.status.enforces);
                    if !waits {
                        continue;
                    }
                    applied.status.in_force
                }
            },
            // While an answer is awaited the new blocks are in force: what fails then is no usual failure. (When the
            // report is still on its way it may be asked all the same: the enforcement point leaves that answer aside.)
            _ = every.tick(), if enforces && !waits => 0,
        };
        let failed = ask(&questions, config.within.0).await;
        told.send_replace(Some(Health { generation, failed }));
    }
}

fn questions(config: &Config, collector: Option<String>, resolv_conf: &str) -> BTreeMap<String, Question> {
    let resolvers =
        resolv_conf.lines().filter_map(|l| l.trim().strip_prefix("nameserver")?.split('%').next()?.trim().parse::<IpAddr>().ok());
    let mut all = BTreeMap::new();
    all.extend(collector.map(|at| ("the collector".to_owned(), Question::Connect(at))));
    all.extend(resolvers.filter(|_| config.dns).map(|at| (format!("dns {at}"), Question::Dns(at))));
    all.extend(config.connect.iter().map(|e| (format!("connect {e}"), Question::Connect(e.to_string()))));
    all.extend(config.get.iter().map(|url| (printable(&format!("get {url}"), 64), Question::Get(url.clone()))));
    all.into_iter().take(MOST).collect()
}

async fn ask(questions: &BTreeMap<String, Question>, within: Duration) -> BTreeMap<String, String> {
    let asked = questions.iter().map(|(name, question)| async move {
        let answer = tokio::time::timeout(within, put(question)).await;
        let why = answer.unwrap_or_else(|_| Err(format!("no answer within {} s", within.as_secs_f32()))).err()?;
        Some((name.clone(), printable(&why, 120)))
    });
    futures_util::future::join_all(asked).await.into_iter().flatten().collect()
}

async fn put(question: &Question) -> Result<(), String> {
    match question {
        Question::Connect(at) => TcpStream::connect(at).await.map(drop).map_err(|why| why.to_string()),
        Question::Dns(at) => resolve(*at).await.map_err(|why| why.to_string()),
        Question::Get(url) => {
            // A client of its own: a connection that stands already would say nothing of new ones.
            let client = reqwest::Client::builder().no_proxy().redirect(reqwest::redirect::Policy::none()).build();
            let answer = client.map_err(|why| why.to_string())?.get(url.clone()).send().await.map_err(|why| why.to_string())?;
            if answer.status().is_server_error() { Err(format!("status {}", answer.status().as_u16())) } else { Ok(()) }
        }
    }
}

/// Asks for the root's name servers (RFC 1035 §4.1); any answer with our number will do.
async fn resolve(at: IpAddr) -> std::io::Result<()> {
    let local: SocketAddr = if at.is_ipv4() { ([0, 0, 0, 0], 0).into() } else { (std::net::Ipv6Addr::UNSPECIFIED, 0).into() };
    let socket = UdpSocket::bind(local).await?;
    socket.connect((at, 53)).await?;
    let [a, b] = socket.local_addr()?.port().to_be_bytes();
    let query = [a, b, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 2, 0, 1];
    let mut answer = [0; 512];
    loop {
        socket.send(&query).await?;
        if let Ok(read) = tokio::time::timeout(Duration::from_secs(1), socket.recv(&mut answer)).await {
            let head = answer.get(..read?.min(3)).unwrap_or_default();
            if let [x, y, flags] = head
                && (*x, *y) == (a, b)
                && flags & 0x80 != 0
            {
                return Ok(());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rules::observation::{Outcome, PointStatus};

    fn applied(generation: u64, on_trial: bool) -> Applied {
        let status = PointStatus { in_force: generation, enforces: true, on_trial, ..PointStatus::default() };
        Applied { point: "p".into(), generation, outcome: Outcome::Applied, elements: 0, reason: String::new(), status }
    }

    #[test]
    fn who_is_asked() {
        let config = Config {
            connect: vec!["10.0.0.9:7413".parse().unwrap()],
            get: vec!["http://10.0.0.8/healthz".parse().unwrap()],
            ..Config::default()
        };
        let resolv = "# mine\nnameserver 10.1.0.53\nnameserver fe80::1%eth0\nnameserver\nsearch corp\n";
        let names: Vec<String> = questions(&config, Some("hq:7412".into()), resolv).into_keys().collect();
        assert_eq!(names, ["connect 10.0.0.9:7413", "dns 10.1.0.53", "dns fe80::1", "get http://10.0.0.8/healthz", "the collector"]);
    }

    #[tokio::test]
    async fn doors_that_open_and_doors_that_do_not() {
        gnomon_sensor::install_crypto();
        let open = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (at, shut) = (open.local_addr().unwrap(), tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap());
        let router = axum::Router::new()
            .route("/good", axum::routing::get(|| async { (axum::http::StatusCode::NOT_FOUND, "") }))
            .route("/bad", axum::routing::get(|| async { (axum::http::StatusCode::BAD_GATEWAY, "") }));
        tokio::spawn(async move { axum::serve(open, router).await });
        let config = Config {
            connect: vec![at.to_string().parse().unwrap(), shut.to_string().parse().unwrap()],
            get: vec![format!("http://{at}/good").parse().unwrap(), format!("http://{at}/bad").parse().unwrap()],
            ..Config::default()
        };
        let failed = ask(&questions(&config, None, ""), Duration::from_secs(3)).await;
        let names: Vec<&String> = failed.keys().collect();
        assert_eq!(names, [&format!("connect {shut}"), &format!("get http://{at}/bad")]);
        assert_eq!(failed[names[1]], "status 502");
    }

    #[tokio::test]
    async fn an_answer_names_the_generation_that_asked_and_what_fails_anyway_is_told_first() {
        gnomon_sensor::install_crypto();
        let (reports, said) = mpsc::channel(4);
        let (told, mut health) = watch::channel(None);
        let shut = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
        let config = Config {
            dns: false,
            connect: vec![shut.to_string().parse().unwrap()],
            every: rules::period::Period::seconds(3600),
            ..Config::default()
        };
        let watching = tokio::spawn(super::watch(config, None, said, told));
        let mut next = async || {
            health.changed().await.unwrap();
            health.borrow_and_update().clone().unwrap()
        };
        // A dry run has nobody asked.
        reports.send(Applied { status: PointStatus::default(), ..applied(5, false) }).await.unwrap();
        reports.send(applied(6, false)).await.unwrap();
        assert_eq!(next().await.generation, 0);
        reports.send(applied(7, true)).await.unwrap();
        let asked = next().await;
        assert_eq!((asked.generation, asked.failed.len()), (7, 1));
        drop(reports);
        watching.await.unwrap();
    }
}
