//! Counts of what did not fit or was refused, since the start of this process.

use std::collections::BTreeMap;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Loss {
    ForeignBatches,
    SensorsBeyondLimit,
    TooManyHoles,
    RecordsOfAnotherRole,
    RecordsRefused,
    Interfaces,
    SnapshotsFailed,
    ObservationsAgedOut,
    ObservationsOverLimit,
    EnrolmentsRefused,
    PacksRefused,
    WriterBusy,
    ConnectionsFull,
    ConnectionsOneAddress,
    ConnectionsUnread,
}

impl Loss {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Loss::ForeignBatches => "foreign-batches",
            Loss::SensorsBeyondLimit => "sensors-beyond-limit",
            Loss::TooManyHoles => "too-many-holes",
            Loss::RecordsOfAnotherRole => "records-of-another-role",
            Loss::RecordsRefused => "records-refused",
            Loss::Interfaces => "interfaces",
            Loss::SnapshotsFailed => "snapshots-failed",
            Loss::ObservationsAgedOut => "observations-aged-out",
            Loss::ObservationsOverLimit => "observations-over-limit",
            Loss::EnrolmentsRefused => "enrolments-refused",
            Loss::PacksRefused => "packs-refused",
            Loss::WriterBusy => "writer-busy",
            Loss::ConnectionsFull => "connections-full",
            Loss::ConnectionsOneAddress => "connections-one-address",
            Loss::ConnectionsUnread => "connections-unread",
        }
    }
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Losses(BTreeMap<Loss, u64>);

impl Losses {
    pub(crate) fn add(&mut self, loss: Loss, n: u64) {
        let known = self.0.entry(loss).or_default();
        *known = known.saturating_add(n);
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (Loss, u64)> {
        self.0.iter().map(|(loss, n)| (*loss, *n))
    }

    #[cfg(test)]
    pub(crate) fn get(&self, loss: Loss) -> Option<u64> {
        self.0.get(&loss).copied()
    }
}
