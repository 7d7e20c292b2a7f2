//! Bodies of every endpoint that takes one: the first byte says which, the rest is sent.
#![no_main]

use libfuzzer_sys::{Corpus, fuzz_target};

const ENDPOINTS: [(&str, &str); 26] = [
    ("POST", "/workspaces"),
    ("PATCH", "/workspaces/$W"),
    ("PUT", "/workspaces/$W/settings"),
    ("PUT", "/workspaces/$W/preview-domain"),
    ("POST", "/projects"),
    ("PATCH", "/projects/$P"),
    ("POST", "/projects/$P/move"),
    ("PUT", "/projects/$P/preview-domain"),
    ("POST", "/computers"),
    ("PATCH", "/computers/$C"),
    ("POST", "/computers/$C/start"),
    ("POST", "/computers/$C/stop"),
    ("POST", "/computers/$C/restart"),
    ("POST", "/computers/$C/resize"),
    ("POST", "/computers/$C/clone"),
    ("POST", "/computers/$C/move"),
    ("PATCH", "/computers/$C/auto-stop"),
    ("POST", "/compute-events"),
    ("POST", "/api-keys"),
    ("POST", "/usage/adjustments"),
    ("POST", "/platform/tenants"),
    ("POST", "/actions/authorize"),
    ("PUT", "/tenant/preview-domain"),
    ("POST", "/webhooks"),
    ("PUT", "/tenants/$T"),
    ("PUT", "/system/log"),
];

fuzz_target!(|input: &[u8]| -> Corpus {
    let Some((&which, body)) = input.split_first() else {
        return Corpus::Reject;
    };
    let (method, path) = ENDPOINTS[usize::from(which) % ENDPOINTS.len()];
    workspaced_fuzz::with_service(|service| {
        let body = match std::str::from_utf8(body) {
            Ok(text) => service.filled(text).into_bytes(),
            Err(_) => body.to_vec(),
        };
        service.send(method, &service.filled(path), "application/json", body);
    });
    Corpus::Keep
});
