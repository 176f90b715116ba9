use super::*;
use crate::registry::{
    Lifecycle,
    tests::{registration, registry},
};

fn who(tenant: &str, subject: &str) -> Principal {
    Principal { tenant: tenant.into(), subject: subject.into() }
}

fn grant(id: &str, subject: Option<&str>, tools: &[&str]) -> Grant {
    let tools = tools.iter().map(|t| (*t).to_owned()).collect();
    Grant { id: id.into(), tenant: "acme".into(), subject: subject.map(str::to_owned), slug: "files".into(), tools }
}

fn ask(who: &Principal, slug: &str, want: &Want<'_>, grants: &[Grant]) -> Result<String, String> {
    let registry = registry([registration("files", "http://10.0.0.9:1/mcp"), registration("other", "http://10.0.0.9:2/mcp")]);
    let decided = decide(who, slug, want, &registry, grants, Timestamp::UNIX_EPOCH);
    decided.map(|p| p.grant().to_owned()).map_err(|r| r.to_string())
}

#[test]
fn what_no_grant_covers_is_denied() {
    let eve = who("acme", "eve");
    let grants = [grant("g1", Some("eve"), &["read"])];
    assert_eq!(ask(&eve, "files", &Want::Tool("read"), &grants).as_deref(), Ok("g1"));
    assert_eq!(ask(&eve, "files", &Want::Method("initialize"), &grants).as_deref(), Ok("g1"));
    let refused = [
        ask(&eve, "files", &Want::Tool("read"), &[]),
        ask(&who("acme", "bob"), "files", &Want::Tool("read"), &grants),
        ask(&who("evil", "eve"), "files", &Want::Tool("read"), &grants),
        ask(&eve, "other", &Want::Method("tools/list"), &grants),
        ask(&eve, "nothing", &Want::Method("tools/list"), &grants),
        ask(&eve, "files", &Want::Tool("write"), &grants),
        ask(&eve, "files", &Want::Tool("READ"), &grants),
        ask(&eve, "files", &Want::Tool("*"), &grants),
    ];
    let said: Vec<String> = refused.into_iter().map(Result::unwrap_err).collect();
    expect_test::expect![[r#"
        no grant lets acme/eve use `files`
        no grant lets acme/bob use `files`
        no grant lets evil/eve use `files`
        no grant lets acme/eve use `other`
        no server is registered as `nothing`
        unknown tool: write
        unknown tool: READ
        unknown tool: *"#]]
    .assert_eq(&said.join("\n"));
}

#[test]
fn a_denied_tool_is_as_unknown_as_one_that_does_not_exist() {
    let eve = who("acme", "eve");
    let grants = [grant("g1", None, &["read"])];
    let denied = ask(&eve, "files", &Want::Tool("write"), &grants).unwrap_err();
    let invented = ask(&eve, "files", &Want::Tool("no-such"), &grants).unwrap_err();
    assert_eq!(denied.replace("write", "X"), invented.replace("no-such", "X"));
    assert!(may_see(&eve, "files", "read", &grants) && !may_see(&eve, "files", "write", &grants));
}

#[test]
fn what_may_be_seen_is_what_may_be_called() {
    let eve = who("acme", "eve");
    for tools in [&["*"][..], &["read"], &[]] {
        let grants = [grant("g1", None, tools)];
        for tool in ["read", "write"] {
            assert_eq!(may_see(&eve, "files", tool, &grants), ask(&eve, "files", &Want::Tool(tool), &grants).is_ok(), "{tools:?} {tool}");
        }
    }
}

#[test]
fn a_grant_without_tools_lets_methods_through_and_no_tool() {
    let grants = [grant("g1", None, &[])];
    assert!(ask(&who("acme", "eve"), "files", &Want::Method("ping"), &grants).is_ok());
    assert!(ask(&who("acme", "eve"), "files", &Want::Tool("read"), &grants).is_err());
}

#[test]
fn a_retired_server_says_so_to_those_who_might_use_it_and_to_nobody_else() {
    let mut r = registration("files", "http://10.0.0.9:1/mcp");
    r.lifecycle = Lifecycle::Sunset { since: Timestamp::UNIX_EPOCH };
    let registry = registry([r]);
    let grants = [grant("g1", None, &["*"])];
    let ask = |who: &Principal| decide(who, "files", &Want::Tool("read"), &registry, &grants, Timestamp::UNIX_EPOCH).unwrap_err();
    assert!(matches!(ask(&who("acme", "eve")), Refusal::Retired { .. }));
    assert!(matches!(ask(&who("evil", "eve")), Refusal::NotGranted { .. }));
}

#[test]
fn a_tool_name_from_a_stranger_is_made_plain_in_the_refusal() {
    let said = ask(&who("acme", "eve"), "files", &Want::Tool("a\u{1b}[2J"), &[grant("g1", None, &[])]).unwrap_err();
    assert_eq!(said, "unknown tool: a\\u{1b}[2J");
}
