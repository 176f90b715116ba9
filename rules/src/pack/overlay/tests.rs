use super::*;

const NEW: &str = "marks:\n  - id: wire.server.house-banner\n    strength: strong\n    side: server\n    says: the banner of our own servers\n    source: measured here\n";

fn refused(yaml: &str) -> String {
    Pack::shipped().lay(yaml).unwrap_err().to_string()
}

#[test]
fn a_known_mark_is_weighed_anew_and_keeps_what_is_not_said() {
    let (shipped, id) = (Pack::shipped(), "wire.server.session-header");
    let laid = shipped.lay(&format!("marks:\n  - id: {id}\n    strength: weak\n")).unwrap();
    assert_eq!(laid.weigh(id), (Strength::Weak, Side::Server));
    assert_eq!(laid.get(id).unwrap().says, shipped.get(id).unwrap().says);
    assert_eq!(laid.iter().count(), shipped.iter().count());
}

#[test]
fn a_new_mark_is_added_and_a_later_text_lies_over_an_earlier_one() {
    let first = Pack::shipped().lay(NEW).unwrap();
    assert_eq!(first.weigh("wire.server.house-banner"), (Strength::Strong, Side::Server));
    let second = first.lay("marks:\n  - id: wire.server.house-banner\n    strength: weak\n").unwrap();
    assert_eq!(second.weigh("wire.server.house-banner"), (Strength::Weak, Side::Server));
}

#[test]
fn what_is_broken_is_refused_with_its_place_and_the_nearest_name() {
    let key = refused("marks:\n  - id: wire.server.meta\n    strenght: weak\n");
    assert!(key.starts_with("3:5: unknown key `strenght`") && key.contains("did you mean `strength`?"), "{key}");
    let word = refused("marks:\n  - id: wire.server.meta\n    strength: strnog\n");
    assert!(word.starts_with("3:15: ") && word.contains("did you mean `strong`?"), "{word}");
    let id = refused("marks:\n  - id: wire.server.sesion-header\n    strength: weak\n");
    assert!(id.starts_with("2:9: ") && id.contains("did you mean `wire.server.session-header`?"), "{id}");
    let twice = refused("marks:\n  - id: wire.server.meta\n    strength: weak\n  - id: wire.server.meta\n    strength: strong\n");
    assert_eq!(twice, "4:9: mark `wire.server.meta` is defined twice");
    assert!(refused("marks:\n  - id: [\n").starts_with("3:") || refused("marks:\n  - id: [\n").starts_with("2:"));
    assert!(refused("marks:\n  - id: Wire.Server\n").contains("witness.side.name"));
}

#[test]
fn no_side_and_no_kind_of_a_known_mark_changes() {
    let client = Pack::shipped().iter().find(|m| m.side == Side::Client).unwrap().id.clone();
    assert!(refused(&format!("marks:\n  - id: {client}\n    side: server\n")).contains("the side of"));
    assert!(refused("marks:\n  - id: wire.server.meta\n    strength: control\n").contains("cannot become"));
    let control = Pack::shipped().iter().find(|m| m.strength == Strength::Control).unwrap().id.clone();
    assert!(refused(&format!("marks:\n  - id: {control}\n    strength: weak\n")).contains("cease to be"));
}

#[test]
fn a_new_mark_is_no_control_and_does_not_contradict_its_name() {
    assert!(refused(&NEW.replace("strength: strong", "strength: control")).contains("negative control"));
    assert!(refused(&NEW.replace("wire.server.", "wire.client.")).contains("another side"));
    assert!(refused(&NEW.replace("measured here", &"x".repeat(401))).contains("400 characters"));
}
