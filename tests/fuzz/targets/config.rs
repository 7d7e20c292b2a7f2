//! The configuration file: refused with a reason, or with limits that make sense.
#![no_main]

use libfuzzer_sys::fuzz_target;
use workspaced::testing::ConfigFile;

fuzz_target!(|input: &str| {
    match ConfigFile::parse(input) {
        Ok(file) => {
            for limits in [&file.limits, &file.limits_of("acme")] {
                assert!(limits.max_workspaces.is_none_or(|n| n >= 0));
            }
        }
        Err(reason) => assert!(!reason.is_empty()),
    }
});
