//! The few styles of text on a terminal.

use anstyle::{AnsiColor, Style};

pub const ERROR: Style = AnsiColor::Red.on_default().bold();
pub const WARN: Style = AnsiColor::Yellow.on_default();
pub const GOOD: Style = AnsiColor::Green.on_default();
pub const DIM: Style = Style::new().dimmed();
pub const BOLD: Style = Style::new().bold();
pub const HEADING: Style = AnsiColor::Green.on_default().bold();
pub const COMMAND: Style = AnsiColor::Cyan.on_default();
