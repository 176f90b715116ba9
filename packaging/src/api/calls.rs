//! What can be asked, one method per route. A list is an array, a change answers with what is there now.

use super::Api;
use crate::failure::Failure;
use collector::registry::Draft;
use reqwest::Method;
use rules::{
    Timestamp,
    access::Grant,
    finding::FindingPrefix,
    policy::Policy,
    registry::{Registration, Registry},
    wire::v1::{FindingReport, ServerReport},
};
use serde::{Deserialize, Serialize, de::IgnoredAny};
use serde_json::{Value, json};

/// A tenant's keys, without their secret part.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct TenantReport {
    pub tenant: String,
    pub keys: Vec<KeyReport>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct KeyReport {
    pub nonce: String,
    #[serde(default)]
    pub label: String,
    pub issued_at: Timestamp,
}

/// A row of the journal, as far as people read it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Row {
    pub id: i64,
    pub at: Timestamp,
    pub actor: String,
    pub verb: String,
    pub subject: String,
    pub reason: String,
}

#[derive(Debug, Deserialize)]
struct Journal {
    rows: Vec<Row>,
    newest: Newest,
}

#[derive(Debug, Deserialize)]
struct Newest {
    id: i64,
}

impl Api {
    pub async fn status(&self) -> Result<Value, Failure> {
        self.get(&["status"], &[]).await
    }

    pub async fn servers(&self, site: Option<&str>) -> Result<Vec<ServerReport>, Failure> {
        let query = site.map(|s| ("site", s.to_owned()));
        self.get(&["servers"], query.as_slice()).await
    }

    pub async fn findings(&self, all: bool) -> Result<Vec<FindingReport>, Failure> {
        self.get(&["findings"], &[("all", all.to_string())]).await
    }

    pub async fn finding(&self, id: &FindingPrefix) -> Result<FindingReport, Failure> {
        self.get(&["findings", id.as_str()], &[]).await
    }

    pub async fn exempt(&self, id: &FindingPrefix, exemption: &rules::admission::Exemption) -> Result<FindingReport, Failure> {
        self.post(&["findings", id.as_str(), "exempt"], exemption).await
    }

    pub async fn end_exemption(&self, id: &FindingPrefix) -> Result<FindingReport, Failure> {
        self.delete(&["findings", id.as_str(), "exempt"]).await
    }

    pub async fn snooze(&self, id: &FindingPrefix, until: Timestamp, by: &str) -> Result<FindingReport, Failure> {
        self.post(&["findings", id.as_str(), "snooze"], &json!({"until": until, "by": by})).await
    }

    /// A registration of what was found, to be looked over.
    pub async fn draft(&self, id: &FindingPrefix) -> Result<Draft, Failure> {
        self.get(&["findings", id.as_str(), "registration"], &[]).await
    }

    pub async fn registrations(&self) -> Result<Vec<Registration>, Failure> {
        let registry: Registry = self.get(&["registry"], &[]).await?;
        Ok(registry.registrations.into_values().collect())
    }

    pub async fn registration(&self, slug: &str) -> Result<Registration, Failure> {
        self.get(&["registry", slug], &[]).await
    }

    pub async fn register(&self, draft: &Draft) -> Result<Registration, Failure> {
        self.post(&["registry"], draft).await
    }

    pub async fn reregister(&self, draft: &Draft) -> Result<Registration, Failure> {
        self.put(&["registry", &draft.slug], draft).await
    }

    pub async fn unregister(&self, slug: &str) -> Result<(), Failure> {
        self.delete::<IgnoredAny>(&["registry", slug]).await.map(drop)
    }

    pub async fn tenants(&self) -> Result<Vec<TenantReport>, Failure> {
        self.get(&["keys"], &[]).await
    }

    /// The key in full: it is not kept.
    pub async fn issue_key(&self, tenant: &str, label: &str) -> Result<String, Failure> {
        let answer: Value = self.post(&["keys"], &json!({"tenant": tenant, "label": label})).await?;
        self.text(&answer, "key")
    }

    pub async fn revoke_key(&self, tenant: &str, nonce: &str) -> Result<(), Failure> {
        self.delete::<IgnoredAny>(&["keys", tenant, nonce]).await.map(drop)
    }

    /// How many keys ended.
    pub async fn rotate_secret(&self, tenant: &str) -> Result<u64, Failure> {
        let answer: Value = self.post(&["keys", tenant, "rotate"], &json!({})).await?;
        Ok(answer.get("keys_ended").and_then(Value::as_u64).unwrap_or_default())
    }

    pub async fn grants(&self) -> Result<Vec<Grant>, Failure> {
        self.get(&["grants"], &[]).await
    }

    pub async fn grant(&self, grant: &Grant) -> Result<Grant, Failure> {
        self.post(&["grants"], grant).await
    }

    pub async fn ungrant(&self, id: &str) -> Result<(), Failure> {
        self.delete::<IgnoredAny>(&["grants", id]).await.map(drop)
    }

    pub async fn sensors(&self) -> Result<Vec<Value>, Failure> {
        self.get(&["sensors"], &[]).await
    }

    pub async fn revoke_sensor(&self, name: &str) -> Result<(), Failure> {
        self.post::<IgnoredAny>(&["sensors", name, "revoke"], &json!({})).await.map(drop)
    }

    /// `{"token": …, "expires_at": …, "intake": ADDRESS or null}`. The token is not kept.
    pub async fn issue_token(&self, ask: &Value) -> Result<Value, Failure> {
        self.post(&["tokens"], ask).await
    }

    /// The public key that decision sets and bundles are signed with, in base64.
    pub async fn verifying_key(&self) -> Result<String, Failure> {
        let answer: Value = self.get(&["verifying-key"], &[]).await?;
        self.text(&answer, "public_key")
    }

    pub async fn tokens(&self) -> Result<Vec<Value>, Failure> {
        self.get(&["tokens"], &[]).await
    }

    pub async fn withdraw_token(&self, hash: &str) -> Result<(), Failure> {
        self.delete::<IgnoredAny>(&["tokens", hash]).await.map(drop)
    }

    pub async fn policy(&self, site: Option<&str>) -> Result<Policy, Failure> {
        let query = site.map(|s| ("site", s.to_owned()));
        self.get(&["policy"], query.as_slice()).await
    }

    /// Replaces the whole policy; the collector writes it into its journal.
    pub async fn set_policy(&self, site: Option<&str>, policy: &Policy) -> Result<Policy, Failure> {
        let query = site.map(|s| ("site", s.to_owned()));
        self.ask(Method::PUT, &["policy"], query.as_slice(), Some(policy)).await
    }

    pub async fn explain(&self, subject: &str) -> Result<Vec<String>, Failure> {
        #[derive(Deserialize)]
        struct Explained {
            lines: Vec<String>,
        }
        let Explained { lines } = self.get(&["explain"], &[("subject", subject.to_owned())]).await?;
        Ok(lines)
    }

    /// What the newest set would block, and whom that would break.
    pub async fn blast(&self) -> Result<Value, Failure> {
        self.get(&["enforce", "plan"], &[]).await
    }

    /// A person's word on the wave of new blocks under way.
    pub async fn wave(&self, go: bool, by: &str, reason: &str) -> Result<Value, Failure> {
        self.post(&["enforce", "wave"], &json!({"go": go, "by": by, "reason": reason})).await
    }

    /// Rows after this one, oldest first, at most as many as the collector gives at once.
    pub async fn journal(&self, after: i64) -> Result<Vec<Row>, Failure> {
        let Journal { rows, .. } = self.get(&["journal"], &[("after", after.to_string())]).await?;
        Ok(rows)
    }

    pub async fn newest_row(&self) -> Result<i64, Failure> {
        let query = [("limit", "1".to_owned()), ("latest", "true".to_owned())];
        let Journal { newest, .. } = self.get(&["journal"], &query).await?;
        Ok(newest.id)
    }

    fn text(&self, answer: &Value, field: &str) -> Result<String, Failure> {
        answer.get(field).and_then(Value::as_str).map(str::to_owned).ok_or_else(|| self.not_understood(format!("no `{field}` in it")))
    }
}
