//! `gnomon keys`: who may call registered servers through the gateway.

use crate::{
    api::Access,
    failure::{Exit, Failure},
    out::{self, DIM},
    table::{Table, moment, some},
};
use clap::{Args, Subcommand};
use launch::{Global, global::admin_command};
use rules::access::Grant;
use serde_json::json;

/// A key is `tenant.nonce.signature`. It is shown once, when it is issued; the collector keeps no copy.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  gnomon keys issue agents --label 'build agents'
  gnomon keys grant agents --server files --tool read_file,list_directory
  gnomon keys list
  gnomon keys rotate agents        a new secret; keys of the one before the last end
  gnomon keys revoke agents 6f0c…  one key ends at once")]
pub struct Options {
    #[command(flatten)]
    pub access: Access,
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// A new key for a tenant; the tenant is made with its first key
    Issue {
        tenant: String,
        /// What it is for
        #[arg(long, default_value = "")]
        label: String,
    },
    /// Tenants and their keys, without the secret part
    List,
    /// One key ends at once
    Revoke { tenant: String, nonce: String },
    /// A new secret signs from now on; the one before it still verifies
    Rotate { tenant: String },
    /// Let a tenant use a server, or some of its tools
    Grant {
        tenant: String,
        /// The slug of a registered server
        #[arg(long, value_name = "SLUG")]
        server: String,
        /// These tools only [default: all]
        #[arg(long = "tool", value_name = "NAME", value_delimiter = ',')]
        tools: Vec<String>,
        /// Only this key (its nonce), not the whole tenant
        #[arg(long, value_name = "NONCE")]
        subject: Option<String>,
        /// The grant's name in records and refusals [default: TENANT-SERVER]
        #[arg(long)]
        id: Option<String>,
    },
    /// All grants
    Grants,
    /// Take a grant away
    Ungrant { id: String },
}

pub fn run(options: &Options, global: &Global) -> Result<Exit, Failure> {
    let json = global.json;
    super::with(&options.access, global, async |api| {
        match &options.command {
            Command::Issue { tenant, label } => {
                let key = api.issue_key(tenant, label).await?;
                if json {
                    out::object(&json!({"tenant": tenant, "key": key}))?;
                } else {
                    out::line(&key)?;
                    out::note(format!(
                        "{DIM}shown this once; send it as `Authorization: Bearer …`. It opens nothing until a grant does: {}{DIM:#}",
                        admin_command(&format!("keys grant {tenant} --server SLUG"))
                    ));
                }
            }
            Command::List => list(&api.tenants().await?, json)?,
            Command::Revoke { tenant, nonce } => {
                api.revoke_key(tenant, nonce).await?;
                said(
                    json,
                    json!({"tenant": tenant, "nonce": nonce, "state": "revoked"}),
                    "revoked; gateways learn it with their next bundle",
                )?;
            }
            Command::Rotate { tenant } => {
                let ended = api.rotate_secret(tenant).await?;
                said(
                    json,
                    json!({"tenant": tenant, "ended": ended}),
                    &format!("a new secret signs; {ended} keys of the one before the last ended"),
                )?;
            }
            Command::Grant { tenant, server, tools, subject, id } => {
                let tools = if tools.is_empty() { vec!["*".to_owned()] } else { tools.clone() };
                let id = id.clone().unwrap_or_else(|| format!("{tenant}-{server}").chars().take(63).collect());
                let grant = Grant { id, tenant: tenant.clone(), subject: subject.clone(), slug: server.clone(), tools };
                api.grant(&grant).await?;
                if json {
                    out::object(&grant)?
                } else {
                    out::line(format!("grant `{}`: {} may use {} of `{server}`", grant.id, grant.tenant, grant.tools.join(", ")))?
                }
            }
            Command::Grants => grants(&api.grants().await?, json)?,
            Command::Ungrant { id } => {
                api.ungrant(id).await?;
                said(json, json!({"id": id, "state": "removed"}), &format!("grant `{id}` is gone"))?;
            }
        }
        Ok(Exit::Clear)
    })
}

fn list(tenants: &[crate::api::TenantReport], json: bool) -> Result<(), Failure> {
    if json {
        return tenants.iter().try_for_each(out::object);
    }
    let mut table = Table::new(&["TENANT", "NONCE", "ISSUED", "LABEL"]);
    for t in tenants {
        for k in &t.keys {
            table.row([t.tenant.clone(), k.nonce.clone(), moment(k.issued_at), k.label.clone()]);
        }
    }
    table.print(&format!("no key was issued ({})", admin_command("keys issue TENANT")))
}

fn grants(grants: &[Grant], json: bool) -> Result<(), Failure> {
    if json {
        return grants.iter().try_for_each(out::object);
    }
    let mut table = Table::new(&["GRANT", "TENANT", "SUBJECT", "SERVER", "TOOLS"]);
    for g in grants {
        let subject = g.subject.clone().unwrap_or_else(|| "all".to_owned());
        table.row([g.id.clone(), g.tenant.clone(), subject, g.slug.clone(), some(&g.tools, 8)]);
    }
    table.print(&format!("nobody may call anything ({})", admin_command("keys grant TENANT --server SLUG")))
}

fn said(json: bool, object: serde_json::Value, text: &str) -> Result<(), Failure> {
    if json { out::object(&object) } else { out::line(text) }
}
