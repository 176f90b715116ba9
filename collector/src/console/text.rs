//! Words of strangers, and times, as the page shows them.

use maud::{Markup, html};
use rules::{Timestamp, printable::printable};

/// Safe on the eyes: no control characters, nothing that turns the direction of reading.
pub(super) fn text(raw: &str) -> String {
    printable(raw, 300)
}

/// `in 3 d 4 h`, `5 min ago`, with the exact time on hovering.
pub(super) fn when(at: Timestamp, now: Timestamp) -> Markup {
    let seconds = at.duration_since(now).as_secs();
    let n = seconds.unsigned_abs();
    let (d, h, m) = (n / 86_400, n / 3600 % 24, n / 60 % 60);
    let length = match (d, h, m) {
        (0, 0, 0) => format!("{n} s"),
        (0, 0, m) => format!("{m} min"),
        (0, h, m) => format!("{h} h {m} min"),
        (d, 0, _) => format!("{d} d"),
        (d, h, _) => format!("{d} d {h} h"),
    };
    let words = match seconds {
        0 => "now".to_owned(),
        1.. => format!("in {length}"),
        _ => format!("{length} ago"),
    };
    html! { time title=(at) { (words) } }
}
