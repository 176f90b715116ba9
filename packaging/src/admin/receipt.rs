//! What a person reads after a registration was written.

use launch::{Exit, Failure, out};
use rules::registry::Registration;

pub(super) fn changed(r: &Registration, how: &str, json: bool) -> Result<Exit, Failure> {
    if json {
        out::object(r)?;
    } else {
        out::line(format!("{how} `{}`, revision {}; clients call /mcp/v1/tools/{}/rpc at the gateway", r.slug, r.revision, r.slug))?;
    }
    Ok(Exit::Clear)
}
