//! The first lines that a service prints.

use std::io::Write;
use std::path::Path;

use crate::access::key::DEV_KEY;
use crate::rules::config::ServeArgs;
use crate::rules::hosted::BASE;
use crate::rules::listen::{Bound, Listen};
use crate::rules::public_url::PublicUrl;

/// Where things are, for the person who started it.
pub(super) struct Welcome {
    api: String,
    /// Where the admin page is.
    pub(super) pages: String,
    listening: Vec<String>,
    data_dir: String,
    /// The first key was known before the first start.
    chosen: bool,
}

impl Welcome {
    /// Of what is listened on. Says so where keys would travel unencrypted between machines.
    pub(super) fn new(
        args: &ServeArgs,
        listeners: &[Bound],
        admin: Option<&Bound>,
        chosen: bool,
    ) -> Self {
        let public = args.public_url.as_ref();
        let api = public.map(PublicUrl::base);
        let api = api
            .or_else(|| listeners.first().map(Bound::usable_url))
            .unwrap_or_default();
        let pages = admin.map_or_else(|| api.clone(), Bound::usable_url);
        let open = args.listen.iter().chain(&args.admin_listen);
        let covered = !args.trusted_proxies.is_empty() || public.is_some_and(PublicUrl::is_https);
        if !covered && !open.clone().all(Listen::is_loopback) {
            let at = open.filter(|at| !at.is_loopback()).map(ToString::to_string);
            tracing::warn!(
                listen = at.collect::<Vec<_>>().join(", "),
                "other machines reach this by plain HTTP: keys travel unencrypted; put a proxy with TLS in front, and name \
                 it with --trusted-proxy (workspaced help recipes)"
            );
        }
        Welcome {
            api,
            pages,
            listening: listeners.iter().map(Bound::url).collect(),
            data_dir: shell_word(&args.data.data_dir),
            chosen,
        }
    }

    /// What the person who started it needs; the last line tells programs that it is ready. Nobody needs to
    /// read it: the service goes on where standard output is closed.
    pub(super) fn print(&self, key: Option<&str>) {
        let Welcome { api, pages, .. } = self;
        let version = env!("CARGO_PKG_VERSION");
        let new_key = format!(
            "workspaced keys create --name NAME --operator --data-dir {}",
            self.data_dir
        );
        let text = match key {
            Some(key) => {
                let note = if key == DEV_KEY {
                    "development mode: everybody knows this key"
                } else {
                    "the key is shown this once"
                };
                let lost = if key == DEV_KEY {
                    String::new()
                } else {
                    format!("  Another key, where this one is lost:\n  {new_key}\n\n")
                };
                format!(
                    "workspaced {version} ({note})\n\n  API         {api}{BASE}\n  Admin page  {pages}/admin\n  \
                     API docs    {api}/docs\n\n  export MIOSA_BASE_URL={api}{BASE}\n  export MIOSA_API_KEY={key}\n\n{lost}"
                )
            }
            None => {
                let note = if self.chosen {
                    "  The first key is the one that was chosen (WORKSPACED_BOOTSTRAP_KEY); it counts at the first start only\n"
                } else {
                    ""
                };
                format!(
                    "workspaced {version}\n\n  Admin page  {pages}/admin\n  A new key   {new_key}\n{note}\n"
                )
            }
        };
        let (first, others) = self.listening.split_first().unzip();
        let also: String = others
            .unwrap_or_default()
            .iter()
            .map(|url| format!("also on {url}\n"))
            .collect();
        let first = first.map_or("", String::as_str);
        let text = format!("{text}{also}listening on {first}\n");
        let _ = std::io::stdout().write_all(text.as_bytes());
    }
}

/// A path as a shell takes it.
fn shell_word(path: &Path) -> String {
    let text = path.display().to_string();
    let plain = |c: char| c.is_alphanumeric() || "/._-+=:@%".contains(c);
    if !text.is_empty() && text.chars().all(plain) {
        text
    } else {
        format!("'{}'", text.replace('\'', "'\\''"))
    }
}
