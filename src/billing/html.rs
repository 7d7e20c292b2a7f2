//! A statement as a page for print: one file, nothing from elsewhere, no script.

use std::fmt::Write;
use std::sync::LazyLock;

use data_encoding::BASE64;
use sha2::{Digest, Sha256};

use super::sheet::{Row, Sheet};
use crate::http::words;

words! {
    /// A size of paper.
    pub enum Paper {
        /// 210 × 297 mm.
        A4 = "a4",
        /// 8.5 × 11 in.
        Letter = "letter",
    }
}

const STYLE: [&str; 2] = [
    concat!("@page{size:A4;margin:16mm}", include_str!("statement.css")),
    concat!(
        "@page{size:letter;margin:0.65in}",
        include_str!("statement.css")
    ),
];

fn style(paper: Paper) -> &'static str {
    match paper {
        Paper::A4 => STYLE[0],
        Paper::Letter => STYLE[1],
    }
}

/// What the browser may do with the page: draw it, with these very styles.
pub fn policy() -> &'static str {
    static POLICY: LazyLock<String> = LazyLock::new(|| {
        let hash = |style: &str| format!("'sha256-{}'", BASE64.encode(&Sha256::digest(style)));
        let hashes = STYLE.map(hash).join(" ");
        format!(
            "default-src 'none'; style-src {hashes}; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
        )
    });
    &POLICY
}

/// Text as HTML shows it.
pub fn text(text: &str) -> String {
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

fn paragraphs(lines: &[String]) -> String {
    lines
        .iter()
        .map(|line| text(line))
        .collect::<Vec<_>>()
        .join("<br>")
}

/// The page.
pub fn page(sheet: &Sheet, paper: Paper) -> String {
    let mut out = format!(
        "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" \
         content=\"width=device-width\"><meta name=\"robots\" content=\"noindex\"><title>{}</title><style>{}</style>\
         </head><body><header><address>{}</address><dl>",
        text(&sheet.title),
        style(paper),
        paragraphs(&sheet.head)
    );
    // Writing into a String cannot fail.
    for (word, fact) in &sheet.facts {
        let _ = write!(out, "<div><dt>{word}</dt><dd>{}</dd></div>", text(fact));
    }
    let _ = write!(
        out,
        "</dl></header><h1>{}</h1><address>{}</address><table><thead><tr>",
        text(&sheet.title),
        paragraphs(&sheet.bill_to)
    );
    for column in &sheet.columns {
        let _ = write!(out, "<th scope=\"col\">{}</th>", text(column));
    }
    out.push_str("</tr></thead><tbody>");
    for row in &sheet.rows {
        match row {
            Row::Group(name) => {
                let _ = write!(
                    out,
                    "<tr><th scope=\"rowgroup\" colspan=\"5\">{}</th></tr>",
                    text(name)
                );
            }
            Row::Line {
                number,
                text: what,
                hours,
                credits,
                amount,
                explain,
            } => {
                let link = explain.as_ref().map_or_else(String::new, |to| {
                    format!(" <a href=\"{}\">explain</a>", text(to))
                });
                let _ = write!(
                    out,
                    "<tr><td>{number}</td><td>{}{link}</td><td>{hours}</td><td>{credits}</td><td>{amount}</td></tr>",
                    text(what)
                );
            }
        }
    }
    out.push_str("</tbody><tfoot>");
    for (word, sum) in &sheet.sums {
        let _ = write!(
            out,
            "<tr><th scope=\"row\" colspan=\"3\">{}</th><td colspan=\"2\">{}</td></tr>",
            text(word),
            text(sum)
        );
    }
    out.push_str("</tfoot></table>");
    if !sheet.foot.is_empty() {
        let _ = write!(out, "<p>{}</p>", paragraphs(&sheet.foot));
    }
    out.push_str("<footer>");
    for note in &sheet.notes {
        let _ = write!(out, "<p>{}</p>", text(note));
    }
    out.push_str("</footer></body></html>\n");
    out
}
