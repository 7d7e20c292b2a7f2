//! What somebody sees who cannot be passed on: a page in words, that no computer's code has a part in.

use axum::http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE,
};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};

use super::target::Target;
use crate::error::Error;
use crate::rules::status::Status;

/// A page in place of what a computer would have said.
pub struct Page {
    status: StatusCode,
    title: &'static str,
    text: String,
    retry: Option<u32>,
    /// It is loaded again by itself.
    again: bool,
}

impl Page {
    fn new(status: StatusCode, title: &'static str, text: impl Into<String>) -> Page {
        Page {
            status,
            title,
            text: text.into(),
            retry: None,
            again: false,
        }
    }

    pub fn no_computer(host: &str) -> Page {
        Page::new(
            StatusCode::NOT_FOUND,
            "No computer here",
            format!(
                "No computer has the address {host}. Whoever runs this server and expects its API here names this \
                 address with --public-url."
            ),
        )
    }

    pub fn not_running(target: &Target) -> Page {
        let starting = matches!(target.status, Status::Provisioning | Status::Starting);
        let text = if starting {
            "This computer is starting. This page loads again in a moment."
        } else {
            "This computer does not run. Start it, then load this page again."
        };
        let mut page = Page::new(StatusCode::SERVICE_UNAVAILABLE, "Not running", text);
        page.retry = Some(if starting { 2 } else { 30 });
        page.again = starting;
        page
    }

    /// It was stopped, and is started since somebody asks for it.
    pub fn wakes() -> Page {
        let text = "This computer is starting. This page loads again in a moment.";
        let mut page = Page::new(StatusCode::SERVICE_UNAVAILABLE, "Starting", text);
        page.retry = Some(2);
        page.again = true;
        page
    }

    /// It was stopped, and a limit of whoever has it does not let it start.
    pub fn refused() -> Page {
        let text = "This computer is stopped, and cannot be started now: a limit of its owner is reached. Whoever \
                    it belongs to sees which one. Try again later.";
        let mut page = Page::new(StatusCode::SERVICE_UNAVAILABLE, "Not now", text);
        page.retry = Some(600);
        page
    }

    pub fn private() -> Page {
        Page::new(
            StatusCode::UNAUTHORIZED,
            "Not public",
            "This address is not public. Open it with a link that was made for it, or send an API key of its \
             organization as Authorization: Bearer.",
        )
    }

    pub fn unreachable(target: &Target, why: &str) -> Page {
        Page::new(
            StatusCode::BAD_GATEWAY,
            "Nothing answers",
            format!(
                "Nothing answers at port {} of this computer ({why}). The program has to listen on 0.0.0.0, not only \
                 on 127.0.0.1.",
                target.port
            ),
        )
    }

    pub fn failed(error: &Error) -> Page {
        let mut page = Page::new(error.status(), "Not now", error.message());
        page.retry = error.retry_after();
        page
    }
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
}

impl IntoResponse for Page {
    fn into_response(self) -> Response {
        let html = format!(
            "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><meta name=\"viewport\" \
             content=\"width=device-width\">{}<title>{}</title><h1>{}</h1><p>{}</p></html>\n",
            if self.again {
                "<meta http-equiv=\"refresh\" content=\"2\">"
            } else {
                ""
            },
            self.title,
            self.title,
            escaped(&self.text)
        );
        let mut response = (self.status, html).into_response();
        let headers = response.headers_mut();
        for (name, value) in [
            (CONTENT_TYPE, "text/html; charset=utf-8"),
            (CACHE_CONTROL, "no-store"),
            (CONTENT_SECURITY_POLICY, "default-src 'none'"),
        ] {
            headers.insert(name, HeaderValue::from_static(value));
        }
        if self.status == StatusCode::UNAUTHORIZED {
            headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        if let Some(seconds) = self.retry {
            headers.insert(RETRY_AFTER, HeaderValue::from(seconds));
        }
        response
    }
}
