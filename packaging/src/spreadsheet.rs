//! Comma-separated values (RFC 4180) that a spreadsheet may open: no cell is a formula, whatever a server calls itself.

use launch::{Failure, Side, out};
use rules::printable::printable;

/// Prints one row.
pub(crate) fn print<'a>(cells: impl IntoIterator<Item = &'a str>) -> Result<(), Failure> {
    out::line(row(cells)?)
}

fn row<'a>(cells: impl IntoIterator<Item = &'a str>) -> Result<String, Failure> {
    let unwritable = |why: &dyn std::fmt::Display| Failure::new(Side::Gnomon, format!("cannot write a row: {why}"), "please report this");
    let mut writer = csv::WriterBuilder::new().terminator(csv::Terminator::Any(b'\n')).from_writer(Vec::new());
    writer.write_record(cells.into_iter().map(plain)).map_err(|why| unwritable(&why))?;
    let bytes = writer.into_inner().map_err(|why| unwritable(&why))?;
    Ok(String::from_utf8_lossy(&bytes).trim_end_matches('\n').to_owned())
}

/// An apostrophe before a text that a spreadsheet would compute.
fn plain(text: &str) -> String {
    let text = printable(text, 1000);
    let computed = text.trim_start().starts_with(['=', '+', '-', '@', '\u{ff1d}', '\u{ff0b}', '\u{ff0d}', '\u{ff20}']);
    if computed { format!("'{text}") } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Written, and read again by another reader of the format.
    fn read_back(cells: &[&str]) -> Vec<String> {
        let row = row(cells.iter().copied()).unwrap();
        assert!(!row.contains(['\r', '\n', '\t']), "{row}");
        let mut reader = csv::ReaderBuilder::new().has_headers(false).from_reader(row.as_bytes());
        let record = reader.records().next().unwrap().unwrap();
        record.iter().map(str::to_owned).collect()
    }

    #[test]
    fn no_cell_is_a_formula_nor_ends_its_row() {
        assert_eq!(read_back(&["=cmd|' /C calc'!A0", "a,\"b\"", "plain"]), ["'=cmd|' /C calc'!A0", "a,\"b\"", "plain"]);
        for bad in ["=1+1", "+1", "-1", "@SUM(1)", " =1", "\u{ff1d}1"] {
            assert!(read_back(&[bad, "x"])[0].starts_with('\''), "{bad}");
        }
        assert_eq!(read_back(&["a\r\nb\t=1", "a\nb"]), ["a\\u{d}\\u{a}b\\u{9}=1", "a\\u{a}b"]);
    }
}
