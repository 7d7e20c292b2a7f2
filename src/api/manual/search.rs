//! The search: sections that have every word, or a longer one that begins with it, best first; where
//! there is none, sections that have it anywhere. A manual of this size is looked through in about a
//! millisecond, so there is no index.

use pulldown_cmark::HeadingLevel;

use crate::api::manual::markdown::Section;
use crate::api::manual::pages::{INDEX, Page};

/// Words of a question that count.
const WORDS: usize = 8;
/// Sections of an answer.
const HITS: usize = 30;
/// Characters of a text that are shown.
const SNIPPET: usize = 220;
/// Of these, before the first word.
const BEFORE: usize = 60;

/// A section that was found.
pub struct Hit<'a> {
    pub page: &'a Page,
    pub section: &'a Section,
    /// A part of its text; true are the words that were asked for.
    pub snippet: Vec<(bool, String)>,
}

/// One lower-case character for each, so that places are the same in both.
fn lower(text: &str) -> Vec<char> {
    text.chars()
        .map(|c| c.to_lowercase().next().unwrap_or(c))
        .collect()
}

/// Where `word` is in `text`: only at the beginning of words, or anywhere.
fn places<'a>(
    text: &'a [char],
    word: &'a [char],
    inside: bool,
) -> impl Iterator<Item = usize> + 'a {
    let begins = move |n: usize| inside || n == 0 || !text[n - 1].is_alphanumeric();
    text.windows(word.len())
        .enumerate()
        .filter(move |(n, window)| *window == word && begins(*n))
        .map(|(n, _)| n)
}

/// What `asked` finds.
pub fn find<'a>(pages: &'a [Page], asked: &str) -> Vec<Hit<'a>> {
    let words: Vec<Vec<char>> = asked.split_whitespace().take(WORDS).map(lower).collect();
    if words.is_empty() {
        return Vec::new();
    }
    let found = look(pages, &words, false);
    if found.is_empty() {
        look(pages, &words, true)
    } else {
        found
    }
}

fn look<'a>(pages: &'a [Page], words: &[Vec<char>], inside: bool) -> Vec<Hit<'a>> {
    let mut found = Vec::new();
    for page in pages {
        let page_title = lower(&page.title);
        for section in &page.sections {
            let (title, text) = (lower(&section.title), lower(&section.text));
            let worth: Option<usize> = words
                .iter()
                .map(|word| {
                    let in_text = places(&text, word, inside).take(5).count();
                    let in_title = places(&title, word, inside).next().map_or(0, |_| 20);
                    let in_page = places(&page_title, word, inside).next().map_or(0, |_| 5);
                    Some(in_text + in_title + in_page).filter(|worth| *worth > 0)
                })
                .sum();
            // The list of all pages names everything, and answers nothing.
            let worth = worth.map(|worth| {
                if page.name == INDEX {
                    1
                } else {
                    worth + usize::from(section.level == HeadingLevel::H1)
                }
            });
            if let Some(worth) = worth {
                found.push((worth, page, section, text));
            }
        }
    }
    // Stable: of equal worth, in the order of the manual.
    found.sort_by_key(|(worth, ..)| std::cmp::Reverse(*worth));
    found
        .into_iter()
        .take(HITS)
        .map(|(_, page, section, text)| Hit {
            page,
            section,
            snippet: snippet(&section.text, &text, words, inside),
        })
        .collect()
}

/// The text around the first word, with all words marked.
fn snippet(text: &str, lower: &[char], words: &[Vec<char>], inside: bool) -> Vec<(bool, String)> {
    let chars: Vec<char> = text.chars().collect();
    let mut marked = vec![false; chars.len()];
    for word in words {
        for place in places(lower, word, inside) {
            marked[place..place + word.len()].fill(true);
        }
    }
    let first = marked.iter().position(|m| *m).unwrap_or(0);
    let mut start = first.saturating_sub(BEFORE);
    // From the beginning of a word.
    while start > 0 && start < first && !chars[start - 1].is_whitespace() {
        start += 1;
    }
    let end = (start + SNIPPET).min(chars.len());
    let mut parts: Vec<(bool, String)> = Vec::new();
    if start > 0 {
        parts.push((false, "… ".into()));
    }
    for n in start..end {
        let c = if chars[n].is_whitespace() {
            ' '
        } else {
            chars[n]
        };
        match parts.last_mut() {
            Some((mark, part)) if *mark == marked[n] => part.push(c),
            _ => parts.push((marked[n], c.into())),
        }
    }
    if end < chars.len() {
        parts.push((false, " …".into()));
    }
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_marked_whatever_their_case_and_script() {
        let text = "Über DNS und dns";
        let words = [lower("dns"), lower("über")];
        let parts = snippet(text, &lower(text), &words, false);
        let parts: Vec<_> = parts.iter().map(|(m, t)| (*m, t.as_str())).collect();
        assert_eq!(
            parts,
            [
                (true, "Über"),
                (false, " "),
                (true, "DNS"),
                (false, " und "),
                (true, "dns")
            ]
        );
    }

    proptest::proptest! {
        #![proptest_config(proptest::test_runner::Config::with_cases(32))]

        #[test]
        fn any_question_is_answered(asked in "\\PC{0,40}", text in "\\PC{0,400}", inside: bool) {
            let words: Vec<_> = asked.split_whitespace().map(lower).collect();
            let shown: String = snippet(&text, &lower(&text), &words, inside).into_iter().map(|(_, t)| t).collect();
            assert!(shown.chars().count() <= SNIPPET + 4);
            find(crate::api::manual::pages::all(), &asked);
        }
    }
}
