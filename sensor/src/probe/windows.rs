//! When asking is allowed: days and hours, UTC. Pure.

use rules::Timestamp;
use serde::{Deserialize, Serialize};
use std::{fmt, str::FromStr};

/// `22:00-05:00`, `Mon-Fri 20:00-06:00`, `Sat,Sun`. Hours that pass midnight belong to the day they begin on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Window {
    /// Monday first.
    days: [bool; 7],
    /// Minutes of the day; equal: the whole day.
    from: u16,
    to: u16,
    text: String,
}

const DAYS: [&str; 7] = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"];
const DAY: i64 = 24 * 60;

impl Window {
    pub fn is_open(&self, at: Timestamp) -> bool {
        let minutes = at.as_second().div_euclid(60);
        // 1970-01-01 was a Thursday.
        let day = (minutes.div_euclid(DAY) + 3).rem_euclid(7) as usize;
        let minute = minutes.rem_euclid(DAY) as u16;
        let on = |day: usize| self.days.get(day % 7).copied().unwrap_or(false);
        match self.from.cmp(&self.to) {
            std::cmp::Ordering::Equal => on(day),
            std::cmp::Ordering::Less => on(day) && (self.from..self.to).contains(&minute),
            std::cmp::Ordering::Greater => on(day) && minute >= self.from || on(day + 6) && minute < self.to,
        }
    }
}

/// No window: always.
pub fn is_open(windows: &[Window], at: Timestamp) -> bool {
    windows.is_empty() || windows.iter().any(|w| w.is_open(at))
}

impl FromStr for Window {
    type Err = String;

    fn from_str(text: &str) -> Result<Window, String> {
        let wrong =
            || format!("`{}` is no window: write `22:00-05:00`, `Mon-Fri 20:00-06:00` or `Sat,Sun`", rules::printable::printable(text, 60));
        let mut window = Window { days: [true; 7], from: 0, to: 0, text: text.trim().to_owned() };
        let mut words = text.split_whitespace().peekable();
        if let Some(word) = words.next_if(|w| !w.contains(':')) {
            window.days = days(word).ok_or_else(wrong)?;
        } else if words.peek().is_none() {
            return Err(wrong());
        }
        if let Some(word) = words.next() {
            let (from, to) = word.split_once('-').ok_or_else(wrong)?;
            (window.from, window.to) = (minute(from).ok_or_else(wrong)?, minute(to).ok_or_else(wrong)? % DAY as u16);
        }
        if words.next().is_some() { Err(wrong()) } else { Ok(window) }
    }
}

fn days(word: &str) -> Option<[bool; 7]> {
    let day = |name: &str| DAYS.iter().position(|d| d.eq_ignore_ascii_case(name));
    let mut days = [false; 7];
    for part in word.split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (mut at, last) = (day(first)?, day(last)?);
        loop {
            *days.get_mut(at)? = true;
            if at == last {
                break;
            }
            at = (at + 1) % 7;
        }
    }
    Some(days)
}

fn minute(text: &str) -> Option<u16> {
    let (hour, minute) = text.split_once(':')?;
    let (hour, minute) = (hour.parse::<u16>().ok()?, minute.parse::<u16>().ok()?);
    (hour <= 24 && minute < 60 && (hour < 24 || minute == 0)).then_some(hour * 60 + minute)
}

impl TryFrom<String> for Window {
    type Error = String;

    fn try_from(text: String) -> Result<Window, String> {
        text.parse()
    }
}

impl From<Window> for String {
    fn from(window: Window) -> String {
        window.text
    }
}

impl fmt::Display for Window {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_hours_and_nights() {
        // 2026-11-21 is a Saturday.
        for (window, at, open) in [
            ("22:00-05:00", "2026-11-21T23:30:00Z", true),
            ("22:00-05:00", "2026-11-21T04:59:59Z", true),
            ("22:00-05:00", "2026-11-21T05:00:00Z", false),
            ("Mon-Fri 20:00-06:00", "2026-11-21T03:00:00Z", true),
            ("Mon-Fri 20:00-06:00", "2026-11-21T21:00:00Z", false),
            ("Mon-Fri 20:00-06:00", "2026-11-23T03:00:00Z", false),
            ("sat,SUN", "2026-11-22T12:00:00Z", true),
            ("Sat,Sun", "2026-11-23T00:00:00Z", false),
            ("Fri-Mon 00:00-24:00", "2026-11-23T12:00:00Z", true),
        ] {
            assert_eq!(window.parse::<Window>().unwrap().is_open(at.parse().unwrap()), open, "{window} {at}");
        }
        for wrong in ["", "25:00-26:00", "Mon Tue", "noon", "10:00", "Mon 10:00-11:00 x"] {
            assert!(wrong.parse::<Window>().is_err(), "{wrong}");
        }
        assert!(is_open(&[], Timestamp::UNIX_EPOCH));
    }
}
