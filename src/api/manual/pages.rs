//! Which pages there are. `index.md` is the table of contents: the pages that it lists are the manual,
//! in its order.

use std::sync::LazyLock;

use crate::api::manual::markdown::{self, Section};
use crate::api::pages::text_of;

/// The name of the page that lists the others.
pub const INDEX: &str = "index";
/// Where the manual is served.
pub const BASE: &str = "/docs/manual";

/// One page.
pub struct Page {
    /// The name of its file and in its URL.
    pub name: String,
    pub title: String,
    /// What the table of contents says of it.
    pub about: String,
    pub markdown: String,
    /// Its title, and what stands below each heading.
    pub sections: Vec<Section>,
}

/// Where the page of this name is served.
pub fn url(name: &str) -> String {
    if name == INDEX {
        BASE.to_owned()
    } else {
        format!("{BASE}/{name}")
    }
}

static PAGES: LazyLock<Vec<Page>> = LazyLock::new(|| {
    let index = text_of("manual/index.md").unwrap_or_default();
    let listed = markdown::contents(&index);
    let load = |(name, about): (String, String)| {
        let markdown = text_of(&format!("manual/{name}.md"))?;
        let sections = markdown::sections(&markdown);
        let title = sections.first().map_or(String::new(), |s| s.title.clone());
        Some(Page {
            name,
            title,
            about,
            markdown,
            sections,
        })
    };
    std::iter::once((INDEX.to_owned(), "What is where".to_owned()))
        .chain(listed)
        .filter_map(load)
        .collect()
});

/// All pages, the table of contents first.
pub fn all() -> &'static [Page] {
    &PAGES
}

/// The page of this name.
pub fn find(name: &str) -> Option<&'static Page> {
    all().iter().find(|page| page.name == name)
}
