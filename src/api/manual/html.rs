//! The pages as HTML. Everything that is not a tag written here is escaped.

use std::fmt::Write;

use pulldown_cmark::{Alignment, CowStr, Event, HeadingLevel, Tag, TagEnd};

use crate::api::manual::markdown::{self, plain};
use crate::api::manual::pages::{BASE, Page, url};
use crate::api::manual::search::Hit;
use crate::http::nearest;

/// A text, safe in an element and in a quoted attribute.
fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            c => out.push(c),
        }
    }
    out
}

/// One page of the manual.
pub fn page(pages: &[Page], page: &Page) -> String {
    frame(pages, &page.title, Some(page), "", &body(&page.markdown))
}

/// What a search found.
pub fn found(pages: &[Page], asked: &str, hits: &[Hit<'_>]) -> String {
    let mut text = format!("<h1>Search: {}</h1>\n", escape(asked));
    if hits.is_empty() {
        text += "<p>Nothing was found. Every word has to occur in a section, in any order; try fewer words, or a part of one.</p>\n";
    } else {
        text += "<ol class=\"hits\">\n";
        for hit in hits {
            let place = if hit.section.level == HeadingLevel::H1 {
                escape(&hit.page.title)
            } else {
                format!(
                    "{} › {}",
                    escape(&hit.page.title),
                    escape(&hit.section.title)
                )
            };
            let (href, id) = (url(&hit.page.name), escape(&hit.section.id));
            let _ = write!(
                text,
                "<li><a href=\"{}#{id}\">{place}</a><p>",
                escape(&href)
            );
            for (marked, part) in &hit.snippet {
                let part = escape(part);
                text += &if *marked {
                    format!("<mark>{part}</mark>")
                } else {
                    part
                };
            }
            text += "</p></li>\n";
        }
        text += "</ol>\n";
    }
    frame(pages, "Search", None, asked, &text)
}

/// In place of a page that is not there.
pub fn missing(pages: &[Page], name: &str) -> String {
    let names: Vec<String> = pages.iter().map(|page| page.name.clone()).collect();
    let meant = nearest(name, &names).map_or(String::new(), |near| {
        let (href, near) = (escape(&url(&near)), escape(&near));
        format!(" Did you mean <a href=\"{href}\">{near}</a>?")
    });
    let text = format!(
        "<h1>No such page</h1>\n<p>The manual has no page <code>{}</code>.{meant}</p>\n",
        escape(name)
    );
    frame(pages, "No such page", None, "", &text)
}

/// What all pages have around their text.
fn frame(pages: &[Page], title: &str, here: Option<&Page>, asked: &str, main: &str) -> String {
    let mut list = String::new();
    for page in pages {
        let current = here.filter(|here| here.name == page.name);
        let mark = if current.is_some() {
            " aria-current=\"page\""
        } else {
            ""
        };
        let (href, name) = (escape(&url(&page.name)), escape(&page.title));
        let _ = write!(list, "<li><a href=\"{href}\"{mark}>{name}</a>");
        let parts: Vec<_> = current
            .iter()
            .flat_map(|page| &page.sections)
            .filter(|section| section.level == HeadingLevel::H2)
            .collect();
        if !parts.is_empty() {
            list += "<ul>";
            for part in parts {
                let (id, name) = (escape(&part.id), escape(&part.title));
                let _ = write!(list, "<li><a href=\"#{id}\">{name}</a></li>");
            }
            list += "</ul>";
        }
        list += "</li>\n";
    }
    format!(
        r##"<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>{title} · workspaced manual</title>
<link rel="icon" href="/assets/icon.svg" type="image/svg+xml">
<script src="/assets/theme.js"></script>
<link rel="stylesheet" href="/assets/style.css">
<link rel="stylesheet" href="/assets/manual.css">
</head>
<body class="manual">
<a class="skip" href="#main">Skip to the content</a>
<header class="manual-top">
  <a class="brand" href="/admin"><img src="/assets/icon.svg" alt="" width="24" height="24"><span>workspaced</span></a>
  <a class="button small pages-link" href="#pages">Pages</a>
  <a class="button small" href="/docs">API reference</a>
  <form role="search" action="{BASE}"><input type="search" name="q" value="{asked}" maxlength="100" placeholder="Search the manual" aria-label="Search the manual"><button class="button">Search</button></form>
</header>
<nav id="pages" aria-label="Pages of the manual"><ul>
{list}</ul></nav>
<main id="main" tabindex="-1">
{main}</main>
</body>
</html>
"##,
        title = escape(title),
        asked = escape(asked),
    )
}

/// The text of a page.
fn body(markdown: &str) -> String {
    let events = markdown::events(markdown);
    let mut out = Vec::with_capacity(events.len());
    let mut table = Table::default();
    let mut heading = String::new();
    for (n, event) in events.iter().enumerate() {
        match event {
            Event::Start(Tag::Heading { .. }) => {
                heading = plain(
                    events[n..]
                        .iter()
                        .take_while(|event| !matches!(event, Event::End(TagEnd::Heading(_)))),
                );
                out.push(event.clone());
            }
            // As push_html writes it, but reached by the keyboard, since long lines scroll.
            Event::Start(Tag::CodeBlock(_)) => out.push(tag("<pre tabindex=\"0\"><code>")),
            Event::End(TagEnd::CodeBlock) => out.push(tag("</code></pre>\n")),
            Event::Start(Tag::Link {
                link_type,
                dest_url,
                title,
                id,
            }) => out.push(Event::Start(Tag::Link {
                link_type: *link_type,
                dest_url: target(dest_url).into(),
                title: title.clone(),
                id: id.clone(),
            })),
            // Pictures lie beside the source.
            Event::Start(Tag::Image {
                link_type,
                dest_url,
                title,
                id,
            }) => out.push(Event::Start(Tag::Image {
                link_type: *link_type,
                dest_url: format!("/assets/manual/{dest_url}").into(),
                title: title.clone(),
                id: id.clone(),
            })),
            _ => match table.tag(event, events.get(n + 1), &events[n..], &heading) {
                Some(html) => out.push(tag(html)),
                None => out.push(event.clone()),
            },
        }
    }
    let mut html = String::new();
    pulldown_cmark::html::push_html(&mut html, out.into_iter());
    html
}

fn tag<'a>(html: impl Into<CowStr<'a>>) -> Event<'a> {
    Event::Html(html.into())
}

/// Where a link of the source leads: from page to page, within one, to this server, or to another site.
fn target(dest: &str) -> String {
    let (file, id) = dest.split_once('#').unwrap_or((dest, ""));
    let id = if id.is_empty() {
        String::new()
    } else {
        format!("#{id}")
    };
    if let Some(name) = file.strip_suffix(".md") {
        url(name) + &id
    } else if ["/", "#", "https://", "http://"]
        .iter()
        .any(|start| dest.starts_with(start))
    {
        dest.to_owned()
    } else {
        BASE.to_owned()
    }
}

/// Tables, written here: push_html puts alignments into style attributes, which the pages' policy
/// forbids, and on narrow screens each cell shows the name of its column.
#[derive(Default)]
struct Table {
    alignments: Vec<Alignment>,
    columns: Vec<String>,
    column: usize,
    in_head: bool,
    /// The tag that ends the cell.
    closing: &'static str,
}

impl Table {
    /// What stands for an event of a table; `None` for any other.
    fn tag(
        &mut self,
        event: &Event<'_>,
        next: Option<&Event<'_>>,
        rest: &[Event<'_>],
        heading: &str,
    ) -> Option<String> {
        Some(match event {
            Event::Start(Tag::Table(alignments)) => {
                (self.alignments, self.columns) = (alignments.clone(), Vec::new());
                let label = escape(heading);
                format!(
                    "<div class=\"table\" tabindex=\"0\" role=\"group\" aria-label=\"{label}\"><table>"
                )
            }
            Event::End(TagEnd::Table) => "</tbody></table></div>\n".into(),
            Event::Start(Tag::TableHead) => {
                (self.in_head, self.column) = (true, 0);
                "<thead><tr>".into()
            }
            Event::End(TagEnd::TableHead) => {
                self.in_head = false;
                "</tr></thead><tbody>\n".into()
            }
            Event::Start(Tag::TableRow) => {
                self.column = 0;
                "<tr>".into()
            }
            Event::End(TagEnd::TableRow) => "</tr>\n".into(),
            Event::Start(Tag::TableCell) => {
                let empty = matches!(next, Some(Event::End(TagEnd::TableCell)));
                self.cell(empty, rest)
            }
            Event::End(TagEnd::TableCell) => {
                self.column += 1;
                self.closing.into()
            }
            _ => return None,
        })
    }

    fn cell(&mut self, empty: bool, rest: &[Event<'_>]) -> String {
        let class = match self.alignments.get(self.column) {
            Some(Alignment::Right) => " class=\"num\"",
            _ => "",
        };
        if self.in_head {
            let name = plain(
                rest.iter()
                    .take_while(|event| !matches!(event, Event::End(TagEnd::TableCell))),
            );
            self.columns.push(name);
        }
        // A header without a text would announce nothing.
        let (opening, closing) = match (self.in_head, self.column, empty) {
            (true, _, false) => (format!("<th scope=\"col\"{class}>"), "</th>"),
            (false, 0, false) => (format!("<th scope=\"row\"{class}>"), "</th>"),
            (true, ..) | (false, 0, true) => (format!("<td{class}>"), "</td>"),
            (false, column, _) => {
                // Of two columns the second needs no name.
                let label = match self.columns.get(column) {
                    Some(name) if self.columns.len() > 2 => {
                        format!(" data-label=\"{}\"", escape(name))
                    }
                    _ => String::new(),
                };
                (format!("<td{class}{label}><span>"), "</span></td>")
            }
        };
        self.closing = closing;
        opening
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn html_of_the_source_is_text_and_comments_are_left_out() {
        let html = body(
            "a <b onclick=\"x()\">b</b>\n\n<script>alert(1)</script>\n\n<!-- note -->\n\nc `<i>`",
        );
        assert!(!html.contains("<b ") && !html.contains("<script") && !html.contains("note"));
        assert!(html.contains("&lt;script&gt;alert(1)") && html.contains("<code>&lt;i&gt;</code>"));
    }

    #[test]
    fn links_lead_to_pages_and_nowhere_odd() {
        for (dest, expected) in [
            ("metering.md", "/docs/manual/metering"),
            ("metering.md#late", "/docs/manual/metering#late"),
            ("index.md", "/docs/manual"),
            ("#here", "#here"),
            ("/docs", "/docs"),
            ("https://keepachangelog.com/", "https://keepachangelog.com/"),
            ("javascript:alert(1)", "/docs/manual"),
        ] {
            assert_eq!(target(dest), expected);
        }
    }

    #[test]
    fn tables_carry_no_style_and_name_their_columns() {
        let html = body(
            "## T <\n\n| a | n\"n | c |\n|---|--:|---|\n| x | 1 | y |\n| | 2 | |\n\n| d | e |\n|--|--|\n| f | g |\n",
        );
        assert!(!html.contains("style="), "{html}");
        for part in [
            "aria-label=\"T &lt;\"",
            "<th scope=\"col\">a</th><th scope=\"col\" class=\"num\">n",
            "<th scope=\"row\">x</th><td class=\"num\" data-label=\"n&quot;n\"><span>1</span></td>",
            "<tr><td></td><td",
            "<th scope=\"row\">f</th><td><span>g</span></td>",
        ] {
            assert!(html.contains(part), "{part} in {html}");
        }
    }
}
