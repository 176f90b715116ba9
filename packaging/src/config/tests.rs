use super::*;
use expect_test::expect;
use launch::settings::parse;

fn refused(text: &str) -> String {
    anstream::adapter::strip_str(&parse::<Config>(text, "gnomon.toml").unwrap_err().to_string()).to_string()
}

#[test]
fn a_misspelt_key_is_refused_with_its_line_and_the_nearest_name() {
    expect![[r#"
        error: gnomon.toml:3:1: unknown key `grase`
        where: the configuration
          fix: did you mean `grace`?"#]]
    .assert_eq(&refused("# mine\n[policy]\ngrase = \"3d\"\n"));
}

#[test]
fn a_misspelt_section_and_a_misspelt_value_too() {
    assert!(refused("[polcy]\n").contains("did you mean `policy`?"));
    assert!(refused("[policy]\nmode = \"hart\"\n").contains("did you mean `hard`?"));
}

#[test]
fn a_name_near_nothing_gets_the_list() {
    assert!(refused("[policy]\nmode = \"x\"\n").contains("known here: observe, soft, hard"));
}

#[test]
fn what_is_no_toml_at_all_still_has_a_line() {
    let why = refused("[policy]\nmode = hard\n");
    assert!(why.contains("gnomon.toml:2:8"), "{why}");
}

/// The shipped file with every key in force.
fn uncommented() -> String {
    let is_setting =
        |l: &str| l.starts_with('[') || l.split_once(" = ").is_some_and(|(k, _)| k.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_'));
    let lines = DEFAULTS.lines().map(|l| l.strip_prefix('#').filter(|rest| is_setting(rest)).unwrap_or(l));
    lines.collect::<Vec<_>>().join("\n")
}

fn collect(table: &toml::Table, path: &str, all: &mut Vec<(String, String)>) {
    for (key, value) in table {
        match value {
            toml::Value::Table(inner) => collect(inner, &format!("{path}{key}."), all),
            leaf => all.push((format!("{path}{key}"), leaf.to_string())),
        }
    }
}

#[test]
fn the_shipped_file_says_nothing_until_it_is_uncommented_and_then_the_defaults() {
    let quiet = parse::<Config>(DEFAULTS, "gnomon.toml").unwrap();
    assert!(quiet.policy.is_none());
    let mut said = parse::<Config>(&uncommented(), "gnomon.toml").unwrap();
    said.collector.policy = said.policy.take().expect("a [policy] section");
    let leaves = |c: &Config| {
        let mut all = Vec::new();
        collect(&toml::Table::try_from(c).unwrap(), "", &mut all);
        all
    };
    let (shipped, known) = (leaves(&said), leaves(&Config::default()));
    let stale = shipped.iter().filter(|s| !known.contains(s)).collect::<Vec<_>>();
    assert!(stale.is_empty(), "packaging/config/gnomon.toml still has {stale:?}");
}

#[test]
fn the_shipped_file_has_every_key() {
    let keys_of = |text: &str| {
        let mut all = Vec::new();
        collect(&text.parse().unwrap(), "", &mut all);
        all.into_iter().map(|(key, _)| key).collect::<Vec<_>>()
    };
    // The policy stands in a section of its own there.
    let known = toml::to_string(&Config::default()).unwrap().replace("[collector.policy", "[policy");
    let (shipped, known) = (keys_of(&uncommented()), keys_of(&known));
    let missing = known.iter().filter(|k| !shipped.contains(k)).collect::<Vec<_>>();
    assert!(missing.is_empty(), "packaging/config/gnomon.toml does not have {missing:?}");
}

#[test]
fn a_policy_is_said_once() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("gnomon.toml");
    std::fs::write(&file, "[policy]\ngrace = \"1d\"\n").unwrap();
    assert_eq!(Config::load(Some(&file)).unwrap().collector.policy.grace.period.to_string(), "1d");
    std::fs::write(&file, "[policy]\ngrace = \"1d\"\n[collector.policy]\ngrace = \"2d\"\n").unwrap();
    assert!(Config::load(Some(&file)).unwrap_err().to_string().contains("both"));
}
