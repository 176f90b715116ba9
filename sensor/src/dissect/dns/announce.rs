//! Announcements: a host, its address, its port and that it speaks MCP come in separate records, in any order.

use crate::dissect::Context;
use rules::evidence::Facts;

/// Tells of the services of a host, once its address, its port and that it speaks MCP are all known.
pub(super) fn host(host: &str, cx: &mut Context<'_>) {
    if cx.world.names_told_elsewhere {
        return;
    }
    for (place, service) in cx.world.names.offered(host) {
        let path = service.path.as_deref().unwrap_or_default();
        let detail = format!("{host} announces an MCP service on port {}{path}", place.endpoint.port);
        cx.world.ledger.say(&place, "wire.context.mdns-service", &detail, cx.now, Facts::default());
    }
}

/// The same, for the host of one service.
pub(super) fn instance(instance: &str, cx: &mut Context<'_>) {
    if let Some(target) = cx.world.names.host_of(instance).map(str::to_owned) {
        host(&target, cx);
    }
}
