//! Word, Excel and PowerPoint, old and new, by `undoc`.

use std::collections::HashSet;

use undoc::model::{Block, Cell, Paragraph, RevisionType, Section, Table};
use undoc::{ErrorKind, FormatType};

use super::writer::{Rows, Writer};
use super::{Extracted, Facts};

pub(super) fn extract(bytes: &[u8]) -> Result<Extracted, String> {
    let document = undoc::parse_bytes(bytes).map_err(|error| match error.kind() {
        ErrorKind::Encrypted => super::ENCRYPTED.to_owned(),
        // Its words for an archive without an end.
        _ if error.to_string().contains("EOCD") => super::CUT_OFF.to_owned(),
        _ => error.to_string(),
    })?;
    let mut writer = Writer::default();
    let mut margins = HashSet::new();
    let has_pages = !matches!(document.format, FormatType::Docx | FormatType::Doc);
    for section in &document.sections {
        if has_pages {
            writer.page();
        }
        write_section(section, &mut margins, &mut writer);
    }
    let mut facts = Facts::default();
    if has_pages {
        facts.number("pages", document.sections.len());
    }
    let metadata = document.metadata;
    facts.text("author", metadata.author);
    facts.text("subject", metadata.subject);
    facts.text("description", metadata.description);
    facts.list("keywords", metadata.keywords);
    facts.text("created", metadata.created);
    facts.text("modified", metadata.modified);
    Ok(Extracted::new(writer, metadata.title, facts))
}

/// `margins` are headers and footers that stand in the text already.
fn write_section(section: &Section, margins: &mut HashSet<String>, writer: &mut Writer) {
    let mut margin = |paragraphs: &Option<Vec<Paragraph>>, writer: &mut Writer| {
        for paragraph in paragraphs.iter().flatten() {
            let text = plain(paragraph);
            if margins.insert(text.clone()) {
                writer.paragraph(&text);
            }
        }
    };
    margin(&section.header, writer);
    let begins_with_heading = matches!(
        section.content.first(),
        Some(Block::Paragraph(paragraph)) if paragraph.is_heading()
    );
    // A slide's name is its first heading.
    if let Some(name) = section.name.as_ref().filter(|_| !begins_with_heading) {
        writer.heading(1, name);
    }
    for block in &section.content {
        match block {
            Block::Paragraph(paragraph) => write_paragraph(paragraph, writer),
            Block::Table(table) => write_table(table, writer),
            Block::Note { content, label } => {
                for paragraph in content {
                    writer.paragraph(&format!("[^{label}] {}", plain(paragraph)));
                }
            }
            _ => {}
        }
    }
    for paragraph in section.notes.iter().flatten() {
        write_paragraph(paragraph, writer);
    }
    margin(&section.footer, writer);
}

fn write_paragraph(paragraph: &Paragraph, writer: &mut Writer) {
    let text = plain(paragraph);
    if paragraph.is_heading() {
        writer.heading(paragraph.heading.level(), &text);
    } else if let Some(list) = &paragraph.list_info {
        match list.number {
            Some(number) => writer.item(list.level.into(), &format!("{number}. {text}")),
            None => writer.item(list.level.into(), &text),
        }
    } else if !text.is_empty() && paragraph.runs.iter().all(|run| run.style.code) {
        writer.code(&text);
    } else {
        writer.paragraph(&text);
    }
}

/// What was deleted, and is kept only as a tracked change, is no text.
fn plain(paragraph: &Paragraph) -> String {
    let is_deleted = |revision: &RevisionType| matches!(revision, RevisionType::Deleted);
    if !paragraph.runs.iter().any(|run| is_deleted(&run.revision)) {
        return paragraph.plain_text();
    }
    let mut kept = paragraph.clone();
    kept.runs.retain(|run| !is_deleted(&run.revision));
    kept.plain_text()
}

/// A table whose cells hold tables is a page's layout.
fn write_table(table: &Table, writer: &mut Writer) {
    let mut cells = table.rows.iter().flat_map(|row| &row.cells);
    if cells.any(|cell| !cell.nested_tables.is_empty()) {
        for cell in table.rows.iter().flat_map(|row| &row.cells) {
            cell.content
                .iter()
                .for_each(|paragraph| write_paragraph(paragraph, writer));
            for nested in &cell.nested_tables {
                write_table(nested, writer);
            }
        }
        return;
    }
    if let Some(caption) = &table.caption {
        writer.paragraph(caption);
    }
    let text = |cell: &Cell| {
        let texts: Vec<_> = cell.content.iter().map(plain).collect();
        texts.join(" ")
    };
    let rows: Vec<Vec<String>> = table
        .rows
        .iter()
        .map(|row| row.cells.iter().map(text).collect())
        .collect();
    let marked = table.rows.iter().take_while(|row| row.is_header).count();
    let header = match marked {
        0 => super::guessed_header(&rows),
        marked => marked,
    };
    writer.table(Rows { rows, header });
}
