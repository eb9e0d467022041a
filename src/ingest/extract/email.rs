//! E-mail (RFC 5322 and MIME), by `mail-parser`.

use mail_parser::{Address, MessageParser};
use scraper::Html;

use super::writer::Writer;
use super::{Extracted, Facts, html};

pub(super) fn extract(bytes: &[u8]) -> Result<Extracted, String> {
    let message = MessageParser::default()
        .parse(bytes)
        .ok_or("it is no e-mail message")?;
    let mut writer = Writer::default();
    // `body_text` would take apart HTML in a way of its own.
    let has_text = message.text_bodies().any(|part| part.is_text());
    if has_text && !message.text_bodies().any(|part| part.is_text_html()) {
        for nth in 0..message.text_body_count() {
            let body = message.body_text(nth).unwrap_or_default();
            body.split("\n\n")
                .flat_map(|block| block.split("\r\n\r\n"))
                .for_each(|block| writer.paragraph(block));
        }
    } else {
        for nth in 0..message.html_body_count() {
            let body = message.body_html(nth).unwrap_or_default();
            html::write(&Html::parse_document(&body), &mut writer);
        }
    }
    let mut facts = Facts::default();
    facts.text("author", addresses(message.from()));
    facts.text("to", addresses(message.to()));
    facts.text("cc", addresses(message.cc()));
    facts.text("created", message.date().map(|date| date.to_rfc3339()));
    Ok(Extracted::new(
        writer,
        message.subject().map(str::to_owned),
        facts,
    ))
}

/// Files that came along, each with its name.
pub(super) fn attachments(bytes: &[u8]) -> Vec<(String, Vec<u8>)> {
    use mail_parser::MimeHeaders;

    let Some(message) = MessageParser::default().parse(bytes) else {
        return Vec::new();
    };
    let attachments = message.attachments();
    attachments
        .filter_map(|part| Some((part.attachment_name()?.to_owned(), part.contents().to_vec())))
        .collect()
}

/// `Li Bai <li@example.org>, Du Fu`
fn addresses(address: Option<&Address<'_>>) -> Option<String> {
    let all = address?.iter().filter_map(|one| {
        Some(match (one.name(), one.address()) {
            (Some(name), Some(address)) => format!("{name} <{address}>"),
            (one, other) => one.or(other)?.to_owned(),
        })
    });
    Some(all.collect::<Vec<_>>().join(", "))
}
