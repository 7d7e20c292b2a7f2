//! Addresses of webhooks: none that leads into this machine or its networks.
#![no_main]

use std::net::IpAddr;

use libfuzzer_sys::fuzz_target;
use serde_json::json;
use workspaced::testing::WebhookReach;
use workspaced::testing::target::{check, may_reach};

fuzz_target!(|input: &str| {
    if let Ok(uri) = check(input, WebhookReach::Public) {
        let host = uri.host().unwrap().trim_matches(['[', ']']);
        assert!(!host.is_empty() && host != "localhost", "{uri}");
        if let Ok(ip) = host.parse::<IpAddr>() {
            let tls = uri.scheme_str() == Some("https");
            assert!(may_reach(ip, WebhookReach::Public, tls), "{uri}");
        }
    }
    workspaced_fuzz::with_service(|service| {
        let body = json!({ "url": input, "event_types": ["*"] })
            .to_string()
            .into_bytes();
        service.send("POST", "/webhooks", "application/json", body);
    });
});
