//! Blocks → text with its outline.

use crate::outline::{Heading, Outline, Table};

/// Puts a text together. Blocks stand apart by an empty line, items of a list and rows of a table by a line end.
#[derive(Debug, Default)]
pub(in crate::ingest) struct Writer {
    text: String,
    outline: Outline,
    /// Was the last block an item of a list?
    in_list: bool,
}

/// A table as it is read.
#[derive(Debug, Default)]
pub(in crate::ingest) struct Rows {
    pub rows: Vec<Vec<String>>,
    /// How many of them are its header.
    pub header: usize,
}

impl Writer {
    /// The next page, sheet or slide begins.
    pub fn page(&mut self) {
        self.block();
        self.outline.pages.push(self.text.len());
    }

    pub fn heading(&mut self, level: u8, text: &str) {
        let text = one_line(text);
        if text.is_empty() {
            return;
        }
        self.block();
        let start = self.text.len();
        self.text.push_str(&text);
        self.outline
            .headings
            .push(Heading::new(start, level.max(1), text));
    }

    /// What stands above all that follows, and is in no place of the text itself: a bookmark's title.
    pub fn bookmark(&mut self, level: u8, text: &str) {
        let text = one_line(text);
        if !text.is_empty() {
            let heading = Heading::new(self.text.len(), level.max(1), text);
            self.outline.headings.push(heading);
        }
    }

    pub fn paragraph(&mut self, text: &str) {
        let text = text.trim();
        if !text.is_empty() {
            self.block();
            self.text.push_str(text);
        }
    }

    /// A list's item; its mark is in the text, or added.
    pub fn item(&mut self, depth: usize, text: &str) {
        let text = text.trim();
        if text.is_empty() {
            return;
        }
        if self.in_list {
            self.text.push('\n');
        } else {
            self.block();
        }
        self.text.extend(std::iter::repeat_n("  ", depth.min(8)));
        if !is_marked(text) {
            self.text.push_str("- ");
        }
        self.text.push_str(text);
        self.in_list = true;
    }

    /// Lines as they are.
    pub fn code(&mut self, text: &str) {
        let text = text.trim_matches(['\n', '\r']).trim_end();
        if !text.trim().is_empty() {
            self.block();
            self.text.push_str(text);
        }
    }

    pub fn table(&mut self, table: Rows) {
        let mut rows = table.rows.iter().enumerate().filter_map(|(at, row)| {
            let cells: Vec<String> = row.iter().map(|cell| one_line(cell)).collect();
            let is_blank = cells.iter().all(String::is_empty);
            (!is_blank).then(|| (at, cells.join(" | ").trim_end().to_owned()))
        });
        let Some((first, row)) = rows.next() else {
            return;
        };
        self.block();
        let start = self.text.len();
        let mut header_end = None;
        let mut push = |text: &mut String, at: usize, row: &str| {
            if at >= table.header {
                header_end.get_or_insert(text.len());
            }
            text.push_str(row);
            text.push('\n');
        };
        push(&mut self.text, first, &row);
        for (at, row) in rows {
            push(&mut self.text, at, &row);
        }
        self.text.pop();
        let range = start..self.text.len();
        if table.header > 0
            && let Some(header_end) = header_end.filter(|&end| end > start)
        {
            self.outline.tables.push(Table::new(range, header_end));
        }
    }

    pub fn finish(self) -> (String, Outline) {
        (self.text, self.outline)
    }

    /// Begins a block.
    fn block(&mut self) {
        self.in_list = false;
        let text = &mut self.text;
        if !text.is_empty() && !text.ends_with("\n\n") {
            text.push_str(if text.ends_with('\n') { "\n" } else { "\n\n" });
        }
    }
}

/// Does an item begin with a bullet or a number of its own?
fn is_marked(text: &str) -> bool {
    let rest = text.trim_start_matches(|c: char| c.is_ascii_alphanumeric());
    let label = text.len() - rest.len();
    let is_numbered = (1..=4).contains(&label) && rest.starts_with(['.', ')']);
    is_numbered || text.starts_with(['-', '*', '•', '–', '◦', '▪', '·', '‣'])
}

/// The text with each run of white space as one space.
pub(super) fn one_line(text: &str) -> String {
    let mut line = String::with_capacity(text.len());
    for word in text.split_whitespace() {
        if !line.is_empty() {
            line.push(' ');
        }
        line.push_str(word);
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_stand_apart_and_the_outline_says_where() {
        let mut writer = Writer::default();
        writer.page();
        writer.heading(1, " The\n title ");
        writer.paragraph("One.\n");
        writer.item(0, "a");
        writer.item(1, "2. b");
        writer.page();
        let row = |cells: [&str; 2]| cells.map(str::to_owned).to_vec();
        writer.table(Rows {
            rows: vec![row(["name", "age"]), row(["", " "]), row(["Li\nBai", "60"])],
            header: 1,
        });
        writer.code("\n  if x {\n  }\n");
        let (text, outline) = writer.finish();
        let expected =
            "The title\n\nOne.\n\n- a\n  2. b\n\nname | age\nLi Bai | 60\n\n  if x {\n  }";
        assert_eq!(text, expected);
        let table = text.find("name").expect("is there");
        assert_eq!(outline.pages, [0, table]);
        assert_eq!(outline.headings, [Heading::new(0, 1, "The title")]);
        let table = Table::new(table..table + 22, table + 11);
        assert_eq!(outline.tables, [table]);
    }

    #[test]
    fn empty_blocks_leave_nothing() {
        let mut writer = Writer::default();
        writer.heading(1, " ");
        writer.paragraph("\n");
        writer.item(0, "");
        writer.code("\n\n");
        writer.table(Rows::default());
        assert_eq!(writer.finish(), (String::new(), Outline::default()));
    }

    #[test]
    fn a_table_of_nothing_but_a_header_repeats_none() {
        let mut writer = Writer::default();
        writer.table(Rows {
            rows: vec![vec!["a".into(), "b".into()]],
            header: 1,
        });
        let (text, outline) = writer.finish();
        assert_eq!(text, "a | b");
        assert!(outline.tables.is_empty());
    }
}
