//! Host names: their normal form, and the preview domains that the service takes.
#![no_main]

use libfuzzer_sys::fuzz_target;
use serde_json::json;
use workspaced::testing::normalize_host;

fuzz_target!(|input: &str| {
    if let Ok(host) = normalize_host(input) {
        assert!(host.is_ascii() && host.len() <= 253, "{host:?}");
        assert_eq!(host, host.to_ascii_lowercase());
        assert_eq!(normalize_host(&host), Ok(host.clone()));
    }
    workspaced_fuzz::with_service(|service| {
        let path = service.filled("/workspaces/$W/preview-domain");
        let body = json!({ "domain": input }).to_string().into_bytes();
        service.send("PUT", &path, "application/json", body);
    });
});
