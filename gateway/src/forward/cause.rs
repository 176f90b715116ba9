//! The text of an error with its causes.

/// An error, then its causes, outermost first.
pub(super) fn chain_of(why: &dyn std::error::Error) -> String {
    let mut text = why.to_string();
    let mut cause = why.source();
    while let Some(c) = cause {
        text = format!("{text}: {c}");
        cause = c.source();
    }
    text
}
