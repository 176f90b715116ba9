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

fn tool(name: &str) -> (Action, Resource) {
    (Action::CallTool, Resource::Tool(name.to_owned()))
}

fn method(name: &str) -> (Action, Resource) {
    (Action::of(name), Resource::Server)
}

fn asked(who: &Principal, slug: &str, (action, resource): &(Action, Resource), grants: &[Grant]) -> Decision {
    let registry = registry([registration("files", "http://10.0.0.9:1/mcp"), registration("other", "http://10.0.0.9:2/mcp")]);
    let request = Request { principal: who, server: slug, action: *action, resource };
    decide(&request, &registry, grants, Timestamp::UNIX_EPOCH)
}

fn ask(who: &Principal, slug: &str, about: &(Action, Resource), grants: &[Grant]) -> Result<String, String> {
    asked(who, slug, about, grants).map(|p| p.grant().to_owned()).map_err(|r| r.to_string())
}

fn may_see(who: &Principal, slug: &str, tool: &str, grants: &[Grant]) -> bool {
    Entitlement { principal: who, server: slug, grants }.shows_tool(tool)
}

#[test]
fn what_no_grant_covers_is_denied() {
    let eve = who("acme", "eve");
    let grants = [grant("g1", Some("eve"), &["read"])];
    assert_eq!(ask(&eve, "files", &tool("read"), &grants).as_deref(), Ok("g1"));
    assert_eq!(ask(&eve, "files", &method("initialize"), &grants).as_deref(), Ok("g1"));
    let refused = [
        ask(&eve, "files", &tool("read"), &[]),
        ask(&who("acme", "bob"), "files", &tool("read"), &grants),
        ask(&who("evil", "eve"), "files", &tool("read"), &grants),
        ask(&eve, "other", &method("tools/list"), &grants),
        ask(&eve, "nothing", &method("tools/list"), &grants),
        ask(&eve, "files", &tool("write"), &grants),
        ask(&eve, "files", &tool("READ"), &grants),
        ask(&eve, "files", &tool("*"), &grants),
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
    let denied = ask(&eve, "files", &tool("write"), &grants).unwrap_err();
    let invented = ask(&eve, "files", &tool("no-such"), &grants).unwrap_err();
    assert_eq!(denied.replace("write", "X"), invented.replace("no-such", "X"));
    assert!(may_see(&eve, "files", "read", &grants) && !may_see(&eve, "files", "write", &grants));
}

#[test]
fn what_may_be_seen_is_what_may_be_called() {
    let eve = who("acme", "eve");
    for tools in [&["*"][..], &["read"], &[]] {
        let grants = [grant("g1", None, tools)];
        for name in ["read", "write"] {
            assert_eq!(may_see(&eve, "files", name, &grants), ask(&eve, "files", &tool(name), &grants).is_ok(), "{tools:?} {name}");
        }
    }
}

#[test]
fn a_grant_without_tools_lets_methods_through_and_no_tool() {
    let grants = [grant("g1", None, &[])];
    assert!(ask(&who("acme", "eve"), "files", &method("ping"), &grants).is_ok());
    assert!(ask(&who("acme", "eve"), "files", &tool("read"), &grants).is_err());
}

#[test]
fn a_retired_server_says_so_to_those_who_might_use_it_and_to_nobody_else() {
    let mut r = registration("files", "http://10.0.0.9:1/mcp");
    r.lifecycle = Lifecycle::Sunset { since: Timestamp::UNIX_EPOCH };
    let registry = registry([r]);
    let grants = [grant("g1", None, &["*"])];
    let ask = |who: &Principal| {
        let (action, resource) = tool("read");
        let request = Request { principal: who, server: "files", action, resource: &resource };
        decide(&request, &registry, &grants, Timestamp::UNIX_EPOCH).unwrap_err().reason().clone()
    };
    assert!(matches!(ask(&who("acme", "eve")), Reason::Retired { .. }));
    assert!(matches!(ask(&who("evil", "eve")), Reason::NotGranted { .. }));
}

#[test]
fn a_tool_name_from_a_stranger_is_made_plain_in_the_refusal() {
    let said = ask(&who("acme", "eve"), "files", &tool("a\u{1b}[2J"), &[grant("g1", None, &[])]).unwrap_err();
    assert_eq!(said, "unknown tool: a\\u{1b}[2J");
}

#[test]
fn every_method_but_a_call_needs_some_grant_and_no_more() {
    let eve = who("acme", "eve");
    let resources = [
        Resource::Server,
        Resource::Prompt("p".into()),
        Resource::Uri("file:///etc".into()),
        Resource::Template("file:///{path}".into()),
        Resource::Task("t1".into()),
    ];
    let names = crate::mcp::Method::ALL.iter().map(|m| m.as_str()).chain(["(response)", "(stream)", "vendor/own"]);
    for name in names.filter(|n| *n != "tools/call") {
        for resource in &resources {
            let about = (Action::of(name), resource.clone());
            assert_eq!(ask(&eve, "files", &about, &[grant("g1", None, &[])]).as_deref(), Ok("g1"), "{name} {resource:?}");
            assert!(ask(&eve, "files", &about, &[grant("g1", Some("bob"), &["*"])]).is_err(), "{name} {resource:?}");
        }
    }
}

#[test]
fn a_tool_is_a_tool_whatever_is_done_with_it_and_a_call_without_one_is_none() {
    let eve = who("acme", "eve");
    for action in [Action::CallTool, Action::Other, Action::Complete, Action::UseTask] {
        let about = (action, Resource::Tool("write".into()));
        assert!(ask(&eve, "files", &about, &[grant("g1", None, &["read"])]).is_err(), "{action:?}");
    }
    for resource in [Resource::Server, Resource::Prompt("read".into()), Resource::Task("read".into())] {
        assert!(ask(&eve, "files", &(Action::CallTool, resource), &[grant("g1", None, &["*"])]).is_err());
    }
}

#[test]
fn a_denial_carries_every_reason_and_shows_the_caller_only_the_first() {
    let eve = who("acme", "eve");
    let grants = [grant("g1", None, &["read"]), grant("g2", Some("eve"), &[]), grant("g3", Some("bob"), &["write"])];
    let denial = asked(&eve, "files", &tool("write"), &grants).unwrap_err();
    let reasons: Vec<String> = denial.reasons().map(ToString::to_string).collect();
    assert_eq!(reasons, ["unknown tool: write", "grant `g1` does not name it", "grant `g2` does not name it"]);
    assert_eq!(denial.to_string(), "unknown tool: write");
    let denial = asked(&eve, "files", &method("ping"), &[]).unwrap_err();
    assert_eq!(denial.reasons().collect::<Vec<_>>(), [&Reason::NotGranted { principal: eve, slug: "files".into() }]);
}

#[test]
fn the_permit_names_the_grant_that_covers_the_tool() {
    let eve = who("acme", "eve");
    let grants = [grant("g1", None, &["read"]), grant("g2", Some("eve"), &["write"]), grant("g3", None, &["*"])];
    assert_eq!(ask(&eve, "files", &tool("write"), &grants).as_deref(), Ok("g2"));
    assert_eq!(ask(&eve, "files", &tool("other"), &grants).as_deref(), Ok("g3"));
    assert_eq!(ask(&eve, "files", &method("tools/list"), &grants).as_deref(), Ok("g1"));
    let permit = asked(&eve, "files", &tool("read"), &grants).unwrap();
    assert_eq!(
        (permit.slug(), permit.principal(), permit.registration_revision()),
        ("files", &eve, registration("files", "http://10.0.0.9:1/mcp").revision)
    );
}

#[test]
fn what_was_allowed_and_is_no_more_is_told() {
    let eve = who("acme", "eve");
    let before = [grant("g1", None, &["read"]), grant("g2", Some("bob"), &["write"])];
    let includes = |now: &[Grant], then: &[Grant]| {
        let of = |grants| Entitlement { principal: &eve, server: "files", grants };
        of(now).includes(of(then))
    };
    assert!(includes(&before, &before));
    assert!(includes(&[grant("g9", Some("eve"), &["*"])], &before), "another grant that allows as much");
    assert!(includes(&[grant("g1", None, &["read"])], &before), "what was another's does not count");
    assert!(!includes(&[grant("g1", None, &["write"])], &before));
    assert!(!includes(&[grant("g1", Some("bob"), &["*"])], &before));
    let all = [grant("g1", None, &["*"])];
    assert!(!includes(&before, &all) && includes(&all, &all), "all tools is more than those that are named");
    let of = |grants| Entitlement { principal: &eve, server: "files", grants };
    assert!(of(&all[..]).shows_all_tools() && !of(&before[..]).shows_all_tools());
}

#[test]
fn actions_are_told_by_the_exact_method() {
    for (name, action) in [
        ("tools/call", Action::CallTool),
        ("Tools/Call", Action::Other),
        ("resources/templates/list", Action::ListResources),
        ("resources/unsubscribe", Action::Subscribe),
        ("subscriptions/listen", Action::Subscribe),
        ("completion/complete", Action::Complete),
        ("tasks/result", Action::UseTask),
        ("initialize", Action::Connect),
        ("notifications/cancelled", Action::Connect),
        ("sampling/createMessage", Action::Other),
    ] {
        assert_eq!(Action::of(name), action, "{name}");
    }
}
