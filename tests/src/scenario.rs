//! Scripts in the domain's words, played against the code that judges, with everything that happened written below each line.
//!
//! A script is a text file. `#` starts a remark; a line that is indented by four spaces is what was said last time; any other
//! line is a command. [`play`] gives the script back with what is said now, so a test compares it to the file, and
//! `UPDATE_EXPECT=1` writes it.

mod show;
mod stage;
mod words;

use stage::Stage;

/// Plays a script and gives it back with its output. A command that is not understood says so in its output.
pub fn play(script: &str) -> String {
    let mut stage = Stage::new();
    let mut out = String::new();
    for line in script.lines().filter(|l| !l.starts_with("    ")) {
        out.push_str(line.trim_end());
        out.push('\n');
        let command = line.trim();
        if command.is_empty() || command.starts_with('#') {
            continue;
        }
        let said = words::perform(&mut stage, command).unwrap_or_else(|why| vec![format!("NOT UNDERSTOOD: {why}")]);
        for line in said {
            out.push_str(&format!("    {line}\n"));
        }
    }
    out
}
