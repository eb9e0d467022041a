//! PDF, by `unpdf`.

use unpdf::model::{Block, OutlineItem, Page, Paragraph, Table};
use unpdf::{ErrorKind, ParseOptions};

use super::writer::{Rows, Writer};
use super::{Extracted, Facts};

/// Bytes at the end of a file among which it says where its table of contents begins.
const END: usize = 4 << 10;

pub(super) fn extract(bytes: &[u8]) -> Result<Extracted, String> {
    let end = &bytes[bytes.len().saturating_sub(END)..];
    if !end.windows(9).any(|window| window == b"startxref") {
        // What is left of it could be read, and nobody would know that it is not all.
        return Err("it is cut off: what a PDF ends with is missing".into());
    }
    // One thread: the encoder has the others.
    let options = ParseOptions::new().sequential();
    let document =
        unpdf::parse_bytes_with_options(bytes, options).map_err(|error| match error.kind() {
            ErrorKind::Encrypted | ErrorKind::InvalidPassword => super::ENCRYPTED.to_owned(),
            _ => error.to_string(),
        })?;
    let mut writer = Writer::default();
    let bookmarks = document
        .outline
        .as_ref()
        .map_or(&[][..], |outline| &outline.items);
    let has_headings = document
        .pages
        .iter()
        .flat_map(|page| &page.elements)
        .any(|block| matches!(block, Block::Paragraph(paragraph) if paragraph.is_heading()));
    for page in &document.pages {
        writer.page();
        if !has_headings {
            bookmarked(bookmarks, page.number, &mut writer);
        }
        page.elements
            .iter()
            .for_each(|block| write(block, &mut writer));
    }
    let metadata = document.metadata;
    let mut facts = Facts::default();
    facts.text("author", metadata.author);
    facts.text("subject", metadata.subject);
    facts.text("keywords", metadata.keywords);
    facts.text("created", metadata.created.map(|time| time.to_rfc3339()));
    facts.text("modified", metadata.modified.map(|time| time.to_rfc3339()));
    facts.number("pages", document.pages.len());
    let unreadable = unreadable(&document.pages);
    let extracted = Extracted::new(writer, metadata.title, facts);
    if extracted.is_empty() {
        return Err(unreadable.to_owned());
    }
    Ok(extracted)
}

/// Why there is no text.
fn unreadable(pages: &[Page]) -> &'static str {
    if pages.iter().any(|page| page.text_op_count > 0) {
        "it holds no readable text: its fonts do not say which characters their glyphs are"
    } else if pages.iter().any(|page| page.image_op_count > 0) {
        "its pages are images without text, and there is no text recognition (OCR) here; run it through one first"
    } else {
        "it holds no text"
    }
}

fn bookmarked(items: &[OutlineItem], page: u32, writer: &mut Writer) {
    for item in items {
        if item.page == Some(page) {
            writer.bookmark(item.level.saturating_add(1), &item.title);
        }
        bookmarked(&item.children, page, writer);
    }
}

fn write(block: &Block, writer: &mut Writer) {
    match block {
        Block::Paragraph(paragraph) => {
            let text = paragraph.plain_text();
            if let Some(level) = paragraph.heading_level() {
                writer.heading(level, &text);
            } else if let Some(list) = &paragraph.style.list_info {
                writer.item(list.level.into(), &text);
            } else {
                writer.paragraph(&text);
            }
        }
        Block::Table(table) => writer.table(rows(table)),
        Block::Code { content } => writer.code(content),
        Block::Raw { content } => writer.paragraph(content),
        Block::Image { .. } | Block::HorizontalRule | Block::PageBreak | Block::SectionBreak => {}
    }
}

fn rows(table: &Table) -> Rows {
    let cell = |content: &[Paragraph]| {
        let texts: Vec<_> = content.iter().map(Paragraph::plain_text).collect();
        texts.join(" ")
    };
    let rows = table.rows.iter();
    Rows {
        rows: rows
            .map(|row| row.cells.iter().map(|c| cell(&c.content)).collect())
            .collect(),
        header: table.header_rows.into(),
    }
}
