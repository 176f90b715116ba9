//! Which signature packs judge here: the shipped one, and the site's own over it.

use super::{Finding, Role};
use rules::pack::Pack;
use std::path::Path;

pub(super) fn in_force(role: Role, directory: Option<&Path>) -> Vec<Finding> {
    if !matches!(role, Role::Up | Role::Collector) {
        return Vec::new();
    }
    let shipped =
        format!("shipped {}, sha256 {}, {} marks", env!("CARGO_PKG_VERSION"), Pack::shipped_digest(), Pack::shipped().iter().count());
    let Some(directory) = directory else { return vec![Finding::ok("signature packs", shipped)] };
    let name = "site's signature packs";
    let site = match collector::packs::read(directory) {
        Ok(set) if set.files.is_empty() => Finding::ok(name, format!("none in {}", directory.display())),
        Ok(set) => {
            let over = format!("{} from {}, sha256 {}", set.files.join(", "), directory.display(), set.sha256);
            Finding::ok(name, format!("{over}; not as shipped: {}", set.changed.join(", ")))
        }
        Err(why) => Finding::lacking(
            name,
            false,
            format!("refused: {}: {why}", directory.display()),
            "repair it; until then the last good ones are in force, or the shipped one",
        ),
    };
    vec![Finding::ok("signature packs", shipped), site]
}
