//! HTML, by `scraper` (html5ever): what a reader sees of a page's content.
//!
//! Scripts, styles, navigation, forms' controls and hidden elements are passed over. Where a page says which part of it is
//! its content (`main`), only that is read.

use scraper::node::Element;
use scraper::{ElementRef, Html, Node, Selector};

use super::writer::{Rows, Writer, one_line};
use super::{Extracted, Facts};
use crate::ingest::read::encoding;

pub(super) fn extract(bytes: &[u8]) -> Result<Extracted, String> {
    let html = encoding::html(bytes);
    let page = Html::parse_document(&html);
    let mut writer = Writer::default();
    write(&page, &mut writer);
    let mut facts = Facts::default();
    for (name, keys) in META {
        let content = keys.iter().find_map(|key| meta(&page, key));
        facts.text(name, content);
    }
    let language = page.root_element().attr("lang").map(str::to_owned);
    facts.text("language", language);
    Ok(Extracted::new(writer, title(&page), facts))
}

/// Fields, and the names of the `meta` elements that they come from, the best first.
const META: [(&str, &[&str]); 4] = [
    ("author", &["author", "article:author", "dc.creator"]),
    ("keywords", &["keywords"]),
    ("description", &["description", "og:description"]),
    (
        "created",
        &[
            "article:published_time",
            "date",
            "dc.date",
            "dcterms.created",
        ],
    ),
];

fn meta(page: &Html, key: &str) -> Option<String> {
    let all = selector("meta[content]");
    let mut elements = page.select(&all);
    elements.find_map(|element| {
        let name = element.attr("name").or(element.attr("property"))?;
        let content = element.attr("content")?;
        name.eq_ignore_ascii_case(key).then(|| content.to_owned())
    })
}

fn title(page: &Html) -> Option<String> {
    let title = selector("head > title");
    let element = page.select(&title).next()?;
    Some(one_line(&element.text().collect::<String>()))
}

fn selector(css: &str) -> Selector {
    Selector::parse(css).expect("a selector of ours")
}

/// A page's content; a book is many of them.
pub(super) fn write(page: &Html, writer: &mut Writer) {
    let main = selector("main, [role=main]");
    let mut mains = page.select(&main);
    let root = match (mains.next(), mains.next()) {
        // One that is nearly empty is filled by a script, or is no more than a title.
        (Some(main), None) if main.text().map(|text| text.trim().len()).sum::<usize>() > 200 => {
            main
        }
        _ => page.root_element(),
    };
    Walk::new(writer).run(root);
}

struct Walk<'a> {
    writer: &'a mut Writer,
    /// The block that is being read.
    inline: Inline,
    /// Levels of lists around it, and whether it is an item.
    lists: usize,
    item: bool,
    heading: Option<u8>,
    /// Levels of `pre`.
    verbatim: usize,
    /// The table that is being read, and how many layers of `table` are around.
    table: Option<Rows>,
    tables: usize,
    /// Cells of a header: `th` or in `thead`.
    in_head: bool,
    row_is_header: bool,
}

/// Text of which the white space collapses as a browser shows it.
#[derive(Default)]
struct Inline {
    text: String,
    space: bool,
}

impl Inline {
    fn push(&mut self, text: &str) {
        for c in text.chars() {
            // A no-break space is one that shows.
            if c.is_ascii_whitespace() {
                self.space = !self.text.is_empty();
            } else {
                if std::mem::take(&mut self.space) && !self.text.ends_with('\n') {
                    self.text.push(' ');
                }
                self.text.push(c);
            }
        }
    }

    fn take(&mut self) -> String {
        self.space = false;
        std::mem::take(&mut self.text)
    }
}

impl<'a> Walk<'a> {
    fn new(writer: &'a mut Writer) -> Self {
        Self {
            writer,
            inline: Inline::default(),
            lists: 0,
            item: false,
            heading: None,
            verbatim: 0,
            table: None,
            tables: 0,
            in_head: false,
            row_is_header: false,
        }
    }

    /// Without recursion: pages nest as deep as they like.
    fn run(mut self, root: ElementRef<'_>) {
        use ego_tree::iter::Edge;

        let mut skipped = 0_usize;
        for edge in root.traverse() {
            match edge {
                Edge::Open(node) => match node.value() {
                    Node::Element(element) => {
                        if skipped > 0 || (node.id() != root.id() && is_passed_over(element)) {
                            skipped += 1;
                        } else {
                            let is_table = element.name() == "table";
                            let table = ElementRef::wrap(node).filter(|_| is_table);
                            self.open(element, table.is_some_and(is_data));
                        }
                    }
                    Node::Text(text) if skipped == 0 => {
                        if self.verbatim > 0 && self.table.is_none() {
                            self.inline.text.push_str(text);
                        } else {
                            self.inline.push(text);
                        }
                    }
                    _ => {}
                },
                Edge::Close(node) => {
                    if let Node::Element(element) = node.value() {
                        if skipped > 0 {
                            skipped -= 1;
                        } else {
                            self.close(element);
                        }
                    }
                }
            }
        }
        self.flush();
    }

    fn open(&mut self, element: &Element, is_data: bool) {
        let name = element.name();
        if self.table.is_some() {
            match name {
                "table" => self.tables += 1,
                "thead" => self.in_head = true,
                "tr" => {
                    self.row_is_header = true;
                    if let Some(table) = &mut self.table {
                        table.rows.push(Vec::new());
                    }
                    self.inline.take();
                }
                "td" => {
                    self.row_is_header &= self.in_head;
                    self.inline.take();
                }
                "th" | "caption" => drop(self.inline.take()),
                _ if is_block(name) || name == "br" => self.inline.push(" "),
                _ => {}
            }
            return;
        }
        match name {
            "br" if self.verbatim > 0 => self.inline.text.push('\n'),
            "br" => {
                self.inline.text.push('\n');
                self.inline.space = false;
            }
            "table" if is_data => {
                self.flush();
                self.table = Some(Rows::default());
            }
            "ul" | "ol" | "menu" => {
                self.flush();
                self.lists += 1;
            }
            "li" => {
                self.flush();
                self.item = true;
            }
            "pre" | "listing" | "textarea" => {
                self.flush();
                self.verbatim += 1;
            }
            // Cells of a table that only lays out stand apart.
            "td" | "th" => self.flush(),
            _ => {
                if let Some(level) = heading_level(name) {
                    self.flush();
                    self.heading = Some(level);
                } else if is_block(name) {
                    self.flush();
                }
            }
        }
    }

    fn close(&mut self, element: &Element) {
        let name = element.name();
        if let Some(table) = &mut self.table {
            match name {
                "table" if self.tables > 0 => self.tables -= 1,
                "table" => {
                    let mut table = self.table.take().unwrap_or_default();
                    self.inline.take();
                    if table.header == 0 {
                        table.header = super::guessed_header(&table.rows);
                    }
                    self.writer.table(table);
                }
                "thead" => self.in_head = false,
                "td" | "th" => {
                    let cell = self.inline.take();
                    if let Some(row) = table.rows.last_mut() {
                        row.push(cell);
                    }
                }
                "tr" if self.row_is_header && table.header + 1 == table.rows.len() => {
                    table.header += 1;
                }
                "caption" => {
                    let caption = self.inline.take();
                    self.writer.paragraph(&caption);
                }
                _ if is_block(name) => self.inline.push(" "),
                _ => {}
            }
            return;
        }
        match name {
            "ul" | "ol" | "menu" => {
                self.flush();
                self.lists = self.lists.saturating_sub(1);
            }
            "li" => {
                self.flush();
                self.item = false;
            }
            "pre" | "listing" | "textarea" => {
                let code = self.inline.take();
                self.writer.code(&code);
                self.verbatim = self.verbatim.saturating_sub(1);
            }
            _ => {
                if heading_level(name).is_some() {
                    self.flush();
                    self.heading = None;
                } else if is_block(name) {
                    self.flush();
                }
            }
        }
    }

    /// Ends a block.
    fn flush(&mut self) {
        let text = self.inline.take();
        if let Some(level) = self.heading {
            self.writer.heading(level, &text);
        } else if self.verbatim > 0 {
            self.writer.code(&text);
        } else if self.item {
            // Only the item's first block has its mark.
            if !text.trim().is_empty() {
                self.item = false;
                self.writer.item(self.lists.saturating_sub(1), &text);
            }
        } else {
            self.writer.paragraph(&text);
        }
    }
}

fn heading_level(name: &str) -> Option<u8> {
    match name.as_bytes() {
        [b'h', level @ b'1'..=b'6'] => Some(level - b'0'),
        _ => None,
    }
}

fn is_block(name: &str) -> bool {
    matches!(
        name,
        "address"
            | "article"
            | "aside"
            | "blockquote"
            | "body"
            | "caption"
            | "center"
            | "dd"
            | "details"
            | "dialog"
            | "div"
            | "dl"
            | "dt"
            | "fieldset"
            | "figcaption"
            | "figure"
            | "footer"
            | "form"
            | "header"
            | "hr"
            | "html"
            | "legend"
            | "li"
            | "main"
            | "ol"
            | "p"
            | "pre"
            | "section"
            | "summary"
            | "table"
            | "tbody"
            | "tfoot"
            | "thead"
            | "tr"
            | "ul"
    )
}

/// Is it nothing that a reader of the content sees?
fn is_passed_over(element: &Element) -> bool {
    let is_hidden = element.attr("hidden").is_some()
        || element.attr("aria-hidden") == Some("true")
        || element.attr("style").is_some_and(|style| {
            let style: String = style.split_ascii_whitespace().collect();
            style.to_ascii_lowercase().contains("display:none")
        });
    let navigates = element.attr("role").is_some_and(|role| {
        matches!(
            role,
            "navigation" | "search" | "menu" | "menubar" | "toolbar"
        )
    });
    // What the common makers of documentation (DocBook, Sphinx, MediaWiki) call their navigation and anchors.
    let is_furniture = || {
        element.classes().any(|class| {
            matches!(
                class,
                "navheader"
                    | "navfooter"
                    | "headerlink"
                    | "sphinxsidebar"
                    | "mw-editsection"
                    | "mw-jump-link"
                    | "navbox"
                    | "mw-portlet"
                    | "vector-menu"
                    | "vector-toc"
                    | "breadcrumb"
                    | "breadcrumbs"
                    | "noprint"
                    | "sr-only"
                    | "visually-hidden"
            )
        })
    };
    let is_no_text = matches!(
        element.name(),
        "script"
            | "style"
            | "noscript"
            | "template"
            | "head"
            | "nav"
            | "svg"
            | "iframe"
            | "object"
            | "embed"
            | "audio"
            | "video"
            | "canvas"
            | "map"
            | "button"
            | "select"
            | "input"
            | "datalist"
    );
    is_no_text || is_hidden || navigates || is_furniture()
}

/// A table of data, and not one that lays out a page: no table, heading or code in it.
fn is_data(table: ElementRef<'_>) -> bool {
    let layout = selector("table, h1, h2, h3, h4, h5, h6, pre");
    let is_presentation = table.attr("role") == Some("presentation");
    !is_presentation && table.select(&layout).next().is_none()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(html: &str) -> Extracted {
        extract(html.as_bytes()).expect("reads")
    }

    #[test]
    fn what_a_reader_sees_is_the_text() {
        let page = read(
            r#"<!doctype html><html lang="en"><head><title>A  page</title><style>p{}</style>
            <meta name="Author" content="Li Bai"></head><body>
            <nav>Home</nav><div role="navigation">more</div><script>let x;</script>
            <h1>Head<a class="headerlink">¶</a></h1><p>One <b>bold</b>
            word.<br>Next&nbsp;line.</p><p style="display: none">not this</p>
            <ul><li>a<li><p>b</p><p>still b</p><ol><li>c</ol></ul>
            <pre>if x {
    y
}</pre><dl><dt>term<dd>meaning</dl><footer>The end</footer></body>"#,
        );
        let expected = "Head\n\nOne bold word.\nNext\u{a0}line.\n\n- a\n- b\n\nstill b\n\n  - c\n\nif x {\n    y\n}\n\n\
                        term\n\nmeaning\n\nThe end";
        assert_eq!(page.text, expected);
        assert_eq!(page.title.as_deref(), Some("A page"));
        assert_eq!(page.fields["author"], "Li Bai".into());
        assert_eq!(page.fields["language"], "en".into());
        assert_eq!(page.outline.headings_at(10), ["Head"]);
    }

    #[test]
    fn tables_of_data_have_rows_and_tables_of_layout_have_none() {
        let table = read(
            "<table><caption>Poets</caption><thead><tr><th>Name<th>Born</thead><tr><td>Li<br>Bai<td>701<tr><td>Du Fu<td>712</table>",
        );
        assert_eq!(
            table.text,
            "Poets\n\nName | Born\nLi Bai | 701\nDu Fu | 712"
        );
        assert_eq!(table.outline.tables.len(), 1);
        let layout =
            read("<table><tr><td><h2>Left</h2>text<td><table><tr><td>a<td>b</table></table>");
        assert_eq!(layout.text, "Left\n\ntext\n\na | b");
    }

    #[test]
    fn the_main_part_is_read_alone_where_there_is_one() {
        let long = "word ".repeat(60);
        let page = read(&format!(
            "<body>around<main><p>{long}</p></main>around</body>"
        ));
        assert_eq!(page.text, long.trim());
        let page = read("<body>around<main><p>little</p></main></body>");
        assert_eq!(page.text, "around\n\nlittle");
    }

    #[test]
    fn pages_that_nest_deep_are_read() {
        let html = format!("{}deep", "<div><span>".repeat(5_000));
        assert_eq!(read(&html).text, "deep");
    }
}
