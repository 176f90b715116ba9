CREATE TABLE IF NOT EXISTS meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT, WITHOUT ROWID;

-- What was said, once. Pruned; the answer to "was it said before" is in sensors.received and is not.
CREATE TABLE IF NOT EXISTS observations (
    sensor TEXT NOT NULL, epoch INTEGER NOT NULL, seq INTEGER NOT NULL,
    stored_ms INTEGER NOT NULL, body TEXT NOT NULL,
    PRIMARY KEY (sensor, epoch, seq)
) STRICT, WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS observations_by_age ON observations (stored_ms);

CREATE TABLE IF NOT EXISTS sensors (name TEXT PRIMARY KEY, body TEXT NOT NULL) STRICT, WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS sites (name TEXT PRIMARY KEY, body TEXT NOT NULL) STRICT, WITHOUT ROWID;
-- One row per address and port: inventory::Door.
CREATE TABLE IF NOT EXISTS servers (
    site TEXT NOT NULL, endpoint TEXT NOT NULL, body TEXT NOT NULL, PRIMARY KEY (site, endpoint)
) STRICT, WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS registrations (slug TEXT PRIMARY KEY, body TEXT NOT NULL) STRICT, WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS cases (finding TEXT PRIMARY KEY, site TEXT NOT NULL, body TEXT NOT NULL) STRICT, WITHOUT ROWID;

CREATE TABLE IF NOT EXISTS journal (
    id INTEGER PRIMARY KEY, at TEXT NOT NULL, actor TEXT NOT NULL, verb TEXT NOT NULL, subject TEXT NOT NULL,
    reason TEXT NOT NULL, detail TEXT NOT NULL, hash BLOB NOT NULL
) STRICT;
CREATE INDEX IF NOT EXISTS journal_by_subject ON journal (subject, id);

-- One message to one channel. `step` is unique within one life of a finding, so nobody is told the same thing twice.
CREATE TABLE IF NOT EXISTS outbox (
    id INTEGER PRIMARY KEY, finding TEXT NOT NULL, step TEXT NOT NULL, channel TEXT NOT NULL,
    body TEXT NOT NULL, state TEXT NOT NULL, attempts INTEGER NOT NULL, next_ms INTEGER NOT NULL, last_error TEXT NOT NULL,
    UNIQUE (finding, step, channel)
) STRICT;
CREATE INDEX IF NOT EXISTS outbox_waiting ON outbox (state, next_ms);

-- What was signed last, by domain and site.
CREATE TABLE IF NOT EXISTS signed (
    domain TEXT NOT NULL, site TEXT NOT NULL, generation INTEGER NOT NULL, body TEXT NOT NULL, PRIMARY KEY (domain, site)
) STRICT, WITHOUT ROWID;

CREATE TABLE IF NOT EXISTS tokens (hash TEXT PRIMARY KEY, body TEXT NOT NULL) STRICT, WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS tenants (name TEXT PRIMARY KEY, body TEXT NOT NULL) STRICT, WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS grants (id TEXT PRIMARY KEY, body TEXT NOT NULL) STRICT, WITHOUT ROWID;
