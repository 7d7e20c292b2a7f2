//! Pages of lists: the first byte says which list, the rest is a cursor, and a whole query string.
#![no_main]

use libfuzzer_sys::{Corpus, fuzz_target};

const LISTS: [&str; 12] = [
    "/workspaces",
    "/projects",
    "/computers",
    "/api-keys",
    "/audit-log",
    "/webhooks",
    "/usage/sessions",
    "/credits/transactions",
    "/workspaces/$W/computers",
    "/workspaces/$W/projects",
    "/computers/$C/events",
    "/platform/tenants",
];

fuzz_target!(|input: &[u8]| -> Corpus {
    let Some((&which, rest)) = input.split_first() else {
        return Corpus::Reject;
    };
    let Ok(text) = std::str::from_utf8(rest) else {
        return Corpus::Reject;
    };
    workspaced_fuzz::with_service(|service| {
        let list = service.filled(LISTS[usize::from(which) % LISTS.len()]);
        let get = |query: &str| {
            service.send(
                "GET",
                &format!("{list}?{query}"),
                "application/json",
                Vec::new(),
            )
        };
        get(&workspaced_fuzz::query(&[("cursor", text)]));
        get(&service.filled(text));
    });
    Corpus::Keep
});
