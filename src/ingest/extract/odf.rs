//! OpenDocument texts, sheets and slides: two XML files in a zip archive.

use std::io::{Cursor, Read};

use roxmltree::{Document, Node, ParsingOptions};
use zip::ZipArchive;

use super::writer::{Rows, Writer};
use super::{Extracted, Facts, MAX_PART_BYTES};

/// How often a repeated cell or row is written out. Sheets say by a repetition of a million rows that the rest is empty.
const MOST_REPEATED: usize = 1_000;
/// How deep elements may nest.
const MOST_NESTED: usize = 500;

pub(super) fn extract(bytes: &[u8]) -> Result<Extracted, String> {
    let mut archive = ZipArchive::new(Cursor::new(bytes)).map_err(|error| error.to_string())?;
    let manifest = part(&mut archive, "META-INF/manifest.xml").unwrap_or_default();
    if manifest.contains("encryption-data") {
        return Err(super::ENCRYPTED.into());
    }
    let mut writer = Writer::default();
    let mut facts = Facts::default();
    let styles = part(&mut archive, "styles.xml").unwrap_or_default();
    margins(&styles, "header", &mut writer);
    let content = part(&mut archive, "content.xml")?;
    let content = parse(&content)?;
    let body = content
        .descendants()
        .find(|node| node.tag_name().name() == "body");
    Walk {
        writer: &mut writer,
    }
    .blocks(body.unwrap_or(content.root_element()), None);
    margins(&styles, "footer", &mut writer);

    let mut title = None;
    if let Ok(meta) = part(&mut archive, "meta.xml")
        && let Ok(meta) = parse(&meta)
    {
        let text = |name: &str| {
            let mut nodes = meta.descendants();
            let node = nodes.find(|node| node.tag_name().name() == name)?;
            node.text().map(str::to_owned)
        };
        title = text("title");
        facts.text("author", text("creator").or(text("initial-creator")));
        facts.text("subject", text("subject"));
        facts.text("description", text("description"));
        facts.text("created", text("creation-date"));
        facts.text("modified", text("date"));
    }
    Ok(Extracted::new(writer, title, facts))
}

fn part(archive: &mut ZipArchive<Cursor<&[u8]>>, name: &str) -> Result<String, String> {
    let wrong = |error: &dyn std::fmt::Display| format!("its {name} cannot be read: {error}");
    let file = archive.by_name(name).map_err(|error| wrong(&error))?;
    let mut text = String::new();
    let mut limited = file.take(MAX_PART_BYTES + 1);
    let read = limited.read_to_string(&mut text);
    match read.map_err(|error| wrong(&error))? as u64 {
        0..=MAX_PART_BYTES => Ok(text),
        _ => Err(format!("its {name} is larger than {MAX_PART_BYTES} bytes")),
    }
}

fn parse(xml: &str) -> Result<Document<'_>, String> {
    let options = ParsingOptions {
        allow_dtd: false,
        nodes_limit: 20_000_000,
        ..ParsingOptions::default()
    };
    let document = Document::parse_with_options(xml, options).map_err(|error| error.to_string())?;
    // What follows calls itself for each level.
    let mut depths: Vec<usize> = Vec::new();
    for node in document.descendants() {
        let above = node
            .parent()
            .and_then(|parent| depths.get(parent.id().get_usize()));
        depths.push(above.map_or(0, |depth| depth + 1));
    }
    if depths.iter().any(|&depth| depth > MOST_NESTED) {
        return Err(format!(
            "its elements nest deeper than {MOST_NESTED} levels"
        ));
    }
    Ok(document)
}

/// What stands above or below each page, once.
fn margins(styles: &str, name: &str, writer: &mut Writer) {
    let Ok(styles) = parse(styles) else { return };
    let is_margin = |node: &Node<'_, '_>| {
        node.tag_name().name() == name
            && node
                .parent()
                .is_some_and(|parent| parent.tag_name().name() == "master-page")
    };
    for margin in styles.descendants().filter(is_margin) {
        Walk { writer }.blocks(margin, None);
    }
}

struct Walk<'a> {
    writer: &'a mut Writer,
}

impl Walk<'_> {
    /// The blocks in a node; `list` is how deep it lies in lists.
    fn blocks(&mut self, node: Node<'_, '_>, list: Option<usize>) {
        for child in node.children().filter(Node::is_element) {
            match child.tag_name().name() {
                "h" => {
                    let level = attribute(child, "outline-level").and_then(|n| n.parse().ok());
                    self.writer.heading(level.unwrap_or(1), &inline(child));
                }
                "p" => match list {
                    Some(depth) => self.writer.item(depth, &inline(child)),
                    None => self.paragraph(child),
                },
                "list" => self.blocks(child, Some(list.map_or(0, |depth| depth + 1))),
                "table" => self.table(child),
                "page" => {
                    self.writer.page();
                    self.blocks(child, None);
                }
                // What was deleted, and what only indexes the text.
                "tracked-changes" | "table-of-content" | "forms" | "sequence-decls" => {}
                _ => self.blocks(child, list),
            }
        }
    }

    fn paragraph(&mut self, node: Node<'_, '_>) {
        self.writer.paragraph(&inline(node));
        // Text in frames and notes stands behind the paragraph that it belongs to.
        for child in node.descendants().skip(1) {
            match child.tag_name().name() {
                "text-box" => self.blocks(child, None),
                "note-body" => self.blocks(child, None),
                _ => {}
            }
        }
    }

    fn table(&mut self, table: Node<'_, '_>) {
        let is_sheet = table
            .parent()
            .is_some_and(|parent| parent.tag_name().name() == "spreadsheet");
        if is_sheet {
            self.writer.page();
            if let Some(name) = attribute(table, "name") {
                self.writer.heading(1, name);
            }
        }
        let mut rows = Rows::default();
        let mut marked = 0;
        let all = table
            .descendants()
            .filter(|node| node.tag_name().name() == "table-row");
        for row in all {
            let mut cells: Vec<String> = Vec::new();
            for cell in row.children().filter(Node::is_element) {
                let text = cell_text(cell);
                let times = repeated(cell, "number-columns-repeated");
                cells.extend(std::iter::repeat_n(text, times));
            }
            while cells.last().is_some_and(|cell| cell.trim().is_empty()) {
                cells.pop();
            }
            if cells.is_empty() {
                continue;
            }
            let is_header = row
                .parent()
                .is_some_and(|parent| parent.tag_name().name() == "table-header-rows");
            if is_header && marked == rows.rows.len() {
                marked += 1;
            }
            let times = repeated(row, "number-rows-repeated");
            rows.rows.extend(std::iter::repeat_n(cells, times));
        }
        rows.header = match marked {
            0 => super::guessed_header(&rows.rows),
            marked => marked,
        };
        self.writer.table(rows);
    }
}

fn repeated(node: Node<'_, '_>, name: &str) -> usize {
    let times = attribute(node, name).and_then(|times| times.parse().ok());
    times.unwrap_or(1).clamp(1, MOST_REPEATED)
}

fn cell_text(cell: Node<'_, '_>) -> String {
    let is_paragraph = |node: &Node<'_, '_>| matches!(node.tag_name().name(), "p" | "h");
    let texts: Vec<_> = cell
        .descendants()
        .filter(is_paragraph)
        .map(inline)
        .collect();
    texts.join(" ")
}

/// The text of a paragraph, without its notes and frames.
fn inline(paragraph: Node<'_, '_>) -> String {
    let mut text = String::new();
    write_inline(paragraph, &mut text);
    text
}

fn write_inline(node: Node<'_, '_>, out: &mut String) {
    for child in node.children() {
        if child.is_text() {
            // White space collapses; what is meant has elements of its own.
            for c in child.text().unwrap_or_default().chars() {
                if !c.is_ascii_whitespace() {
                    out.push(c);
                } else if !out.ends_with([' ', '\n', '\t']) {
                    out.push(' ');
                }
            }
            continue;
        }
        match child.tag_name().name() {
            "s" => {
                let spaces = attribute(child, "c").and_then(|n| n.parse().ok());
                out.extend(std::iter::repeat_n(' ', spaces.unwrap_or(1).min(100)));
            }
            "tab" => out.push('\t'),
            "line-break" => out.push('\n'),
            "note" | "annotation" | "text-box" => {}
            _ => write_inline(child, out),
        }
    }
}

fn attribute<'a>(node: Node<'a, '_>, name: &str) -> Option<&'a str> {
    let mut attributes = node.attributes();
    let found = attributes.find(|attribute| attribute.name() == name);
    found.map(|attribute| attribute.value())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn elements_that_nest_without_end_are_refused() {
        let nested = |levels: usize| format!("{}x{}", "<a>".repeat(levels), "</a>".repeat(levels));
        assert!(parse(&nested(MOST_NESTED - 1)).is_ok());
        assert!(parse(&nested(MOST_NESTED + 1)).is_err());
        assert!(parse(&nested(20_000)).is_err());
    }

    #[test]
    fn paragraphs_items_tables_and_white_space_are_told_apart() {
        let body = parse(
            "<body><h outline-level='2'>Head</h><p>One <s c='2'/>two<line-break/>three</p><list><list-item><p>a</p></list-item>\
             </list><table><table-row><table-cell number-columns-repeated='2'><p>x</p></table-cell></table-row></table></body>",
        );
        let body = body.expect("XML");
        let mut writer = Writer::default();
        let mut walk = Walk {
            writer: &mut writer,
        };
        walk.blocks(body.root_element(), None);
        let (text, outline) = writer.finish();
        assert_eq!(text, "Head\n\nOne   two\nthree\n\n- a\n\nx | x");
        assert_eq!(outline.headings[0].level, 2);
    }
}
