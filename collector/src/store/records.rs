//! The interface of the store: what is read, what is written, and how changes become durable.

use super::Unavailable;
use crate::{
    access::Tenancy,
    dispatch::Issued,
    enrol::Token,
    inventory::EndpointRecord,
    journal::{Broken, Row, Text, Tip},
    notify::letter::{Channel, Letter, Step, Waiting},
    sensors::Sensor,
    site::SiteSettings,
};
use rules::{
    Timestamp,
    access::Grant,
    endpoint::Endpoint,
    finding::FindingId,
    registry::Registration,
    site::Matter,
    wire::v1::{Record, Signed},
};
use std::sync::Arc;

pub(crate) type Outcome<T> = Result<T, Unavailable>;

/// By name, slug, id or hash.
type Named<T> = Vec<(String, T)>;

/// A single value that the database remembers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Setting {
    /// Endpoints that were the collector's own at the last start.
    OwnEndpoints,
    /// The name of the key that signs decisions.
    SigningKey,
    /// The pin of the root certificate.
    Root,
    RegistryRevision,
}

impl Setting {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Setting::OwnEndpoints => "own",
            Setting::SigningKey => "signing-key",
            Setting::Root => "root",
            Setting::RegistryRevision => "registry_revision",
        }
    }
}

/// Questions to the database.
pub(crate) trait Read {
    fn setting(&self, setting: Setting) -> Outcome<Option<String>>;
    fn sites(&self) -> Outcome<Named<SiteSettings>>;
    fn servers(&self, site: &str) -> Outcome<Vec<(Endpoint, EndpointRecord)>>;
    fn cases(&self, site: &str) -> Outcome<Vec<Matter>>;
    fn issued(&self, site: &str) -> Outcome<Option<Issued>>;
    /// The gateways' bundle and its generation.
    fn bundle(&self) -> Outcome<Option<(u64, Arc<Signed>)>>;
    fn sensors(&self) -> Outcome<Named<Sensor>>;
    fn registrations(&self) -> Outcome<Named<Registration>>;
    fn tenants(&self) -> Outcome<Named<Tenancy>>;
    fn grants(&self) -> Outcome<Named<Grant>>;
    fn token(&self, hash: &str) -> Outcome<Option<Token>>;
    fn tokens(&self) -> Outcome<Named<Token>>;
    /// Observations kept.
    fn observations(&self) -> Outcome<u64>;

    fn journal_tip(&self) -> Outcome<Tip>;
    /// Rows after `after`, oldest first; of one subject when it is given. A finding's are also those under its name of the first version.
    fn journal_after(&self, after: i64, subject: Option<&str>, limit: u32) -> Outcome<Vec<Row>>;
    /// The newest rows, newest first.
    fn journal_latest(&self, limit: u32) -> Outcome<Vec<Row>>;
    /// Walks the whole chain. Gives the number of rows.
    fn verify_journal(&self) -> Result<i64, Broken>;

    /// Letters that wait for their delivery, due or not.
    fn letters_waiting(&self) -> Outcome<u64>;
    /// Letters that are due, the longest due first.
    fn letters_due(&self, now: Timestamp, limit: u32) -> Outcome<Vec<Waiting>>;
}

/// Changes to the database, inside the transaction that an [`Engine`] has begun.
pub(crate) trait Records: Read {
    fn set_setting(&self, setting: Setting, value: &str) -> Outcome<()>;
    fn put_site(&self, name: &str, site: &SiteSettings) -> Outcome<()>;
    fn put_server(&self, site: &str, at: Endpoint, record: &EndpointRecord) -> Outcome<()>;
    fn delete_server(&self, site: &str, at: Endpoint) -> Outcome<()>;
    /// In all sites. Gives how many there were.
    fn delete_servers_at(&self, at: Endpoint) -> Outcome<usize>;
    fn put_case(&self, site: &str, matter: &Matter) -> Outcome<()>;
    fn delete_case(&self, finding: &FindingId) -> Outcome<()>;
    /// Letters about a finding are about another one from now on.
    fn readdress_letters(&self, from: &FindingId, to: &FindingId) -> Outcome<()>;
    /// Keeps what has a higher generation than what is there.
    fn put_issued(&self, site: &str, issued: &Issued) -> Outcome<()>;
    fn put_bundle(&self, generation: u64, signed: &Signed) -> Outcome<()>;
    fn put_sensor(&self, name: &str, sensor: &Sensor) -> Outcome<()>;
    fn put_registration(&self, registration: &Registration) -> Outcome<()>;
    /// False: there was none.
    fn delete_registration(&self, slug: &str) -> Outcome<bool>;
    fn put_tenant(&self, name: &str, tenancy: &Tenancy) -> Outcome<()>;
    fn put_grant(&self, grant: &Grant) -> Outcome<()>;
    /// False: there was none.
    fn delete_grant(&self, id: &str) -> Outcome<bool>;
    fn put_token(&self, hash: &str, token: &Token) -> Outcome<()>;
    fn delete_token(&self, hash: &str) -> Outcome<()>;

    /// Once by sensor, epoch and number: a repetition changes nothing.
    fn put_observation(&self, sensor: &str, epoch: u64, record: &Record, now: Timestamp) -> Outcome<()>;
    /// Forgets at most `limit` observations that were stored before `before`. Gives how many.
    fn forget_observations_before(&self, before: Timestamp, limit: u64) -> Outcome<u64>;
    /// Forgets the oldest observations. Gives how many.
    fn forget_oldest_observations(&self, number: u64) -> Outcome<u64>;

    fn append_journal(&self, tip: &Tip, text: &Text) -> Outcome<()>;

    /// Once by finding, step and channel: a repetition changes nothing.
    fn put_letter(&self, letter: &Letter, step: &Step, channel: &Channel, now: Timestamp) -> Outcome<()>;
    fn note_letter(&self, id: i64, outcome: &LetterOutcome) -> Outcome<()>;
    /// Forgets letters that were over before `before`.
    fn forget_letters_before(&self, before: Timestamp) -> Outcome<()>;
}

/// What became of a letter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum LetterOutcome {
    Delivered,
    /// It failed and is tried again.
    Later(Attempt),
    /// It failed, and nobody needs it any more.
    Dropped(Attempt),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Attempt {
    /// How many there have been.
    pub(crate) number: i64,
    pub(crate) next: Timestamp,
    pub(crate) error: String,
}

/// The one connection that changes the database. A transaction is begun, changed job by job, and committed or rolled back.
pub(crate) trait Engine: Send {
    fn records(&self) -> &dyn Records;
    fn begin(&mut self) -> Outcome<()>;
    /// Durable when it returns. After an error the transaction is still to be rolled back.
    fn commit(&mut self) -> Outcome<()>;
    fn roll_back(&mut self);
    /// What follows can be undone alone.
    fn begin_job(&mut self) -> Outcome<()>;
    fn keep_job(&mut self) -> Outcome<()>;
    /// An error means that the whole transaction is lost.
    fn undo_job(&mut self) -> Outcome<()>;
    /// Tidies up at the end.
    fn close(&mut self);
}
