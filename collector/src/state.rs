//! All that is known, in memory, exactly as it is in the database. Only the writer's thread changes it.

use crate::{
    config::Config,
    dispatch::Issued,
    inventory::{Inventory, Limits},
    journal,
    keys::Tenancy,
    packs,
    sensors::Sensor,
    store::{
        Outcome,
        rows::{self, GRANTS, REGISTRATIONS, SENSORS, SITES, TENANTS},
    },
};
use rules::{
    Timestamp,
    access::Grant,
    compose::WithheldBlock,
    endpoint::Endpoint,
    finding::FindingId,
    fleet::{Fleet, Point, Wave},
    pack::Pack,
    policy::Policy,
    registry::{Registration, Registry},
    site::{Matter, Matters},
    wire::v1::Signed,
};
use rusqlite::Connection;
use serde::{Deserialize, Serialize};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

#[derive(Debug)]
pub(crate) struct State {
    pub(crate) config: Arc<Config>,
    pub(crate) pack: Arc<Pack>,
    /// Where `pack` comes from, when a directory is named.
    pub(crate) packs: Option<packs::InForce>,
    pub(crate) sites: BTreeMap<String, Site>,
    pub(crate) registry: Registry,
    pub(crate) sensors: BTreeMap<String, Sensor>,
    pub(crate) tenants: BTreeMap<String, Tenancy>,
    pub(crate) grants: BTreeMap<String, Grant>,
    pub(crate) bundle: Option<(u64, Arc<Signed>)>,
    /// The next bundle is numbered above this.
    pub(crate) bundle_floor: u64,
    pub(crate) journal: journal::Tip,
    pub(crate) touched: Touched,
    /// Losses of this process, by what was lost.
    pub(crate) lost: BTreeMap<&'static str, u64>,
    /// Sensors whose foreign batches (`name`), or records beyond their role (`name/role`), are in the journal already.
    pub(crate) complained: BTreeSet<String>,
}

/// What this transaction's jobs changed and `settle` has to look at.
#[derive(Debug, Default)]
pub(crate) struct Touched {
    pub(crate) doors: BTreeSet<(String, Endpoint)>,
    /// Site, old key, new key.
    pub(crate) renamed: Vec<(String, String, String)>,
    /// Sites where a notice was delivered.
    pub(crate) told: BTreeSet<String>,
    /// Sites where a person changed a case or the policy.
    pub(crate) sites: BTreeSet<String>,
    /// Sites where a person said that all new blocks are meant.
    pub(crate) let_pass: BTreeSet<String>,
    /// The timer's turn: look at every site.
    pub(crate) tick: bool,
    /// The registry changed: look at every site, and tell the gateways.
    pub(crate) registry: bool,
    /// Grants or keys changed: tell the gateways.
    pub(crate) access: bool,
}

#[derive(Debug)]
pub(crate) struct Site {
    pub(crate) kept: SiteRow,
    pub(crate) inventory: Inventory,
    pub(crate) matters: Matters,
    pub(crate) issued: Option<Issued>,
    /// Why no new block was made in the last round.
    pub(crate) hold: Option<String>,
    /// Blocks that were wanted and left out of the last set.
    pub(crate) held: Vec<WithheldBlock>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct SiteRow {
    /// The soft phase runs from here.
    pub(crate) first_used: Timestamp,
    /// Set by the API; the configuration's otherwise.
    pub(crate) policy: Option<Policy>,
    /// New blocks on their way through the enforcement points.
    #[serde(default)]
    pub(crate) wave: Option<Wave>,
}

impl State {
    pub(crate) const MAX_SITES: usize = 64;

    pub(crate) fn load(db: &Connection, config: &Arc<Config>) -> Outcome<State> {
        let mut state = State {
            config: config.clone(),
            pack: Arc::new(Pack::shipped()),
            packs: None,
            sites: BTreeMap::new(),
            registry: Registry { revision: number(db, "registry_revision")?, ..Registry::default() },
            sensors: SENSORS.all(db)?.into_iter().collect(),
            tenants: TENANTS.all(db)?.into_iter().collect(),
            grants: GRANTS.all(db)?.into_iter().collect(),
            bundle: crate::dispatch::load_bundle(db)?,
            bundle_floor: 0,
            journal: journal::tip(db)?,
            touched: Touched::default(),
            lost: BTreeMap::new(),
            complained: BTreeSet::new(),
        };
        state.registry.registrations = REGISTRATIONS.all::<Registration>(db)?.into_iter().collect();
        for (name, kept) in SITES.all::<SiteRow>(db)? {
            let site = Site::load(db, &name, kept, config)?;
            state.sites.insert(name, site);
        }
        Ok(state)
    }

    /// The site, made now if it is new: its soft phase begins.
    pub(crate) fn site(&mut self, db: &Connection, name: &str, now: Timestamp) -> Outcome<&mut Site> {
        let config = self.config.clone();
        match self.sites.entry(name.to_owned()) {
            std::collections::btree_map::Entry::Occupied(known) => Ok(known.into_mut()),
            std::collections::btree_map::Entry::Vacant(new) => {
                let kept = SiteRow { first_used: now, policy: None, wave: None };
                SITES.put(db, name, &kept)?;
                Ok(new.insert(Site::new(name, kept, &config)))
            }
        }
    }

    pub(crate) fn policy<'a>(&'a self, site: &'a Site) -> &'a Policy {
        site.kept.policy.as_ref().unwrap_or(&self.config.policy)
    }

    pub(crate) fn lose(&mut self, what: &'static str, n: u64) {
        let lost = self.lost.entry(what).or_default();
        *lost = lost.saturating_add(n);
    }

    /// A finding by its id, in whichever site it is.
    pub(crate) fn matter(&self, id: &FindingId) -> Option<(&str, &Site, &Matter)> {
        self.sites.iter().find_map(|(name, site)| site.matters.get(id).map(|m| (name.as_str(), site, m)))
    }

    /// Who enforces at a site, by their last word.
    pub(crate) fn points(&self, site: &str) -> Vec<Point> {
        let theirs = self.sensors.iter().filter(|(_, s)| s.site == site && s.revoked.is_none());
        let point = |(name, s): (&String, &Sensor)| {
            Some(Point { name: name.clone(), heard_at: s.heard_at?, short_since: s.short_since, said: s.applied.clone()? })
        };
        theirs.filter_map(point).collect()
    }

    /// A site as the rules want to see it.
    pub(crate) fn view<'a>(&'a self, name: &'a str, site: &'a Site, policy: &'a Policy, points: &'a [Point]) -> rules::site::Site<'a> {
        rules::site::Site {
            name,
            policy,
            registry: &self.registry,
            pack: &self.pack,
            soft_phase_start: site.kept.first_used,
            ours: &self.config.protect,
            fleet: Fleet { points, wave: site.kept.wave.as_ref() },
        }
    }
}

impl Site {
    fn new(name: &str, kept: SiteRow, config: &Config) -> Site {
        let limits = Limits { servers: config.limits.servers_per_site, servers_per_sensor: config.limits.servers_per_sensor };
        Site { kept, inventory: Inventory::with_limits(name, limits), matters: Matters::new(), issued: None, hold: None, held: Vec::new() }
    }

    fn load(db: &Connection, name: &str, kept: SiteRow, config: &Config) -> Outcome<Site> {
        let mut site = Site::new(name, kept, config);
        let mut ask = db.prepare("SELECT endpoint, body FROM servers WHERE site = ?1")?;
        for row in ask.query_map([name], |r| Ok((r.get::<_, String>(0)?, r.get::<_, String>(1)?)))? {
            let (endpoint, body) = row?;
            if let Ok(endpoint) = endpoint.parse() {
                site.inventory.restore(endpoint, rows::decode(&body)?);
            }
        }
        let mut ask = db.prepare("SELECT body FROM cases WHERE site = ?1")?;
        for row in ask.query_map([name], |r| r.get::<_, String>(0))? {
            let matter: Matter = rows::decode(&row?)?;
            site.matters.insert(matter.finding.id.clone(), matter);
        }
        site.issued = crate::dispatch::load(db, name)?;
        Ok(site)
    }
}

fn number(db: &Connection, key: &str) -> Outcome<u64> {
    Ok(rows::meta(db, key)?.and_then(|v| v.parse().ok()).unwrap_or(0))
}
