//! Columns for people. Everything in a cell is made printable: most of it came from strangers.

use crate::{
    failure::Failure,
    out::{self, BOLD},
};
use rules::printable::printable;
use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

/// Rows of cells, aligned when printed. A table keeps to the width of the screen: a long cell goes on below itself.
#[derive(Debug)]
pub struct Table {
    head: Vec<&'static str>,
    rows: Vec<Vec<String>>,
}

/// Without a word of the terminal or the pipe (`COLUMNS`).
const DEFAULT_WIDTH: usize = 80;
const GAP: usize = 2;
/// A column is not made narrower, unless all its cells are.
const NARROWEST: usize = 6;
/// A last column with less room than this stands on lines of its own.
const LAST_COLUMN: usize = 20;
const INDENT: usize = 4;

impl Table {
    pub fn new(head: &[&'static str]) -> Table {
        Table { head: head.to_vec(), rows: Vec::new() }
    }

    pub fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        let cells = cells.into_iter().map(|c| printable(if c.is_empty() { "-" } else { &c }, 400));
        self.rows.push(cells.collect());
    }

    /// Prints the rows, or `nothing` when there are none.
    pub fn print(&self, nothing: &str) -> Result<(), Failure> {
        if self.rows.is_empty() {
            return out::line(nothing);
        }
        let screen = std::env::var("COLUMNS").ok().and_then(|c| c.parse().ok()).filter(|c| *c >= 40).unwrap_or(DEFAULT_WIDTH);
        let mut lines = self.lines(screen).into_iter();
        let head = lines.next().unwrap_or_default();
        out::line(format!("{BOLD}{head}{BOLD:#}"))?;
        lines.try_for_each(out::line)
    }

    /// The head and the rows, each line at most as wide as the screen wherever its words allow.
    fn lines(&self, screen: usize) -> Vec<String> {
        let head: Vec<String> = self.head.iter().map(|h| (*h).to_owned()).collect();
        let mut widths = self.widths(&head);
        let too_wide = |widths: &[usize]| widths.iter().sum::<usize>() + GAP * widths.len().saturating_sub(1) > screen;
        let last = widths.len().saturating_sub(1);
        let before = widths.iter().take(last).map(|w| w + GAP).sum::<usize>();
        let below = too_wide(&widths) && last > 0 && before + LAST_COLUMN > screen;
        let shown = if below { last } else { widths.len() };
        if !below && too_wide(&widths) {
            widths.truncate(last);
            widths.push(screen.saturating_sub(before));
        }
        widths.truncate(shown);
        while too_wide(&widths) {
            let Some(widest) = widths.iter_mut().max().filter(|w| **w > NARROWEST) else { break };
            *widest -= 1;
        }
        let mut all = Vec::new();
        for row in [&head].into_iter().chain(&self.rows) {
            let cells: Vec<Vec<String>> = row.iter().zip(&widths).map(|(cell, width)| wrapped(cell, *width)).collect();
            let height = cells.iter().map(Vec::len).max().unwrap_or(0);
            let line = |n: usize| cells.iter().map(|c| c.get(n).cloned().unwrap_or_default()).collect::<Vec<_>>();
            all.extend((0..height).map(|n| aligned(&line(n), &widths)));
            if let Some(cell) = row.get(shown).filter(|c| c.as_str() != "-") {
                all.extend(wrapped(cell, screen - INDENT).into_iter().map(|part| format!("{:INDENT$}{part}", "")));
            }
        }
        all
    }

    fn widths(&self, head: &[String]) -> Vec<usize> {
        let width = |n: usize| self.rows.iter().chain([&head.to_vec()]).filter_map(|r| r.get(n)).map(|c| c.width()).max();
        (0..head.len()).map(|n| width(n).unwrap_or(0)).collect()
    }
}

fn aligned(cells: &[String], widths: &[usize]) -> String {
    let padded = cells.iter().zip(widths).map(|(c, w)| format!("{c}{:pad$}", "", pad = w.saturating_sub(c.width())));
    padded.collect::<Vec<_>>().join("  ").trim_end().to_owned()
}

/// Parts that are at most so wide: at blanks, and inside a word that alone is wider.
fn wrapped(text: &str, width: usize) -> Vec<String> {
    let mut parts = vec![String::new()];
    for word in text.split(' ') {
        let part = parts.last().map_or(0, |p| p.width());
        if part > 0 && part + 1 + word.width() > width {
            parts.push(String::new());
        } else if part > 0 {
            parts.last_mut().into_iter().for_each(|p| p.push(' '));
        }
        for c in word.chars() {
            if parts.last().is_some_and(|p| !p.is_empty() && p.width() + c.width().unwrap_or(0) > width) {
                parts.push(String::new());
            }
            parts.last_mut().into_iter().for_each(|p| p.push(c));
        }
    }
    parts
}

/// The published word for a value: what JSON calls it.
pub fn word(value: &impl serde::Serialize) -> String {
    match serde_json::to_value(value) {
        Ok(serde_json::Value::String(text)) => text,
        Ok(other) => other.to_string(),
        Err(_) => String::new(),
    }
}

/// A moment, to the minute, in UTC.
pub fn moment(at: rules::Timestamp) -> String {
    at.strftime("%Y-%m-%d %H:%MZ").to_string()
}

/// How long ago a moment was, for what is recent; older ones by their date.
pub fn ago(at: rules::Timestamp) -> String {
    since(at, rules::Timestamp::now())
}

fn since(at: rules::Timestamp, now: rules::Timestamp) -> String {
    match now.as_second().saturating_sub(at.as_second()) {
        seconds @ 0..60 => format!("{seconds}s ago"),
        seconds @ 60..3600 => format!("{}m ago", seconds / 60),
        seconds @ 3600..86_400 => format!("{}h ago", seconds / 3600),
        _ => moment(at),
    }
}

/// A short list for one cell: the first few, and how many more.
pub fn some<T: ToString>(items: impl IntoIterator<Item = T>, shown: usize) -> String {
    let all = items.into_iter().map(|i| i.to_string()).collect::<Vec<_>>();
    let more = all.len().saturating_sub(shown);
    let mut text = all.iter().take(shown).cloned().collect::<Vec<_>>().join(", ");
    if more > 0 {
        text.push_str(&format!(" +{more}"));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_says_how_much_it_leaves_out() {
        assert_eq!(some(["a", "b", "c"], 2), "a, b +1");
        assert_eq!(some(Vec::<String>::new(), 2), "");
    }

    #[test]
    fn columns_align_and_strangers_cannot_move_the_cursor() {
        let mut t = Table::new(&["A", "B"]);
        t.row(["x\u{1b}[2J".to_owned(), "y".to_owned()]);
        t.row([String::new(), "z".to_owned()]);
        assert_eq!(t.lines(80), ["A           B", "x\\u{1b}[2J  y", "-           z"]);
    }

    #[test]
    fn a_table_keeps_to_the_screen_and_loses_nothing() {
        let mut t = Table::new(&["ID", "WHERE", "OWNER", "NEXT"]);
        t.row(
            ["F-1a2b3c4d", "[2001:db8::1234:5678]:3001/a/long/path", "\u{6771}\u{4eac}\u{90fd}", "told on monday, to be blocked on friday"]
                .map(str::to_owned),
        );
        for screen in [40, 60, 80] {
            let lines = t.lines(screen);
            assert!(lines.iter().all(|l| l.width() <= screen), "{lines:#?}");
            let all: String = lines.concat().split_whitespace().collect();
            assert!(all.contains("F-1a2b3c4d") && all.contains("\u{6771}\u{4eac}\u{90fd}") && all.contains("friday"), "{all}");
        }
    }

    #[test]
    fn recent_moments_are_told_from_now_and_others_by_date() {
        let at = |s: &str| s.parse::<rules::Timestamp>().unwrap();
        let now = at("2026-11-30T20:32:10Z");
        let told = ["2026-11-30T20:32:00Z", "2026-11-30T20:29:00Z", "2026-11-30T15:00:00Z", "2026-11-02T20:29:00Z", "2026-12-01T08:00:00Z"];
        let told = told.map(|t| since(at(t), now));
        assert_eq!(told, ["10s ago", "3m ago", "5h ago", "2026-11-02 20:29Z", "2026-12-01 08:00Z"]);
    }
}
