//! Columns for people. Everything in a cell is made printable: most of it came from strangers.

use crate::{
    failure::Failure,
    out::{self, BOLD},
};
use rules::printable::printable;

/// Rows of cells, aligned when printed. The last column may be as long as it likes, the others are cut.
#[derive(Debug)]
pub struct Table {
    head: Vec<&'static str>,
    rows: Vec<Vec<String>>,
}

const WIDEST: usize = 44;

impl Table {
    pub fn new(head: &[&'static str]) -> Table {
        Table { head: head.to_vec(), rows: Vec::new() }
    }

    pub fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        let last = self.head.len().saturating_sub(1);
        let cells = cells.into_iter().enumerate().map(|(n, c)| {
            let c = if c.is_empty() { "-".to_owned() } else { c };
            printable(&c, if n == last { 400 } else { WIDEST })
        });
        self.rows.push(cells.collect());
    }

    /// Prints the rows, or `nothing` when there are none.
    pub fn print(&self, nothing: &str) -> Result<(), Failure> {
        if self.rows.is_empty() {
            return out::line(nothing);
        }
        let head = self.head.iter().map(|h| (*h).to_owned()).collect::<Vec<_>>();
        let widths = self.widths(&head);
        out::line(format!("{BOLD}{}{BOLD:#}", aligned(&head, &widths)))?;
        self.rows.iter().try_for_each(|row| out::line(aligned(row, &widths)))
    }

    fn widths(&self, head: &[String]) -> Vec<usize> {
        let width = |n: usize| self.rows.iter().chain([&head.to_vec()]).filter_map(|r| r.get(n)).map(|c| c.chars().count()).max();
        (0..head.len()).map(|n| width(n).unwrap_or(0)).collect()
    }
}

fn aligned(cells: &[String], widths: &[usize]) -> String {
    let padded = cells.iter().zip(widths).map(|(c, w)| format!("{c:<w$}"));
    padded.collect::<Vec<_>>().join("  ").trim_end().to_owned()
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
    at.strftime("%Y-%m-%d %H:%M UTC").to_string()
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
        let widths = t.widths(&["A".to_owned(), "B".to_owned()]);
        assert_eq!(t.rows.iter().map(|r| aligned(r, &widths)).collect::<Vec<_>>(), ["x\\u{1b}[2J  y", "-           z"]);
    }
}
