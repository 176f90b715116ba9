use super::*;

const NOW: i64 = 1_767_225_600;

fn now() -> Timestamp {
    Timestamp::from_second(NOW).unwrap()
}

pub(crate) fn registration(slug: &str, url: &str) -> Registration {
    Registration {
        slug: slug.to_owned(),
        name: slug.to_owned(),
        description: String::new(),
        version: "1.0.0".to_owned(),
        owner: "platform".to_owned(),
        contact: "platform@corp.example".to_owned(),
        backends: vec![Backend { url: url.parse().unwrap(), addresses: BTreeSet::new() }],
        transport: None,
        lifecycle: Lifecycle::Active,
        tools: BTreeSet::new(),
        revision: 1,
        registered_at: now(),
        registered_by: "ann".to_owned(),
    }
}

pub(crate) fn registry(all: impl IntoIterator<Item = Registration>) -> Registry {
    Registry { revision: 1, registrations: all.into_iter().map(|r| (r.slug.clone(), r)).collect() }
}

fn place(endpoint: &str, path: &str) -> Place {
    let place = Place::new(endpoint.parse().unwrap());
    if path.is_empty() { place } else { place.with_target(path) }
}

#[test]
fn a_registration_covers_its_own_path_in_whatever_form_the_address_comes() {
    let r = registration("files", "http://10.0.0.5:3001/mcp/");
    assert!(r.covers(&place("10.0.0.5:3001", "/mcp")));
    assert!(r.covers(&place("[::ffff:10.0.0.5]:3001", "/mcp?session=1")));
    assert!(r.covers(&place("10.0.0.5:3001", "")), "the endpoint as a whole");
    assert!(!r.covers(&place("10.0.0.5:3001", "/other")));
    assert!(!r.covers(&place("10.0.0.5:3002", "/mcp")));
    assert!(registration("v6", "http://[2001:db8::5]:80/mcp").covers(&place("[2001:db8::5]:80", "/mcp")));
}

#[test]
fn a_name_covers_what_it_resolved_to_and_never_what_calls_itself_so() {
    let mut r = registration("files", "https://tools.corp.example/mcp");
    let there = place("10.0.0.5:443", "/mcp");
    assert!(!r.covers(&there.clone().with_host("tools.corp.example")), "a Host header is a caller's word");
    r.backends[0].addresses.insert("10.0.0.5".parse().unwrap());
    assert!(r.covers(&there));
}

#[test]
fn a_sunset_ends_the_protection_when_it_comes() {
    let mut r = registration("files", "http://10.0.0.5:3001/mcp");
    let sunset = crate::period::Period::days(7).after(now());
    r.lifecycle = Lifecycle::Deprecated { since: now(), sunset: Some(sunset) };
    let registry = registry([r]);
    let endpoint = "10.0.0.5:3001".parse().unwrap();
    assert!(registry.endpoints(now()).contains(&endpoint));
    assert_eq!(registry.at_endpoint(endpoint, now()).map(|r| r.slug.as_str()), Some("files"));
    assert!(registry.endpoints(sunset).is_empty());
    assert!(registry.at_endpoint(endpoint, sunset).is_none());
    assert!(registry.find(&place("10.0.0.5:3001", "/mcp"), sunset).is_some(), "it is still known what it was");
}

#[test]
fn a_standing_registration_goes_before_a_retired_one_of_the_same_place() {
    let mut old = registration("a-old", "http://10.0.0.5:3001/mcp");
    old.lifecycle = Lifecycle::Sunset { since: now() };
    let registry = registry([old, registration("b-new", "http://10.0.0.5:3001/mcp")]);
    assert_eq!(registry.find(&place("10.0.0.5:3001", "/mcp"), now()).map(|r| r.slug.as_str()), Some("b-new"));
}

#[test]
fn what_is_registered_is_bounded_and_plain() {
    let good = registration("files", "http://10.0.0.5:3001/mcp");
    assert_eq!(good.check(), Ok(()));
    let refused = |change: fn(&mut Registration)| {
        let mut r = good.clone();
        change(&mut r);
        r.check().unwrap_err().to_string()
    };
    let said = [
        refused(|r| r.slug = "-x\u{1b}[2J".into()),
        refused(|r| r.contact = " ".into()),
        refused(|r| r.name = "x".repeat(201)),
        refused(|r| r.backends.clear()),
        refused(|r| r.backends[0].url = "http://eve:secret@10.0.0.5/mcp".parse().unwrap()),
        refused(|r| r.backends[0].url = "file:///etc/passwd".parse().unwrap()),
    ];
    expect_test::expect![[r#"
        slug `-x\u{1b}[2J` must be 1 to 63 characters of a-z, 0-9 and -, not starting with -
        `contact` must not be empty
        `name` is 201 characters long, at most 200 are kept
        a registration has 1 to 32 backends, not 0
        backend `http://10.0.0.5/mcp` must be an http or https URL with a host, without user, password or fragment
        backend `file:///etc/passwd` must be an http or https URL with a host, without user, password or fragment"#]]
    .assert_eq(&said.join("\n"));
}
