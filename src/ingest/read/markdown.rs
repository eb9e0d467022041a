//! A Markdown file as one document, byte for byte, with a title and an outline, by `pulldown-cmark` (CommonMark).

use std::io::Read;

use pulldown_cmark::{Event, HeadingLevel, Options, Parser, Tag, TagEnd};

use super::{Origin, Record, text};
use crate::error::Result;
use crate::outline::{Heading, Outline, Table};

pub(super) fn read(reader: impl Read, origin: &Origin) -> Result<Record> {
    let mut record = text::read(reader, origin)?;
    let document = &mut record.document;
    (document.title, document.outline) = structure(&document.text);
    Ok(record)
}

/// The title is `title:` of the front matter, else the first heading of any level.
fn structure(text: &str) -> (Option<String>, Outline) {
    let mut outline = Outline::default();
    let mut title = None;
    let options = Options::ENABLE_TABLES
        | Options::ENABLE_YAML_STYLE_METADATA_BLOCKS
        | Options::ENABLE_HEADING_ATTRIBUTES;
    let mut heading: Option<Heading> = None;
    let mut in_matter = false;
    let mut table_start = 0;
    for (event, range) in Parser::new_ext(text, options).into_offset_iter() {
        match event {
            Event::Start(Tag::Heading { level, .. }) => {
                heading = Some(Heading::new(range.start, depth(level), ""));
            }
            Event::End(TagEnd::Heading(_)) => {
                let mut heading = heading.take().unwrap_or(Heading::new(0, 1, ""));
                heading.text = heading.text.trim().to_owned();
                if !heading.text.is_empty() {
                    outline.headings.push(heading);
                }
            }
            Event::Start(Tag::MetadataBlock(_)) => in_matter = true,
            Event::End(TagEnd::MetadataBlock(_)) => in_matter = false,
            Event::Start(Tag::Table(_)) => {
                table_start = range.start;
                outline.tables.push(Table::new(range.clone(), range.end));
            }
            Event::Start(Tag::TableRow) => {
                // The first row below the header.
                if let Some(table) = outline.tables.last_mut()
                    && table.header_end == table.range.end
                {
                    let line = text[..range.start].rfind('\n').map_or(0, |at| at + 1);
                    table.header_end = line.max(table_start);
                }
            }
            Event::Text(words) | Event::Code(words) => {
                if let Some(heading) = &mut heading {
                    heading.text.push_str(&words);
                } else if in_matter && title.is_none() {
                    title = words.lines().find_map(title_of);
                }
            }
            Event::SoftBreak | Event::HardBreak => {
                if let Some(heading) = &mut heading {
                    heading.text.push(' ');
                }
            }
            _ => {}
        }
    }
    let title = title.or_else(|| Some(outline.headings.first()?.text.clone()));
    (title, outline)
}

fn title_of(line: &str) -> Option<String> {
    let title = line.strip_prefix("title:")?.trim();
    let within = |quote| {
        let rest: &str = title.strip_prefix(quote)?;
        rest.strip_suffix(quote)
    };
    let title = within('"').or_else(|| within('\'')).unwrap_or(title);
    (!title.is_empty()).then(|| title.to_owned())
}

fn depth(level: HeadingLevel) -> u8 {
    level as u8
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_title_is_the_front_matters_or_the_first_heading() {
        for (text, expected) in [
            ("# Sled\n\nA store.", Some("Sled")),
            ("A line.\r\n\r\n## C# for all ##\r\n", Some("C# for all")),
            ("Sled\n====\n\ntext", Some("Sled")),
            ("# The `sled` *crate*", Some("The sled crate")),
            (
                "---\ntitle: \"The book\"\ndate: 2020\n---\n# Chapter",
                Some("The book"),
            ),
            ("---\r\ntitle: 'It''s'\r\n---\r\n", Some("It''s")),
            ("---\ndate: 2020\n---\n# Chapter", Some("Chapter")),
            ("---\nnever closed\n# Chapter", Some("Chapter")),
            ("```sh\n# a comment\n```\n# Real", Some("Real")),
            ("    # code\n# Real", Some("Real")),
            ("#hashtag\n#\n####### seven\n# Real", Some("Real")),
            ("text only\n\n---\n", None),
            ("", None),
        ] {
            assert_eq!(structure(text).0.as_deref(), expected, "{text:?}");
        }
    }

    #[test]
    fn headings_and_tables_have_their_places() {
        let text = "# A\n\ntext\n\n| n | m |\n|---|---|\n| 1 | 2 |\n| 3 | 4 |\n\nB\n--\n";
        let outline = structure(text).1;
        assert_eq!(outline.headings_at(60), ["A", "B"]);
        assert_eq!(outline.headings[1].start, text.find("B\n").expect("there"));
        let row = text.find("| 3").expect("there");
        let header = outline.table_header_at(text, row);
        assert_eq!(header, Some("| n | m |\n|---|---|\n"));
        assert_eq!(outline.table_header_at(text, text.len() - 1), None);
    }
}
