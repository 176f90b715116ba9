//! Each measure of the house sees a house that was broken on purpose: a test that cannot fail says nothing.

use super::{
    code::{Krate, circles},
    layout, sizes, words,
};
use std::fs;

/// A crate of these files, below `src`.
fn krate(files: &[(&str, &str)]) -> (tempfile::TempDir, Krate) {
    let dir = tempfile::tempdir().unwrap();
    for (name, text) in files {
        let path = dir.path().join("src").join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    let krate = Krate::read(&dir.path().join("src/lib.rs"));
    (dir, krate)
}

#[test]
fn a_circle_is_seen_also_through_a_re_export_and_inside_a_macro() {
    let straight = [("lib.rs", "mod a; mod b;"), ("a.rs", "use crate::b::B; pub struct A(B);"), ("b.rs", "pub struct B;")];
    assert!(circles(&krate(&straight).1).is_empty());

    let plain = [("lib.rs", "mod a; mod b;"), ("a.rs", "use crate::b::B;"), ("b.rs", "fn f() { super::a::g() }")];
    assert_eq!(circles(&krate(&plain).1), [["a -> b", "b -> a"]]);

    let hidden = [
        ("lib.rs", "mod face; mod user;"),
        ("face/mod.rs", "mod inside; pub use inside::Thing;"),
        ("face/inside.rs", "use crate::user::User;"),
        ("user.rs", "use crate::face::Thing;"),
    ];
    assert_eq!(circles(&krate(&hidden).1), [["face::inside -> user", "user -> face::inside"]]);

    let in_macro = [("lib.rs", "mod a; mod b;"), ("a.rs", "use crate::b::B;"), ("b.rs", "fn f() { println!(\"{}\", crate::a::N) }")];
    assert_eq!(circles(&krate(&in_macro).1).len(), 1);
}

#[test]
fn parents_and_children_and_tests_make_no_circle() {
    let family = [("lib.rs", "mod a;"), ("a/mod.rs", "mod b; use b::B; pub struct A(B);"), ("a/b.rs", "use super::A; pub struct B;")];
    assert!(circles(&krate(&family).1).is_empty());
    let tests =
        [("lib.rs", "mod a; mod b;"), ("a.rs", "use crate::b::B;"), ("b.rs", "pub struct B; #[cfg(test)] mod tests { use crate::a::A; }")];
    assert!(circles(&krate(&tests).1).is_empty());
}

#[test]
fn a_long_function_is_seen_and_one_in_a_test_is_not() {
    let long = format!("impl A {{ fn long() {{\n{} }} }}", "f();\n".repeat(70));
    let (_dir, seen) = krate(&[("lib.rs", &long)]);
    let functions = |k: &Krate| sizes::functions(&k.modules[&Vec::new()].syntax).iter().map(|f| f.lines).max();
    assert_eq!(functions(&seen), Some(72));
    let (_dir, unseen) = krate(&[("lib.rs", &format!("#[cfg(test)] mod tests {{ {long} }}"))]);
    assert_eq!(functions(&unseen), None);
}

#[test]
fn a_state_with_many_fields_is_seen_and_a_record_is_not() {
    let fields: String = (0..16).map(|n| format!("f{n}: u8, ")).collect();
    let record = format!("pub struct Fat {{ {fields} }} impl Fat {{ fn read(&self) {{}} }}");
    let laden = |text: &str| sizes::laden(&krate(&[("lib.rs", text)]).1, 15).len();
    assert_eq!(laden(&record), 0);
    assert_eq!(laden(&format!("{record} impl Fat {{ fn change(&mut self) {{}} }}")), 1);
    assert_eq!(laden(&format!("pub struct Fat {{ {fields} shared: Arc<Mutex<u8>> }}")), 1);
}

#[test]
fn debug_in_a_text_for_users_is_seen_and_for_engineers_is_not() {
    let said = |text: &str| words::debug_for_users(&syn::parse_file(text).unwrap()).len();
    assert_eq!(said("fn f() { println!(\"{:?}\", x) }"), 1);
    assert_eq!(said("fn f() -> String { format!(\"{kind:?} is wrong\") }"), 1);
    assert_eq!(said("fn f() { tracing::warn!(?outcome, \"not done\") }"), 1);
    assert_eq!(said("#[derive(Error)] enum E { #[error(\"not {0:?}\")] A(B) }"), 1);
    assert_eq!(said("fn f() { assert!(a, \"{a:?}\"); tracing::debug!(?a); }"), 0);
    assert_eq!(said("impl Debug for A { fn fmt(&self) { write!(f, \"{:?}\", self.0) } }"), 0);
}

#[test]
fn a_stranger_at_the_top_and_a_unit_of_the_large_command_are_seen() {
    assert_eq!(layout::strangers(["sensor/src/lib.rs", "README.md", ".ci/run", "Makefile"].into_iter()), Vec::<String>::new());
    assert_eq!(layout::strangers(["fuzz/run", "sensor/x"].into_iter()), ["fuzz"]);
    assert_eq!(layout::started("[Service]\nExecStart=/usr/bin/gnomon-sensor --config x\n"), Some("/usr/bin/gnomon-sensor"));
    assert_eq!(layout::started("[Service]\nExecStart=/usr/bin/gnomon sensor\n"), Some("/usr/bin/gnomon"));
}
