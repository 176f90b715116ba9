//! The product as the demo and the tests run it: its own command, in processes, with a day as short as they like.

use super::stage::{AGENTS, READY_TIMEOUT, Stage};
use super::world::{Error, Host, ProcessId};
use crate::api::Api;
use rules::{
    policy::Policy,
    wire::v1::{FindingReport, ServerReport},
};
use serde_json::Value;
use std::{
    net::SocketAddr,
    path::PathBuf,
    time::{Duration, Instant},
};

/// What is set differently from the defaults.
#[derive(Clone, Debug)]
pub struct Settings {
    /// How long a day of the policy lasts.
    pub day: Duration,
    /// Where owners are told.
    pub webhook: SocketAddr,
    /// Networks and addresses that the probe asks.
    pub probe: Vec<String>,
    pub ports: Vec<u16>,
    /// Where remote roles reach the collector.
    pub intake: SocketAddr,
    pub gateway: SocketAddr,
}

impl Settings {
    /// Every role of `gnomon up` on a router: watches the servers' segment, enforces on what it forwards.
    pub fn toml(&self) -> String {
        let days = |n: f64| format!("{}ms", self.day.mul_f64(n).as_millis());
        let list = |items: &[String]| items.iter().map(|i| format!("\"{i}\"")).collect::<Vec<_>>().join(", ");
        let agents = list(&AGENTS.map(str::to_owned));
        format!(
            r#"[policy]
mode = "observe"
grace = "{grace}"
reminders = ["{r14}", "{r7}", "{r1}"]
soft_phase = "0s"
lease = "60s"
agents = [{agents}]

[collector]
admin = "127.0.0.1:7411"
intake = "{intake}"
names = ["{intake_host}"]
judge_every = "100ms"

[collector.notify]
webhook = {{ url = "http://{webhook}/hook" }}

[sensor]
name = "router"

[sensor.capture]
interfaces = ["servers"]

[sensor.host]
enabled = false

[sensor.probe]
every = "5s"

[sensor.probe.scan]
targets = [{targets}]
ports = [{ports}]

[enforcer]
point = "router"
mode = "enforce"
hooks = ["forward"]
remove_on_exit = true

[gateway]
listen = "{gateway}"
"#,
            grace = days(30.0),
            r14 = days(14.0),
            r7 = days(7.0),
            r1 = days(1.0),
            intake = self.intake,
            intake_host = self.intake.ip(),
            webhook = self.webhook,
            targets = list(&self.probe),
            ports = self.ports.iter().map(u16::to_string).collect::<Vec<_>>().join(", "),
            gateway = self.gateway,
        )
    }
}

/// A collector with its data directory, wherever its other roles run.
#[derive(Clone, Debug)]
pub struct Product {
    pub host: Host,
    pub data: PathBuf,
    pub config: PathBuf,
}

impl Product {
    /// Writes the configuration; starts nothing.
    pub fn prepare(stage: &Stage, host: &Host, name: &str, toml: &str) -> Result<Product, Error> {
        let (data, config) = (stage.path(name), stage.path(&format!("{name}.toml")));
        std::fs::write(&config, toml).map_err(|source| Error::Start { command: config.display().to_string(), source })?;
        Ok(Product { host: host.clone(), data, config })
    }

    /// `gnomon up`, until its admin API answers.
    pub fn up(&self, stage: &mut Stage) -> Result<ProcessId, Error> {
        self.start(stage, "up")
    }

    /// `gnomon ROLE --config … --data …`, until the admin API answers.
    pub fn start(&self, stage: &mut Stage, role: &str) -> Result<ProcessId, Error> {
        let mut command = stage.gnomon(&self.host);
        command.args(["--json", "--log", "info", "--data"]).arg(&self.data).args([role, "--config"]).arg(&self.config);
        let process = stage.spawn(&mut command, role)?;
        stage.world.wait_ready(&self.host, SocketAddr::from(([127, 0, 0, 1], 7411)), process, READY_TIMEOUT)?;
        let answered = until(READY_TIMEOUT, || self.servers());
        answered.map(|_| process).map_err(|said| Error::Failed { command: format!("gnomon {role}"), said })
    }

    /// Runs `gnomon --json ARGS…` beside the collector and gives the objects it printed.
    pub fn ask(&self, stage: &Stage, args: &[&str]) -> Result<Vec<Value>, String> {
        let mut command = stage.gnomon(&self.host);
        command.args(["--json", "--data"]).arg(&self.data).args(args);
        let done = command.output().map_err(|why| why.to_string())?;
        if !matches!(done.status.code(), Some(0 | 1)) {
            return Err(format!("gnomon {}: {}", args.join(" "), String::from_utf8_lossy(&done.stderr).trim().replace('\n', "; ")));
        }
        let out = String::from_utf8_lossy(&done.stdout);
        out.lines().map(|l| serde_json::from_str(l).map_err(|why| format!("gnomon {}: {why}: {l}", args.join(" ")))).collect()
    }

    /// `GET /v1/…` of the admin API.
    pub fn get<T: serde::de::DeserializeOwned + Send>(&self, path: &[&str]) -> Result<T, String> {
        self.get_where(path, &[])
    }

    pub fn servers(&self) -> Result<Vec<ServerReport>, String> {
        self.get(&["servers"])
    }

    /// Closed ones too.
    pub fn findings(&self) -> Result<Vec<FindingReport>, String> {
        self.get_where(&["findings"], &[("all", "true".to_owned())])
    }

    /// Reads the site's policy, changes it, and puts it back.
    pub fn set_policy(&self, change: impl FnOnce(&mut Policy)) -> Result<(), String> {
        let mut policy: Policy = self.get(&["policy"])?;
        change(&mut policy);
        let api = self.api()?;
        let put = self.host.block_on(|| async move { api.put::<Policy>(&["policy"], &policy).await });
        put.map_err(|why| why.to_string())?.map(drop).map_err(|why| why.to_string())
    }

    fn get_where<T: serde::de::DeserializeOwned + Send>(&self, path: &[&str], query: &[(&str, String)]) -> Result<T, String> {
        let api = self.api()?;
        let asked = self.host.block_on(|| async move { api.get::<T>(path, query).await });
        asked.map_err(|why| why.to_string())?.map_err(|why| why.to_string())
    }

    fn api(&self) -> Result<Api, String> {
        let token = std::fs::read_to_string(self.data.join("admin.token")).map_err(|why| format!("no admin token yet: {why}"))?;
        let base = url::Url::parse("http://127.0.0.1:7411").map_err(|why| why.to_string())?;
        Api::new(base, token).map_err(|why| why.to_string())
    }
}

/// Asks again and again until there is an answer; the last reason why not when time is up.
pub fn until<T>(within: Duration, mut ask: impl FnMut() -> Result<T, String>) -> Result<T, String> {
    let by = Instant::now() + within;
    loop {
        match ask() {
            Ok(answer) => return Ok(answer),
            Err(why) if Instant::now() >= by => return Err(format!("not within {} s: {why}", within.as_secs())),
            Err(_) => std::thread::sleep(Duration::from_millis(40)),
        }
    }
}
