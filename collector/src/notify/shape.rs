//! A letter as the receiver of a webhook wants it. Pure.

use super::letter::Letter;
use crate::config::notify::Format;
use rules::printable::printable;
use serde_json::{Value, json};

/// Reasons shown to a person; the finding has them all.
const REASONS: usize = 5;
/// Slack takes 3000 characters in one section.
const SECTION: usize = 2900;

impl Format {
    pub(super) fn body(self, letter: &Letter) -> Result<String, String> {
        match self {
            Format::Gnomon => serde_json::to_string(letter).map_err(|why| why.to_string()),
            Format::Slack => Ok(slack(letter).to_string()),
            Format::Teams => Ok(teams(letter).to_string()),
        }
    }
}

fn facts(letter: &Letter) -> Vec<(&'static str, String)> {
    let mut facts = vec![("Finding", letter.finding.clone()), ("Kind", letter.kind.to_string()), ("Site", letter.site.clone())];
    facts.push(("To", letter.to.clone()));
    facts.extend(letter.place.clone().map(|place| ("Where", place)));
    facts.extend(letter.deadline.map(|at| ("Deadline", at.to_string())));
    facts
}

/// In Slack's own markup: these three characters are the way into it (mentions such as `<!channel>`, links).
fn escaped(text: &str, most: usize) -> String {
    let plain = printable(text, most).replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
    plain.chars().take(SECTION).collect()
}

fn slack(letter: &Letter) -> Value {
    let section = |text: String| json!({"type": "section", "text": {"type": "mrkdwn", "text": text}});
    let reasons: Vec<String> = letter.reasons.iter().take(REASONS).map(|r| format!("• {}", escaped(r, 400))).collect();
    let facts: Vec<Value> =
        facts(letter).iter().map(|(name, value)| json!({"type": "mrkdwn", "text": format!("*{name}*\n{}", escaped(value, 300))})).collect();
    let mut blocks = vec![
        // Plain text: nothing in it is markup.
        json!({"type": "header", "text": {"type": "plain_text", "text": printable(&letter.subject, 140)}}),
        section(escaped(&letter.text, 1500)),
        json!({"type": "section", "fields": facts}),
    ];
    blocks.extend((!reasons.is_empty()).then(|| section(reasons.join("\n"))));
    json!({"text": escaped(&letter.subject, 300), "blocks": blocks})
}

/// Text blocks of a card read a part of Markdown, so strangers' text goes into one that reads none.
fn teams(letter: &Letter) -> Value {
    let run = |text: &str, most: usize, bold: bool| {
        let weight = if bold { "Bolder" } else { "Default" };
        json!({"type": "RichTextBlock", "inlines": [{"type": "TextRun", "text": printable(text, most), "weight": weight}]})
    };
    let mut body = vec![run(&letter.subject, 200, true), run(&letter.text, 1500, false)];
    body.extend(facts(letter).iter().map(|(name, value)| run(&format!("{name}: {value}"), 350, false)));
    body.extend(letter.reasons.iter().take(REASONS).map(|r| run(&format!("• {r}"), 400, false)));
    json!({
        "type": "message",
        "attachments": [{
            "contentType": "application/vnd.microsoft.card.adaptive",
            "contentUrl": null,
            "content": {"$schema": "http://adaptivecards.io/schemas/adaptive-card.json", "type": "AdaptiveCard", "version": "1.4", "body": body},
        }],
    })
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(crate) fn letter() -> Letter {
        Letter {
            about: crate::notify::letter::LetterKind::Notice,
            finding: "F-1a2b3c4d".into(),
            kind: rules::finding::FindingKind::Shadow,
            site: "default".into(),
            to: "ada <!channel>".into(),
            subject: "MCP server at 10.0.0.5:3001/<a> is not registered".into(),
            text: "Register it & be *happy*".into(),
            place: Some("10.0.0.5:3001/<a>".into()),
            deadline: None,
            reasons: vec!["<https://evil.test|click>".into(); 9],
            is_proof: true,
        }
    }

    fn value(format: Format) -> Value {
        serde_json::from_str(&format.body(&letter()).unwrap()).unwrap()
    }

    #[test]
    fn slack_gets_text_and_blocks_in_which_nothing_of_a_stranger_is_markup() {
        let body = value(Format::Slack);
        assert_eq!(body["text"], "MCP server at 10.0.0.5:3001/&lt;a&gt; is not registered");
        assert_eq!(body["blocks"][0]["text"]["type"], "plain_text");
        let marked: Vec<String> = body["blocks"].as_array().unwrap().iter().skip(1).map(ToString::to_string).collect();
        assert!(marked.iter().all(|b| !b.contains('<') && !b.contains('>')), "{marked:?}");
        assert!(marked[0].contains("Register it &amp; be"));
        assert_eq!(marked.last().unwrap().matches("evil.test").count(), REASONS);
    }

    #[test]
    fn teams_gets_one_card_of_plain_runs() {
        let body = value(Format::Teams);
        let card = &body["attachments"][0];
        assert_eq!((&body["type"], &card["contentType"]), (&json!("message"), &json!("application/vnd.microsoft.card.adaptive")));
        let blocks = card["content"]["body"].as_array().unwrap();
        assert!(blocks.iter().all(|b| b["type"] == "RichTextBlock" && b["inlines"][0]["type"] == "TextRun"));
        assert!(blocks[0]["inlines"][0]["text"].as_str().unwrap().contains("is not registered"));
    }

    #[test]
    fn a_program_gets_the_letter_itself() {
        assert_eq!(value(Format::Gnomon)["finding"], "F-1a2b3c4d");
    }
}
