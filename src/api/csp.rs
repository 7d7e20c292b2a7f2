//! What pages of ours may load.

/// Everything comes from here, and nothing can put a page of ours into one of theirs.
pub const CSP: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; \
    img-src 'self' data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";
