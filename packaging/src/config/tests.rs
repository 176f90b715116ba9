use super::*;
use expect_test::expect;

fn refused(text: &str) -> String {
    anstream::adapter::strip_str(&parse::<Config>(text, "gnomon.toml").unwrap_err().to_string()).to_string()
}

#[test]
fn a_misspelt_key_is_refused_with_its_line_and_the_nearest_name() {
    expect![[r#"
        error gnomon.toml:3:1: unknown key `grase`
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
fn a_name_near_nothing_gets_the_list() {
    assert!(refused("[policy]\nmode = \"x\"\n").contains("known here: observe, soft, hard"));
}

#[test]
fn what_is_no_toml_at_all_still_has_a_line() {
    let why = refused("[policy]\nmode = hard\n");
    assert!(why.contains("gnomon.toml:2:8"), "{why}");
}
