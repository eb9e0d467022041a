//! The structure of a text: headings, pages and tables.

use std::ops::Range;

use serde::{Deserialize, Serialize};

/// What a reader knows of a text beside its characters. Places are bytes of the text.
///
/// It tells the encoder where to cut and what stands above each part, and a hit on which page and under which headings it
/// is. An outline that does not fit the text (places behind its end, or out of order) harms nothing: what is not there is
/// not told.
///
/// ```
/// use vecdb::{Document, Heading, Outline};
/// let text = "Sled\n\nA store.\n\nKeys\n\nBytes, in order.";
/// let outline = Outline {
///     headings: vec![Heading::new(0, 1, "Sled"), Heading::new(16, 2, "Keys")],
///     pages: vec![0, 16],
///     ..Outline::default()
/// };
/// assert_eq!(outline.headings_at(20), ["Sled", "Keys"]);
/// assert_eq!(outline.page_at(20), Some(2));
/// let document = Document::new("sled", text).outline(outline);
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outline {
    /// In the order of the text.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub headings: Vec<Heading>,
    /// Where each page (sheet, slide) begins.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub pages: Vec<usize>,
    /// In the order of the text.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tables: Vec<Table>,
    /// Headings and tables' headers stay where they are: the encoder does not read them again with each passage below them.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub without_context: bool,
}

/// A heading, and where it stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "(usize, u8, String)", into = "(usize, u8, String)")]
#[non_exhaustive]
pub struct Heading {
    /// The byte where it begins.
    pub start: usize,
    /// 1 for the outermost.
    pub level: u8,
    /// In one line.
    pub text: String,
}

impl Heading {
    /// A heading.
    pub fn new(start: usize, level: u8, text: impl Into<String>) -> Self {
        let text = text.into();
        Self { start, level, text }
    }
}

impl From<(usize, u8, String)> for Heading {
    fn from((start, level, text): (usize, u8, String)) -> Self {
        Self { start, level, text }
    }
}

impl From<Heading> for (usize, u8, String) {
    fn from(heading: Heading) -> Self {
        (heading.start, heading.level, heading.text)
    }
}

/// A table whose first rows say what its columns are.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "[usize; 3]", into = "[usize; 3]")]
#[non_exhaustive]
pub struct Table {
    /// From the first byte of its header to the last of its rows.
    pub range: Range<usize>,
    /// The byte where its header ends.
    pub header_end: usize,
}

impl Table {
    /// A table.
    pub fn new(range: Range<usize>, header_end: usize) -> Self {
        Self { range, header_end }
    }
}

impl From<[usize; 3]> for Table {
    fn from([start, header_end, end]: [usize; 3]) -> Self {
        Self::new(start..end, header_end)
    }
}

impl From<Table> for [usize; 3] {
    fn from(table: Table) -> Self {
        [table.range.start, table.header_end, table.range.end]
    }
}

impl Outline {
    /// Is nothing known?
    pub fn is_empty(&self) -> bool {
        self.headings.is_empty() && self.pages.is_empty() && self.tables.is_empty()
    }

    /// The headings above a place, outermost first; one that begins there is among them.
    pub fn headings_at(&self, at: usize) -> Vec<&str> {
        self.headings_before(at.saturating_add(1))
    }

    /// The headings above a place, where one that begins there is not among them.
    pub(crate) fn headings_before(&self, at: usize) -> Vec<&str> {
        let mut above: Vec<&Heading> = Vec::new();
        let before = self.headings.partition_point(|heading| heading.start < at);
        for heading in &self.headings[..before] {
            above.retain(|outer| outer.level < heading.level);
            above.push(heading);
        }
        above.iter().map(|heading| heading.text.as_str()).collect()
    }

    /// The page of a place, counted from 1.
    pub fn page_at(&self, at: usize) -> Option<u32> {
        let begun = self.pages.partition_point(|&start| start <= at);
        u32::try_from(begun).ok().filter(|&page| page > 0)
    }

    /// The header of the table in whose rows a place is.
    #[cfg(any(test, feature = "encoder"))]
    pub(crate) fn table_header_at<'a>(&self, text: &'a str, at: usize) -> Option<&'a str> {
        let begun = self.tables.partition_point(|table| table.header_end <= at);
        let table = self.tables[..begun].last()?;
        (at < table.range.end).then(|| text.get(table.range.start..table.header_end))?
    }

    /// Where headings and tables begin, in order: the best places to cut a text.
    #[cfg(any(test, feature = "encoder"))]
    pub(crate) fn breaks(&self) -> Vec<usize> {
        let headings = self.headings.iter().map(|heading| heading.start);
        let tables = self.tables.iter().map(|table| table.range.start);
        let mut breaks: Vec<usize> = headings.chain(tables).collect();
        breaks.sort_unstable();
        breaks.dedup();
        breaks
    }

    pub(crate) fn bytes(&self) -> usize {
        let headings = self.headings.iter().map(|heading| heading.text.len() + 32);
        headings.sum::<usize>() + 8 * self.pages.len() + 24 * self.tables.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_knows_its_headings_page_and_table() {
        let text = "A\n\nname | age\nLi | 60\nDu | 58\n\nB\n\nb\n\nC\n\nc";
        let outline = Outline {
            headings: vec![
                Heading::new(0, 1, "A"),
                Heading::new(31, 3, "B"),
                Heading::new(37, 2, "C"),
            ],
            pages: vec![0, 0, 37],
            tables: vec![Table::new(3..29, 14)],
            without_context: false,
        };
        assert_eq!(outline.headings_at(33), ["A", "B"]);
        assert_eq!(outline.headings_at(37), ["A", "C"]);
        assert_eq!(outline.headings_before(37), ["A", "B"]);
        assert!(outline.headings_before(0).is_empty());
        assert_eq!(outline.page_at(0), Some(2), "the first page is empty");
        assert_eq!(outline.page_at(40), Some(3));
        assert_eq!(outline.table_header_at(text, 22), Some("name | age\n"));
        assert_eq!(outline.table_header_at(text, 3), None, "the header itself");
        assert_eq!(outline.table_header_at(text, 29), None);
        assert_eq!(outline.breaks(), [0, 3, 31, 37]);
        let json = serde_json::to_string(&outline).expect("JSON");
        assert_eq!(
            json,
            r#"{"headings":[[0,1,"A"],[31,3,"B"],[37,2,"C"]],"pages":[0,0,37],"tables":[[3,14,29]]}"#
        );
        assert_eq!(
            serde_json::from_str::<Outline>(&json).expect("reads"),
            outline
        );
    }

    #[test]
    fn an_outline_of_another_text_tells_nothing_wrong() {
        let outline = Outline {
            tables: vec![Table::new(1..50, 2), Table::new(80..95, 70)],
            pages: vec![7],
            ..Outline::default()
        };
        assert_eq!(outline.page_at(3), None);
        assert_eq!(outline.table_header_at("äö", 3), None, "no char boundary");
        assert_eq!(outline.table_header_at("äö", 85), None);
    }
}
