//! Names, slugs and other texts that callers choose: what is allowed, and what is derived.

use crate::error::Result;
use crate::store::Tx;
use unicode_normalization::UnicodeNormalization;

use crate::error::Fields;
use crate::json::Patch;

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
/// The text for a slug that does not fit its pattern.
pub const BAD_SLUG: &str = "must start with alphanumeric and contain only a-z 0-9 -";

/// A name, trimmed; `None` and blank are the same mistake.
pub fn name(fields: &mut Fields, field: &'static str, value: Option<&str>) -> String {
    let value = value.unwrap_or("").trim();
    if value.is_empty() {
        fields.push(field, "can't be blank");
    } else if value.chars().count() > MAX_NAME {
        fields.push(field, format!("should be at most {MAX_NAME} character(s)"));
    } else if value.chars().any(char::is_control) {
        fields.push(field, "must not contain control characters");
    }
    value.to_owned()
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

/// The slug of a name: accents off, lower case, everything else one dash.
/// `fallback` where nothing is left.
pub fn slugify(name: &str, fallback: &str) -> String {
    let mut slug = String::new();
    for c in name
        .nfkd()
        .filter(|c| !unicode_normalization::char::is_combining_mark(*c))
        .flat_map(char::to_lowercase)
    {
        if c.is_ascii_alphanumeric() {
            slug.push(c);
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
    } else if value
        .chars()
        .any(|c| c.is_control() && !matches!(c, '\n' | '\r' | '\t'))
    {
        fields.push(field, "must not contain control characters");
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
}

/// Checks the size of metadata.
pub fn metadata(fields: &mut Fields, field: &'static str, value: Option<&crate::json::Object>) {
    if value.is_some_and(|v| v.text().len() > MAX_METADATA) {
        fields.push(
            field,
            format!("should be at most {MAX_METADATA} bytes of JSON"),
        );
    }
}

/// The first of `slug`, `slug-2`, `slug-3`, ... that no live row of `scope` has. Looks at about
/// log n of them, so that a thousand of one name do not cost a thousand look-ups.
///
/// # Errors
/// When the store fails.
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
            ("日本", "workspace"),
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
