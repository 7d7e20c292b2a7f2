//! Reports of external computers: the first byte says in which of the three forms of body. What was
//! taken has to add up, which the service is asked now and then.
#![no_main]

use libfuzzer_sys::{Corpus, fuzz_target};

const FORMS: [&str; 3] = [
    "application/json",
    "application/cloudevents-batch+json",
    "application/cloudevents+json",
];

fuzz_target!(|input: &[u8]| -> Corpus {
    let Some((&which, body)) = input.split_first() else {
        return Corpus::Reject;
    };
    workspaced_fuzz::with_service(|service| {
        let body = match std::str::from_utf8(body) {
            Ok(text) => service.filled(text).into_bytes(),
            Err(_) => body.to_vec(),
        };
        service.send(
            "POST",
            "/compute-events",
            FORMS[usize::from(which) % FORMS.len()],
            body,
        );
    });
    Corpus::Keep
});
