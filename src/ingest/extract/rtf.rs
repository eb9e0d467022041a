//! RTF, by `rtf-parser-tt`, which knows code pages.

use rtf_parser_tt::RtfDocument;

use super::writer::Writer;
use super::{Extracted, Facts};

pub(super) fn extract(bytes: &[u8]) -> Result<Extracted, String> {
    let document = RtfDocument::from_bytes(bytes).map_err(|error| error.to_string())?;
    let mut writer = Writer::default();
    for paragraph in document.get_text().split('\n') {
        writer.paragraph(paragraph);
    }
    Ok(Extracted::new(writer, None, Facts::default()))
}
