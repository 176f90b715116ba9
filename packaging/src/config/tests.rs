use super::*;
use expect_test::expect;

fn refused(text: &str) -> String {
    anstream::adapter::strip_str(&parse::<Config>(text, "gnomon.toml").unwrap_err().to_string()).to_string()
}

#[test]
fn a_misspelt_key_is_refused_with_its_line_and_the_nearest_name() {
    expect![[r#"
        error gnomon.toml:3:1: unknown field `grase`, expected one of `mode`, `grace`, `reminders`, `hard_from`, `soft_phase`, `gone_after`, `max_snooze`, `agents`, `protected`, `lease`, `validity`, `max_new_blocks`
         side the configuration
           do did you mean `grace`?"#]]
    .assert_eq(&refused("# mine\n[policy]\ngrase = \"3d\"\n"));
}

#[test]
fn a_misspelt_section_and_a_misspelt_value_too() {
    assert!(refused("[polcy]\n").contains("did you mean `policy`?"));
    assert!(refused("[policy]\nmode = \"hart\"\n").contains("did you mean `hard`?"));
}

#[test]
fn what_is_no_toml_at_all_still_has_a_line() {
    let why = refused("[policy]\nmode = hard\n");
    assert!(why.contains("gnomon.toml:2:8"), "{why}");
}
