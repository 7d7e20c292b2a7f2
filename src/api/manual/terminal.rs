//! A page as plain text, wrapped to the width of a terminal.

use std::fmt::Write;

use pulldown_cmark::{Event, HeadingLevel, Tag, TagEnd};

use crate::api::manual::markdown::{self, plain};
use crate::api::manual::pages;

/// Between two columns.
const GAP: usize = 2;

/// The page as text, no line of prose longer than `width`. Code is not wrapped.
pub fn print(markdown: &str, width: usize) -> String {
    let mut page = Text {
        out: String::new(),
        width: width.max(40),
        line: String::new(),
        marks: Vec::new(),
        lists: Vec::new(),
    };
    let events = markdown::events(markdown);
    let mut n = 0;
    while n < events.len() {
        n += page.take(&events[n..]);
    }
    page.out.trim_end().to_owned() + "\n"
}

/// Every page with what it is about, one below the other.
pub fn topics(width: usize) -> String {
    let mut out = String::new();
    let pages = pages::all();
    let longest = pages.iter().map(|page| page.name.len()).max().unwrap_or(0);
    let indent = longest + 4;
    for page in pages {
        for (n, line) in wrap(&page.about, width.max(60) - indent).iter().enumerate() {
            let name = if n == 0 { page.name.as_str() } else { "" };
            let _ = writeln!(out, "  {name:longest$}  {line}");
        }
    }
    out
}

struct Text {
    out: String,
    width: usize,
    /// The paragraph so far.
    line: String,
    /// What the next paragraph begins with, and what its other lines do.
    marks: Vec<(String, String)>,
    /// Numbers of the lists around; `None` = without numbers.
    lists: Vec<Option<u64>>,
}

impl Text {
    /// Takes the first event, or all of a heading, table or block of code; returns how many those were.
    fn take(&mut self, events: &[Event<'_>]) -> usize {
        let until = |end: TagEnd| {
            1 + events
                .iter()
                .position(|event| *event == Event::End(end))
                .unwrap_or(events.len() - 1)
        };
        match &events[0] {
            Event::Start(Tag::Heading { level, .. }) => {
                let all = until(TagEnd::Heading(*level));
                self.heading(*level, plain(events[..all].iter()).trim());
                return all;
            }
            Event::Start(Tag::CodeBlock(_)) => {
                let all = until(TagEnd::CodeBlock);
                self.paragraph();
                let indent = self.marks.last().map_or("", |(_, rest)| rest);
                for line in plain(events[..all].iter()).trim_end().lines() {
                    let _ = writeln!(self.out, "{}", format!("{indent}    {line}").trim_end());
                }
                self.blank();
                return all;
            }
            Event::Start(Tag::Table(_)) => {
                let all = until(TagEnd::Table);
                self.paragraph();
                table(&mut self.out, &cells(&events[..all]), self.width);
                self.blank();
                return all;
            }
            Event::Start(Tag::Image { .. }) => {
                // There is nothing to show of it.
                return until(TagEnd::Image);
            }
            Event::Start(Tag::List(first)) => {
                self.paragraph();
                self.lists.push(*first);
            }
            Event::End(TagEnd::List(_)) => {
                self.lists.pop();
                if self.lists.is_empty() {
                    self.blank();
                }
            }
            Event::Start(Tag::Item) => {
                let mark = match self.lists.last_mut() {
                    Some(Some(number)) => {
                        *number += 1;
                        format!("{}. ", *number - 1)
                    }
                    _ => "- ".to_owned(),
                };
                let before = self
                    .marks
                    .last()
                    .map_or("  ".to_owned(), |(_, rest)| rest.clone());
                let rest = format!("{before}{}", " ".repeat(mark.chars().count()));
                self.marks.push((before + &mark, rest));
            }
            Event::End(TagEnd::Item) => {
                self.paragraph();
                self.marks.pop();
            }
            Event::End(TagEnd::Paragraph) => {
                self.paragraph();
                if self.lists.is_empty() {
                    self.blank();
                }
            }
            Event::Text(text) => self.line.push_str(text),
            Event::Code(code) => {
                let _ = write!(self.line, "`{code}`");
            }
            Event::SoftBreak | Event::HardBreak => self.line.push(' '),
            Event::Rule => self.blank(),
            _ => {}
        }
        1
    }

    fn heading(&mut self, level: HeadingLevel, text: &str) {
        let rule = match level {
            HeadingLevel::H1 => "=",
            HeadingLevel::H2 => "-",
            _ => "",
        };
        self.blank();
        let _ = writeln!(self.out, "{text}");
        if !rule.is_empty() {
            let _ = writeln!(self.out, "{}", rule.repeat(text.chars().count()));
        }
        self.blank();
    }

    /// Writes what has come together.
    fn paragraph(&mut self) {
        let text = std::mem::take(&mut self.line);
        if text.trim().is_empty() {
            return;
        }
        let (first, rest) = self.marks.last().cloned().unwrap_or_default();
        let indent = rest.chars().count();
        for (n, line) in wrap(&text, self.width - indent.min(self.width / 2))
            .iter()
            .enumerate()
        {
            let _ = writeln!(self.out, "{}{line}", if n == 0 { &first } else { &rest });
        }
        // A second paragraph of an item does not begin with its mark.
        if let Some((first, rest)) = self.marks.last_mut() {
            first.clone_from(rest);
        }
    }

    fn blank(&mut self) {
        if !self.out.is_empty() && !self.out.ends_with("\n\n") {
            self.out.push('\n');
        }
    }
}

/// Lines of at most `width` characters; only a word that is longer makes a longer one.
fn wrap(text: &str, width: usize) -> Vec<String> {
    let mut lines: Vec<String> = vec![String::new()];
    let mut length = 0;
    for word in text.split_whitespace() {
        let chars = word.chars().count();
        if length > 0 && length + 1 + chars > width {
            lines.push(String::new());
            length = 0;
        }
        if let Some(line) = lines.last_mut() {
            if length > 0 {
                line.push(' ');
                length += 1;
            }
            line.push_str(word);
            length += chars;
        }
    }
    lines
}

/// The texts of a table, the head first.
fn cells(events: &[Event<'_>]) -> Vec<Vec<String>> {
    let mut rows: Vec<Vec<String>> = Vec::new();
    for event in events {
        match event {
            Event::Start(Tag::TableHead | Tag::TableRow) => rows.push(Vec::new()),
            Event::Start(Tag::TableCell) => {
                if let Some(row) = rows.last_mut() {
                    row.push(String::new());
                }
            }
            Event::Text(text) => add(&mut rows, text),
            Event::Code(code) => add(&mut rows, &format!("`{code}`")),
            _ => {}
        }
    }
    rows
}

fn add(rows: &mut [Vec<String>], text: &str) {
    if let Some(cell) = rows.last_mut().and_then(|row| row.last_mut()) {
        cell.push_str(text);
    }
}

fn longest_word(text: &str) -> usize {
    let words = text.split_whitespace();
    words.map(|word| word.chars().count()).max().unwrap_or(0)
}

/// A table in columns; where they are too many, each row as a list of its cells.
fn table(out: &mut String, rows: &[Vec<String>], width: usize) {
    let count = rows.iter().map(Vec::len).max().unwrap_or(0);
    if count == 0 {
        return;
    }
    let widest = |n: usize, width: fn(&str) -> usize| {
        let cells = rows.iter().filter_map(|row| row.get(n));
        cells.map(|cell| width(cell)).max().unwrap_or(0)
    };
    let mut widths: Vec<usize> = (0..count)
        .map(|n| widest(n, |s| s.chars().count()))
        .collect();
    let longest_words: Vec<usize> = (0..count).map(|n| widest(n, longest_word)).collect();
    let room = width.saturating_sub(GAP * (count - 1));
    while widths.iter().sum::<usize>() > room {
        let columns = widths.iter_mut().zip(&longest_words);
        match columns.filter(|(width, least)| **width > **least).max() {
            Some((width, _)) => *width -= 1,
            None => return records(out, rows, width),
        }
    }
    let wrapped: Vec<Vec<Vec<String>>> = rows
        .iter()
        .map(|row| {
            row.iter()
                .zip(&widths)
                .map(|(cell, width)| wrap(cell, *width))
                .collect()
        })
        .collect();
    let height = |row: &Vec<Vec<String>>| row.iter().map(Vec::len).max().unwrap_or(0);
    let apart = wrapped.iter().skip(1).any(|row| height(row) > 1);
    for (n, row) in wrapped.iter().enumerate() {
        for line in 0..height(row) {
            let mut text = String::new();
            for (cell, width) in row.iter().zip(&widths) {
                let part = cell.get(line).map_or("", String::as_str);
                let _ = write!(text, "{part:<width$}{}", " ".repeat(GAP));
            }
            let _ = writeln!(out, "{}", text.trim_end());
        }
        if n == 0 {
            let rules: Vec<_> = widths.iter().map(|width| "-".repeat(*width)).collect();
            let _ = writeln!(out, "{}", rules.join(&" ".repeat(GAP)));
        } else if apart && n + 1 < rows.len() {
            out.push('\n');
        }
    }
}

fn records(out: &mut String, rows: &[Vec<String>], width: usize) {
    let Some((head, rows)) = rows.split_first() else {
        return;
    };
    for row in rows {
        for (n, cell) in row.iter().enumerate().filter(|(_, cell)| !cell.is_empty()) {
            let name = head.get(n).map_or("", String::as_str);
            let text = match (n, name) {
                (0, _) | (_, "") => cell.clone(),
                _ => format!("{name}: {cell}"),
            };
            let indent = if n == 0 { "" } else { "    " };
            for line in wrap(&text, width - indent.len()) {
                let _ = writeln!(out, "{indent}{line}");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::print;

    #[test]
    fn prose_lists_code_and_tables() {
        let page = "# Title\n\nSome words that are longer than one line of forty characters.\n\n- one [link](x.md) and\n  more\n  - two\n\n1. first\n\n```sh\nworkspaced   help\n```\n\n| a | b |\n|---|---|\n| x | some words that are longer than one line |\n";
        let expected = "\
Title
=====

Some words that are longer than one line
of forty characters.

  - one link and more
    - two

  1. first

    workspaced   help

a  b
-  -------------------------------------
x  some words that are longer than one
   line
";
        assert_eq!(print(page, 40), expected);
    }

    #[test]
    fn a_table_of_many_columns_becomes_lists() {
        let page = "| name | b | c | d |\n|---|---|---|---|\n| thing | twelve-chars | twelve-chars | twelve-chars |\n";
        let text = print(page, 40);
        assert_eq!(
            text,
            "thing\n    b: twelve-chars\n    c: twelve-chars\n    d: twelve-chars\n"
        );
    }

    #[test]
    fn no_line_of_prose_is_longer_than_the_terminal() {
        for page in crate::api::manual::pages::all() {
            for line in print(&page.markdown, 72).lines() {
                let code = line.starts_with("    ") || line.starts_with('-');
                assert!(line.chars().count() <= 72 || code, "{}: {line}", page.name);
            }
        }
    }
}
