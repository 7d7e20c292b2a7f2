//! Workspace capsules. Lines of JSON; `$N` stands for eight digits that no other input has, so that
//! ids are new and an import can succeed. The checksum is put right, or hardly anything would be read
//! any further.
#![no_main]

use std::sync::atomic::{AtomicU32, Ordering};

use libfuzzer_sys::fuzz_target;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

static NEXT: AtomicU32 = AtomicU32::new(1);

/// The file with the checksum that belongs in its last line, where that is one.
fn summed(text: &str) -> Option<String> {
    let start = text.trim_end_matches('\n').rfind('\n')? + 1;
    let (before, last) = text.split_at(start);
    let mut last: Value = serde_json::from_str(last).ok()?;
    let sum: String = Sha256::digest(before)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    *last.get_mut("end")?.get_mut("sha256")? = json!(sum);
    Some(format!("{before}{last}\n"))
}

fuzz_target!(|input: &[u8]| {
    let body = match std::str::from_utf8(input) {
        Ok(text) => {
            let number = NEXT.fetch_add(1, Ordering::Relaxed);
            let text = text.replace("$N", &format!("{number:08x}"));
            summed(&text).unwrap_or(text).into_bytes()
        }
        Err(_) => input.to_vec(),
    };
    workspaced_fuzz::with_service(|service| {
        let path = "/workspaces/import?keep_running=true&rename_computers=true";
        service.send("POST", path, "application/x-ndjson", body);
    });
});
