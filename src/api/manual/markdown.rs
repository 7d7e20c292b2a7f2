//! Reading the pages: what HTML, terminal and search have in common.

use pulldown_cmark::{CowStr, Event, HeadingLevel, Options, Parser, Tag, TagEnd};

/// What stands below one heading, down to the next.
pub struct Section {
    /// 1 for the title of the page.
    pub level: HeadingLevel,
    /// Its place in the page.
    pub id: String,
    pub title: String,
    /// Its words, without marks.
    pub text: String,
}

/// The events of a page. Each heading has an id; HTML of the source is plain text, except that comments
/// are left out.
pub fn events(markdown: &str) -> Vec<Event<'_>> {
    let mut events: Vec<Event<'_>> = Parser::new_ext(markdown, Options::ENABLE_TABLES)
        .filter_map(|event| match event {
            Event::Start(Tag::HtmlBlock) | Event::End(TagEnd::HtmlBlock) => None,
            Event::Html(text) | Event::InlineHtml(text) => {
                let bare = text.trim();
                let comment = bare.starts_with("<!--") && bare.ends_with("-->");
                (!comment).then_some(Event::Text(text))
            }
            other => Some(other),
        })
        .collect();
    let mut taken = Vec::new();
    for n in 0..events.len() {
        if !matches!(events[n], Event::Start(Tag::Heading { .. })) {
            continue;
        }
        let text = plain(
            events[n + 1..]
                .iter()
                .take_while(|event| !matches!(event, Event::End(TagEnd::Heading(_)))),
        );
        let wanted = slug(&text);
        let same = taken.iter().filter(|id| **id == wanted).count();
        taken.push(wanted.clone());
        if let Event::Start(Tag::Heading { id, .. }) = &mut events[n] {
            *id = Some(CowStr::from(match same {
                0 => wanted,
                more => format!("{wanted}-{more}"),
            }));
        }
    }
    events
}

/// The id of a heading: as common viewers of Markdown make it, so that links work there too.
pub fn slug(heading: &str) -> String {
    heading
        .chars()
        .flat_map(char::to_lowercase)
        .filter_map(|c| match c {
            ' ' => Some('-'),
            c if c.is_alphanumeric() || matches!(c, '-' | '_') => Some(c),
            _ => None,
        })
        .collect()
}

/// The words of some events.
pub fn plain<'a>(events: impl Iterator<Item = &'a Event<'a>>) -> String {
    let mut text = String::new();
    for event in events {
        match event {
            Event::Text(part) | Event::Code(part) => text.push_str(part),
            Event::SoftBreak | Event::HardBreak => text.push(' '),
            Event::End(
                TagEnd::Paragraph
                | TagEnd::Item
                | TagEnd::TableCell
                | TagEnd::CodeBlock
                | TagEnd::Heading(_),
            ) => text.push(' '),
            _ => {}
        }
    }
    text
}

/// The sections of a page, its title first.
pub fn sections(markdown: &str) -> Vec<Section> {
    let events = events(markdown);
    let starts: Vec<usize> = (0..events.len())
        .filter(|n| matches!(events[*n], Event::Start(Tag::Heading { .. })))
        .collect();
    let ends = starts.iter().skip(1).copied().chain([events.len()]);
    let section = |(start, end): (usize, usize)| {
        let Event::Start(Tag::Heading { level, id, .. }) = &events[start] else {
            return None;
        };
        let heading = events[start..end]
            .iter()
            .position(|event| matches!(event, Event::End(TagEnd::Heading(_))))?;
        let body = start + heading + 1;
        Some(Section {
            level: *level,
            id: id.as_deref().unwrap_or_default().to_owned(),
            title: plain(events[start..start + heading].iter()),
            text: plain(events[body..end].iter()),
        })
    };
    starts
        .iter()
        .copied()
        .zip(ends)
        .filter_map(section)
        .collect()
}

/// The pages that a table of contents links to, each once, with what it says of them: an item
/// `[Title](name.md): what is in it`.
pub fn contents(index: &str) -> Vec<(String, String)> {
    let mut found: Vec<(String, String)> = Vec::new();
    let events = events(index);
    for (n, event) in events.iter().enumerate() {
        let Event::Start(Tag::Link { dest_url, .. }) = event else {
            continue;
        };
        if !matches!(
            n.checked_sub(1).map(|before| &events[before]),
            Some(Event::Start(Tag::Item))
        ) {
            continue;
        }
        let Some(name) = dest_url.strip_suffix(".md") else {
            continue;
        };
        if found.iter().any(|(known, _)| known == name) {
            continue;
        }
        let rest = events[n..]
            .iter()
            .skip_while(|event| !matches!(event, Event::End(TagEnd::Link)))
            .take_while(|event| !matches!(event, Event::End(TagEnd::Item | TagEnd::Paragraph)));
        let about = plain(rest);
        found.push((
            name.to_owned(),
            about.trim_start_matches([':', ' ']).to_owned(),
        ));
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_those_of_common_viewers_and_each_is_there_once() {
        assert_eq!(
            slug("Who asks: keys, scopes, reach"),
            "who-asks-keys-scopes-reach"
        );
        let ids: Vec<_> = sections("# A b\n## C\nx\n## C\ny `z`")
            .into_iter()
            .map(|s| (s.id, s.text.trim().to_owned()))
            .collect();
        let expected = [("a-b", ""), ("c", "x"), ("c-1", "y z")];
        assert_eq!(
            ids,
            expected.map(|(id, text)| (id.to_owned(), text.to_owned()))
        );
    }

    #[test]
    fn contents_are_read_from_the_list() {
        let index =
            "# M\n- [Op](op.md): how *it*\n  runs\n- [Op again](op.md)\n- [x](https://x.test/)\n";
        assert_eq!(
            contents(index),
            [("op".to_owned(), "how it runs".to_owned())]
        );
    }
}
