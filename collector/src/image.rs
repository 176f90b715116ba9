//! All that is known, in memory, exactly as it is in the database.
//!
//! Only the writer's thread changes it, and publishes a copy after each commit. A copy shares with the original what neither has
//! changed since, so it costs a few pointers, however many servers there are.

use crate::{
    access::Tenancy,
    config::Config,
    dispatch::Issued,
    inventory::{Inventory, Limits},
    journal,
    losses::{Loss, Losses},
    packs::InForce,
    sensors::{Role, Sensor},
    site::SiteSettings,
    store::{Outcome, Read, Records, Setting},
};
use rpds::RedBlackTreeMapSync;
use rules::{
    Timestamp,
    access::Grant,
    compose::WithheldBlock,
    finding::FindingId,
    fleet::{Fleet, Point},
    pack::Pack,
    policy::Policy,
    registry::Registry,
    site::{Matter, Matters},
    wire::v1::Signed,
};
use std::{
    collections::{BTreeMap, BTreeSet, btree_map::Entry},
    sync::Arc,
};

#[derive(Clone, Debug)]
pub(crate) struct Image {
    pub(crate) config: Arc<Config>,
    pub(crate) pack: Arc<Pack>,
    /// Where `pack` comes from, when a directory is named.
    pub(crate) packs: Option<Arc<InForce>>,
    pub(crate) sites: BTreeMap<String, Site>,
    pub(crate) registry: Arc<Registry>,
    pub(crate) sensors: RedBlackTreeMapSync<String, Arc<Sensor>>,
    pub(crate) tenants: Arc<BTreeMap<String, Tenancy>>,
    pub(crate) grants: Arc<BTreeMap<String, Grant>>,
    pub(crate) bundle: Option<(u64, Arc<Signed>)>,
    /// The next bundle is numbered above this.
    pub(crate) bundle_floor: u64,
    pub(crate) journal: journal::Tip,
    pub(crate) lost: Losses,
    /// Sensors whose foreign batches (`name`), or records beyond their role (`name/role`), are in the journal already.
    pub(crate) complained: Arc<BTreeSet<String>>,
}

#[derive(Clone, Debug)]
pub(crate) struct Site {
    pub(crate) kept: Arc<SiteSettings>,
    pub(crate) inventory: Inventory,
    pub(crate) matters: Arc<Matters>,
    pub(crate) issued: Option<Arc<Issued>>,
    /// Why no new block was made in the last round.
    pub(crate) hold: Option<Arc<str>>,
    /// Blocks that were wanted and left out of the last set.
    pub(crate) held: Arc<Vec<WithheldBlock>>,
}

impl Image {
    pub(crate) const MAX_SITES: usize = 64;

    pub(crate) fn load(records: &dyn Read, config: &Arc<Config>) -> Outcome<Image> {
        let revision = records.setting(Setting::RegistryRevision)?.and_then(|v| v.parse().ok()).unwrap_or(0);
        let registrations = records.registrations()?.into_iter().collect();
        let mut image = Image {
            config: config.clone(),
            pack: Arc::new(Pack::shipped()),
            packs: None,
            sites: BTreeMap::new(),
            registry: Arc::new(Registry { revision, registrations }),
            sensors: records.sensors()?.into_iter().map(|(name, sensor)| (name, Arc::new(sensor))).collect(),
            tenants: Arc::new(records.tenants()?.into_iter().collect()),
            grants: Arc::new(records.grants()?.into_iter().collect()),
            bundle: records.bundle()?,
            bundle_floor: 0,
            journal: records.journal_tip()?,
            lost: Losses::default(),
            complained: Arc::default(),
        };
        for (name, kept) in records.sites()? {
            let site = Site::load(records, &name, kept, config)?;
            image.sites.insert(name, site);
        }
        Ok(image)
    }

    /// Judges by these packs from now on.
    pub(crate) fn judge_by(&mut self, packs: Option<Arc<InForce>>) {
        self.pack = packs.as_ref().map_or_else(|| Arc::new(Pack::shipped()), |p| p.pack.clone());
        self.packs = packs;
    }

    /// The site, made now if it is new: its soft phase begins.
    pub(crate) fn site(&mut self, records: &dyn Records, name: &str, now: Timestamp) -> Outcome<&mut Site> {
        match self.sites.entry(name.to_owned()) {
            Entry::Occupied(known) => Ok(known.into_mut()),
            Entry::Vacant(new) => {
                let kept = SiteSettings::new(now);
                records.put_site(name, &kept)?;
                Ok(new.insert(Site::new(name, kept, &self.config)))
            }
        }
    }

    pub(crate) fn policy<'a>(&'a self, site: &'a Site) -> &'a Policy {
        site.kept.policy.as_ref().unwrap_or(&self.config.policy)
    }

    pub(crate) fn lose(&mut self, loss: Loss, n: u64) {
        self.lost.add(loss, n);
    }

    /// True for the first complaint about a sensor.
    pub(crate) fn complain(&mut self, about: String) -> bool {
        !self.complained.contains(&about) && Arc::make_mut(&mut self.complained).insert(about)
    }

    /// A finding by its id, in whichever site it is.
    pub(crate) fn matter(&self, id: &FindingId) -> Option<(&str, &Site, &Matter)> {
        self.sites.iter().find_map(|(name, site)| site.matters.get(id).map(|m| (name.as_str(), site, m)))
    }

    pub(crate) fn sensor(&self, name: &str) -> Option<&Sensor> {
        self.sensors.get(name).map(Arc::as_ref)
    }

    /// Stores a sensor and remembers it.
    pub(crate) fn keep_sensor(&mut self, records: &dyn Records, name: &str, sensor: Sensor) -> Outcome<()> {
        records.put_sensor(name, &sensor)?;
        self.sensors.insert_mut(name.to_owned(), Arc::new(sensor));
        Ok(())
    }

    /// The enforcement points of a site, by their last report.
    pub(crate) fn points(&self, site: &str) -> Vec<Point> {
        let theirs = self.sensors.iter().filter(|(_, s)| s.site == site && s.revoked.is_none());
        let point = |(name, s): (&String, &Arc<Sensor>)| {
            Some(Point { name: name.clone(), heard_at: s.heard_at?, short_since: s.short_since, said: s.applied.clone()? })
        };
        theirs.filter_map(point).collect()
    }

    /// Enforcers of a site, heard or not, and others that report on decision sets.
    pub(crate) fn enforcers<'a>(&'a self, site: &'a str) -> impl Iterator<Item = (&'a String, &'a Sensor)> {
        let reports = |s: &Sensor| s.applied.is_some() || s.role == Role::Enforcer;
        self.sensors.iter().map(|(name, s)| (name, s.as_ref())).filter(move |(_, s)| s.site == site && reports(s))
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
    fn new(name: &str, kept: SiteSettings, config: &Config) -> Site {
        let limits = Limits { servers: config.limits.servers_per_site, servers_per_sensor: config.limits.servers_per_sensor };
        let inventory = Inventory::with_limits(name, limits);
        Site { kept: Arc::new(kept), inventory, matters: Arc::default(), issued: None, hold: None, held: Arc::default() }
    }

    fn load(records: &dyn Read, name: &str, kept: SiteSettings, config: &Config) -> Outcome<Site> {
        let mut site = Site::new(name, kept, config);
        for (endpoint, record) in records.servers(name)? {
            site.inventory.restore(endpoint, record);
        }
        site.matters = Arc::new(records.cases(name)?.into_iter().map(|m| (m.finding.id.clone(), m)).collect());
        site.issued = records.issued(name)?.map(Arc::new);
        Ok(site)
    }

    /// Changes the settings of the site, and stores them.
    pub(crate) fn change(&mut self, records: &dyn Records, name: &str, change: impl FnOnce(&mut SiteSettings)) -> Outcome<()> {
        change(Arc::make_mut(&mut self.kept));
        records.put_site(name, &self.kept)
    }
}
