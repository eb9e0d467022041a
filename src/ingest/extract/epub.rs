//! EPUB, by `rbook`: the chapters in the order of the book.

use std::io::Cursor;

use rbook::Epub;
use scraper::Html;

use super::writer::Writer;
use super::{Extracted, Facts, html};

pub(super) fn extract(bytes: &[u8]) -> Result<Extracted, String> {
    let book = Epub::read(Cursor::new(bytes.to_vec())).map_err(|error| error.to_string())?;
    let mut writer = Writer::default();
    for chapter in book.reader() {
        let chapter = chapter.map_err(|error| format!("a chapter cannot be read: {error}"))?;
        html::write(&Html::parse_document(chapter.content()), &mut writer);
    }
    let metadata = book.metadata();
    let mut facts = Facts::default();
    let creators = metadata.creators().map(|entry| entry.value().to_owned());
    facts.text("author", Some(creators.collect::<Vec<_>>().join(", ")));
    let published = metadata.published().map(|time| time.to_string());
    facts.text("created", published);
    let modified = metadata.modified().map(|time| time.to_string());
    facts.text("modified", modified);
    let language = metadata.language().map(|entry| entry.value().to_owned());
    facts.text("language", language);
    let title = metadata.title().map(|entry| entry.value().to_owned());
    Ok(Extracted::new(writer, title, facts))
}
