//! Names, slugs and other texts that callers choose: what is allowed, and what is derived.

use unicode_normalization::UnicodeNormalization;

use crate::error::{Fields, Result};
use crate::json::Patch;
use crate::store::Tx;

/// Longest name, in characters.
pub const MAX_NAME: usize = 120;
/// Longest slug: one character and up to 79 more.
pub const MAX_SLUG: usize = 80;
/// Longest description, in characters.
pub const MAX_DESCRIPTION: usize = 2000;
/// Longest external id, in characters.
pub const MAX_EXTERNAL_ID: usize = 255;
/// Largest metadata, serialized, in bytes.
pub const MAX_METADATA: usize = 16 * 1024;
/// Deepest metadata, levels.
pub const MAX_DEPTH: usize = 32;
/// The text for a slug that does not fit its pattern.
pub const BAD_SLUG: &str = "must start with alphanumeric and contain only a-z 0-9 -";

/// "1 computer", "3 computers": of a number, or of one that is written already.
pub fn count(n: impl std::fmt::Display, one: &str) -> String {
    let n = n.to_string();
    let s = if n == "1" { "" } else { "s" };
    format!("{n} {one}{s}")
}

/// A name, trimmed; `None` and blank are the same mistake.
pub fn name(fields: &mut Fields, field: &'static str, value: Option<&str>) -> String {
    let value = value.unwrap_or("").trim();
    if value.is_empty() {
        fields.push(field, "can't be blank");
    } else if value.chars().count() > MAX_NAME {
        fields.push(field, format!("should be at most {MAX_NAME} character(s)"));
    } else if let Some(why) = unseen(value, false) {
        fields.push(field, why);
    }
    value.to_owned()
}

/// Why a text may not be shown to people: it holds what nobody can see, and what may turn around or hide
/// what stands beside it. Joiners and marks that writing itself needs are no such characters.
fn unseen(value: &str, lines: bool) -> Option<String> {
    let bad = value.chars().find(|c| match *c {
        '\n' | '\r' | '\t' => !lines,
        c => c.is_control() || is_invisible(c),
    })?;
    Some(if bad.is_control() {
        "must not contain control characters".to_owned()
    } else {
        format!(
            "must not contain the invisible character U+{:04X}",
            u32::from(bad)
        )
    })
}

/// A text of others as a terminal may show it: what would move its cursor, turn it around or break the line
/// is written out. Rows from before such texts were refused have them still.
pub fn printable(value: &str) -> String {
    let mut shown = String::with_capacity(value.len());
    for c in value.chars() {
        if c.is_control() || is_invisible(c) {
            shown.extend(c.escape_default());
        } else {
            shown.push(c);
        }
    }
    shown
}

/// Characters without a shape that no writing needs: overrides and isolates of direction, separators of
/// lines, the zero width space and no-break space, tags, and what is no character at all.
fn is_invisible(c: char) -> bool {
    matches!(c,
        '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{2028}' | '\u{2029}' | '\u{200b}' | '\u{2060}'
        | '\u{feff}' | '\u{fdd0}'..='\u{fdef}' | '\u{e0000}'..='\u{e007f}')
        || u32::from(c) & 0xfffe == 0xfffe
}

/// From this likeness on, 0 to 1, another name is probably what was meant.
const MIN_SIMILARITY: f64 = 0.8;
/// Characters of a name that are compared.
const MAX_COMPARED: usize = 64;

/// The name that was probably meant.
pub fn nearest<T: AsRef<str>>(name: &str, known: impl IntoIterator<Item = T>) -> Option<String> {
    let name: String = name.chars().take(MAX_COMPARED).collect();
    known
        .into_iter()
        .map(|other| (strsim::jaro_winkler(&name, other.as_ref()), other))
        .filter(|(alike, _)| *alike >= MIN_SIMILARITY)
        .max_by(|(one, _), (other, _)| one.total_cmp(other))
        .map(|(_, other)| other.as_ref().to_owned())
}

/// Checks a slug against the pattern `[a-z0-9][a-z0-9-]{0,79}`.
pub fn slug(fields: &mut Fields, field: &'static str, value: &str) {
    if !is_slug(value) {
        fields.push(field, BAD_SLUG);
    }
}

/// Whether a text is a slug.
pub fn is_slug(value: &str) -> bool {
    let fits = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let mut bytes = value.bytes();
    value.len() <= MAX_SLUG && bytes.next().is_some_and(fits) && bytes.all(|b| fits(b) || b == b'-')
}

/// The slug of a name: in Latin letters without accents, lower case, everything else one dash.
/// `fallback` where nothing is left.
pub fn slugify(name: &str, fallback: &str) -> String {
    let mut slug = String::new();
    for c in name.nfc().flat_map(latin) {
        if c.is_ascii_alphanumeric() {
            slug.push(c.to_ascii_lowercase());
        } else if !slug.ends_with('-') {
            slug.push('-');
        }
    }
    let mut slug = slug.trim_matches('-').to_owned();
    slug.truncate(MAX_SLUG);
    let slug = slug.trim_end_matches('-');
    if slug.is_empty() {
        fallback.to_owned()
    } else {
        slug.to_owned()
    }
}

/// A character in ASCII: without its accents, or as its sound is written in Latin letters.
fn latin(c: char) -> Vec<char> {
    let plain: Vec<char> = std::iter::once(c)
        .nfkd()
        .filter(|c| !unicode_normalization::char::is_combining_mark(*c))
        .collect();
    if plain.iter().all(char::is_ascii) {
        return plain;
    }
    deunicode::deunicode_char(c)
        .unwrap_or("-")
        .chars()
        .collect()
}

/// `slug` with `-suffix`, cut so that both fit.
pub fn with_suffix(slug: &str, suffix: &str) -> String {
    let room = MAX_SLUG.saturating_sub(suffix.len() + 1).min(slug.len());
    format!("{}-{suffix}", slug[..room].trim_end_matches('-'))
}

/// Checks an optional text against a length, and against control characters other than line breaks.
pub fn limited(
    fields: &mut Fields,
    field: &'static str,
    value: Option<&str>,
    min: usize,
    max: usize,
) {
    let Some(value) = value else { return };
    let length = value.chars().count();
    if length < min || length > max {
        fields.push(field, format!("should be {min} to {max} character(s)"));
    } else if let Some(why) = unseen(value, true) {
        fields.push(field, why);
    }
}

/// Name and slug of a PATCH: what is given is checked, `null` is refused. Returns the name that holds.
pub fn renamed(
    fields: &mut Fields,
    before: &str,
    name_given: &Patch<String>,
    slug_given: &Patch<String>,
) -> String {
    let holds = match name_given {
        Patch::Absent => before.to_owned(),
        given => name(fields, "name", given.value().map(String::as_str)),
    };
    match slug_given {
        Patch::Absent => {}
        Patch::Null => fields.push("slug", "can't be blank"),
        Patch::Set(given) => slug(fields, "slug", given),
    }
    holds
}

/// Checks a description.
pub fn description(fields: &mut Fields, value: Option<&str>) {
    limited(fields, "description", value, 0, MAX_DESCRIPTION);
}

/// Checks an id of the caller's.
pub fn external_id(fields: &mut Fields, field: &'static str, value: Option<&str>) {
    limited(fields, field, value, 1, MAX_EXTERNAL_ID);
    if value.is_some_and(|value| value.contains(['\n', '\r', '\t'])) {
        fields.push(field, "must not contain control characters");
    }
}

/// How deep JSON is nested: 1 for an object that holds no other.
fn depth(json: &str) -> usize {
    let (mut depth, mut deepest, mut text, mut escaped) = (0_usize, 0, false, false);
    for byte in json.bytes() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if text => escaped = true,
            b'"' => text = !text,
            _ if text => {}
            b'{' | b'[' => {
                depth += 1;
                deepest = deepest.max(depth);
            }
            b'}' | b']' => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    deepest
}

/// Checks the size of metadata, and how deep it is: what is taken here is carried on in replies, in the
/// audit log, in exports, in messages to webhooks, and has to be read there.
pub fn metadata(fields: &mut Fields, field: &'static str, value: Option<&crate::json::Object>) {
    if value.is_some_and(|v| v.text().len() > MAX_METADATA) {
        fields.push(
            field,
            format!("should be at most {MAX_METADATA} bytes of JSON"),
        );
    }
    if value.is_some_and(|v| depth(v.text()) > MAX_DEPTH) {
        fields.push(
            field,
            format!("should be nested at most {MAX_DEPTH} levels deep"),
        );
    }
}

/// The first of `slug`, `slug-2`, `slug-3`, ... that no live row of `scope` has. Looks at about
/// log n of them, so that a thousand of one name do not cost a thousand look-ups.
pub fn free_slug(
    tx: &Tx<'_>,
    slug: &str,
    taken: impl Fn(&Tx<'_>, &str) -> Result<bool>,
) -> Result<String> {
    if !taken(tx, slug)? {
        return Ok(slug.to_owned());
    }
    let nth = |n: u64| with_suffix(slug, &n.to_string());
    let (mut low, mut high) = (1, 2);
    while taken(tx, &nth(high))? {
        (low, high) = (high, high * 2);
    }
    while high - low > 1 {
        let middle = low + (high - low) / 2;
        if taken(tx, &nth(middle))? {
            low = middle
        } else {
            high = middle
        }
    }
    Ok(nth(high))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slugs_of_names() {
        for (name, expected) in [
            ("Dr. Smith Clinic", "dr-smith-clinic"),
            ("Lead Magnet", "lead-magnet"),
            ("my-computer", "my-computer"),
            ("  Ångström & Söhne!  ", "angstrom-sohne"),
            ("日本", "ri-ben"),
            ("東京", "dong-jing"),
            ("Клиника №5", "klinika-no5"),
            ("עיר", "yr"),
            ("한국", "hangug"),
            ("Straße Søren", "strasse-soren"),
            ("\u{e000}", "workspace"),
            ("--", "workspace"),
            ("ﬁve", "five"),
        ] {
            assert_eq!(slugify(name, "workspace"), expected);
        }
        assert_eq!(slugify(&"a".repeat(200), "x").len(), 80);
        let cut = slugify(&format!("{} b", "a".repeat(79)), "x");
        assert_eq!(cut, "a".repeat(79));
    }

    #[test]
    fn what_nobody_can_see_is_told_from_what_writing_needs() {
        for (text, lines, fits) in [
            ("Dr. Müller 👩\u{200d}⚕\u{fe0f}", false, true),
            ("عيادة\u{200f}ـ", false, true),
            ("\u{200c}نم", false, true),
            ("a\nb", false, false),
            ("a\nb\tc\r\n", true, true),
            ("a\u{1b}[2J", true, false),
            ("a\u{85}b", true, false),
            ("a\u{202e}b", true, false),
            ("a\u{2066}b", true, false),
            ("a\u{2028}b", true, false),
            ("a\u{200b}b", true, false),
            ("a\u{feff}b", true, false),
            ("a\u{e0041}b", true, false),
            ("a\u{ffff}b", true, false),
            ("a\u{10fffe}b", true, false),
            ("a\u{fdd0}b", true, false),
        ] {
            assert_eq!(unseen(text, lines).is_none(), fits, "{text:?}");
        }
    }

    #[test]
    fn a_terminal_is_shown_what_it_cannot_act_on() {
        let shown = printable("a\u{1b}[2J\nforged\t\u{202e}Ärger 👩");
        assert_eq!(shown, "a\\u{1b}[2J\\nforged\\t\\u{202e}Ärger 👩");
    }

    #[test]
    fn depth_counts_levels_and_not_what_stands_in_texts() {
        for (json, levels) in [
            ("{}", 1),
            (r#"{"a":[{"b":1},[]]}"#, 3),
            (r#"{"a":"{[{["}"#, 1),
            (r#"{"a\"{":"\\","b":[]}"#, 2),
        ] {
            assert_eq!(depth(json), levels, "{json}");
        }
    }

    #[test]
    fn every_derived_slug_is_a_slug() {
        proptest::proptest!(|(name in "\\PC{0,130}", suffix in "[a-z0-9]{1,12}")| {
            let slug = slugify(&name, "workspace");
            assert!(is_slug(&slug), "{name:?} -> {slug:?}");
            assert!(is_slug(&with_suffix(&slug, &suffix)));
        });
    }

    #[test]
    fn the_pattern_of_the_api_page() {
        for good in ["a", "0", "a-b", "a-", &"a".repeat(80)] {
            assert!(is_slug(good), "{good}");
        }
        for bad in ["", "-a", "A", "a_b", "a b", "ä", &"a".repeat(81)] {
            assert!(!is_slug(bad), "{bad}");
        }
    }
}
