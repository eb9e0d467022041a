//! A Markdown file as one document, byte for byte, with a title.

use std::io::Read;

use super::{Origin, Record, text};
use crate::error::Result;

pub(super) fn read(reader: impl Read, origin: &Origin) -> Result<Record> {
    let mut record = text::read(reader, origin)?;
    record.document.title = title(&record.document.text);
    Ok(record)
}

/// `title:` of the front matter, else the first heading outside code blocks, of any level.
fn title(text: &str) -> Option<String> {
    let mut lines = text.lines().map(str::trim_end).peekable();
    if lines.peek() == Some(&"---")
        && let Some(matter) = front_matter(text)
    {
        lines.by_ref().take(matter.len() + 2).for_each(drop);
        if let Some(title) = matter.iter().find_map(|line| line.strip_prefix("title:")) {
            let title = unquoted(title.trim());
            if !title.is_empty() {
                return Some(title.to_owned());
            }
        }
    }
    let mut fence: Option<&str> = None;
    let mut above = "";
    for line in lines {
        let content = line.trim_start_matches(' ');
        let is_indented = line.len() - content.len() > 3 || line.starts_with('\t');
        if let Some(mark) = fence {
            if content.starts_with(mark) && content.trim_start_matches(&mark[..1]).is_empty() {
                fence = None;
            }
            continue;
        }
        if !is_indented && (content.starts_with("```") || content.starts_with("~~~")) {
            let marks = content.len() - content.trim_start_matches(&content[..1]).len();
            fence = Some(&content[..marks]);
        } else if !is_indented && let Some(heading) = numbered(content) {
            if !heading.is_empty() {
                return Some(heading.to_owned());
            }
        } else if !is_indented && !above.is_empty() && is_underline(content) {
            return Some(above.trim().to_owned());
        }
        above = if is_indented || content.starts_with(['#', '>', '-', '*', '+', '|', '`', '~']) {
            ""
        } else {
            line
        };
    }
    None
}

/// The lines between `---` on the first line and the next `---` or `...`; `None` if that never comes.
fn front_matter(text: &str) -> Option<Vec<&str>> {
    let mut lines = text.lines().skip(1).map(str::trim_end);
    let mut matter = Vec::new();
    loop {
        match lines.next()? {
            "---" | "..." => return Some(matter),
            line => matter.push(line),
        }
    }
}

fn unquoted(title: &str) -> &str {
    let within = |quote| {
        title
            .strip_prefix(quote)
            .and_then(|rest: &str| rest.strip_suffix(quote))
    };
    within('"').or_else(|| within('\'')).unwrap_or(title)
}

/// The text of `## heading ##`.
fn numbered(line: &str) -> Option<&str> {
    let rest = line.trim_start_matches('#');
    let level = line.len() - rest.len();
    if !(1..=6).contains(&level) || !(rest.is_empty() || rest.starts_with([' ', '\t'])) {
        return None;
    }
    let rest = rest.trim();
    let without_closing = rest.trim_end_matches('#');
    let is_closed = without_closing.is_empty() || without_closing.ends_with([' ', '\t']);
    Some(if is_closed {
        without_closing.trim_end()
    } else {
        rest
    })
}

/// `=====` or `-----` under a line makes that line a heading.
fn is_underline(line: &str) -> bool {
    !line.is_empty()
        && (line.bytes().all(|byte| byte == b'=') || line.bytes().all(|byte| byte == b'-'))
}

#[cfg(test)]
mod tests {
    use super::title;

    #[test]
    fn the_title_is_the_front_matters_or_the_first_heading() {
        for (text, expected) in [
            ("# Sled\n\nA store.", Some("Sled")),
            ("A line.\r\n\r\n## C# for all ##\r\n", Some("C# for all")),
            ("Sled\n====\n\ntext", Some("Sled")),
            ("Sled\n---\n\ntext", Some("Sled")),
            (
                "---\ntitle: \"The book\"\ndate: 2020\n---\n# Chapter",
                Some("The book"),
            ),
            ("---\r\ntitle: 'It''s'\r\n...\r\n", Some("It''s")),
            ("---\ndate: 2020\n---\n# Chapter", Some("Chapter")),
            ("---\nnever closed\n# Chapter", Some("Chapter")),
            ("```sh\n# a comment\n```\n# Real", Some("Real")),
            ("````\n```\n# no\n````\n# Real", Some("Real")),
            ("    # code\n# Real", Some("Real")),
            ("#hashtag\n#\n####### seven\n# Real", Some("Real")),
            ("| a |\n---\n- x\n---\ntext", None),
            ("text only\n\n---\n", None),
            ("", None),
        ] {
            assert_eq!(title(text).as_deref(), expected, "{text:?}");
        }
    }
}
