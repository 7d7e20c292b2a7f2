//! What a customer sees under a share link: one page, nothing from elsewhere, no script.

use std::fmt::Write;

use axum::http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HeaderName, REFERRER_POLICY,
};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use data_encoding::BASE64;
use sha2::{Digest, Sha256};

use super::links::Part;
use crate::billing::document::{Summary, credits};
use crate::billing::html::text;
use crate::clock::Timestamp;
use crate::domains::DomainStatus;
use crate::rules::config::Brand;
use crate::rules::text::count;
use crate::usage::questions::types::Series;

const STYLE: &str = include_str!("share.css");
const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];

/// What the page shows.
pub struct Shared {
    /// Who sends it, where no brand is configured.
    pub organization: String,
    pub workspace: String,
    pub shows: Vec<Part>,
    pub expires_at: Timestamp,
    pub usage: Option<Usage>,
    pub statements: Vec<Summary>,
    pub domain: Option<DomainStatus>,
}

/// A month, day by day.
pub struct Usage {
    /// Such as 2026-10.
    pub period: String,
    pub series: Series,
    /// The credits of the month before, in micro-credits: up to the same day where this one is not over.
    pub before_micros: i64,
    /// The months before and after, where there is something to see.
    pub previous: Option<String>,
    pub next: Option<String>,
}

/// `2026-10` in words.
fn month(period: &str) -> String {
    let (year, month) = period.split_once('-').unwrap_or((period, ""));
    let name = month
        .parse::<usize>()
        .ok()
        .and_then(|n| MONTHS.get(n.wrapping_sub(1)));
    name.map_or_else(|| period.to_owned(), |name| format!("{name} {year}"))
}

/// Credits with two decimals and spaces between thousands.
fn amount(micros: i64) -> String {
    let exact = credits(micros);
    let (whole, part) = exact.split_once('.').unwrap_or((&exact, ""));
    let (sign, digits) = whole.strip_prefix('-').map_or(("", whole), |d| ("-", d));
    let mut grouped = String::new();
    for (n, digit) in digits.chars().enumerate() {
        if n > 0 && (digits.len() - n) % 3 == 0 {
            grouped.push('\u{202f}');
        }
        grouped.push(digit);
    }
    format!("{sign}{grouped}.{:0<2}", &part[..part.len().min(2)])
}

fn head(title: &str, brand: &Brand, name: &str) -> String {
    let style = style(brand);
    let logo = brand.image.as_ref().map_or_else(String::new, |image| {
        format!("<img src=\"{}\" alt=\"\" height=\"40\">", text(image))
    });
    format!(
        "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" \
         content=\"width=device-width\"><meta name=\"robots\" content=\"noindex, nofollow\"><title>{}</title>\
         <style>{style}</style></head><body><header>{logo}<p><bdi>{}</bdi></p></header><main>",
        text(title),
        text(name)
    )
}

fn style(brand: &Brand) -> String {
    match &brand.color {
        Some(color) => format!(":root{{--brand:{color}}}{STYLE}"),
        None => STYLE.to_owned(),
    }
}

/// The page with what keeps it to itself: nobody indexes it, keeps it, or is told where it was.
fn reply(status: StatusCode, html: String, brand: &Brand) -> Response {
    let hash = BASE64.encode(&Sha256::digest(style(brand)));
    let policy = format!(
        "default-src 'none'; style-src 'sha256-{hash}'; img-src data:; base-uri 'none'; form-action 'none'; \
         frame-ancestors 'none'"
    );
    let mut response = (status, html).into_response();
    keep_private(&mut response);
    let headers = response.headers_mut();
    headers.insert(
        CONTENT_TYPE,
        HeaderValue::from_static("text/html; charset=utf-8"),
    );
    if let Ok(policy) = HeaderValue::from_str(&policy) {
        headers.insert(CONTENT_SECURITY_POLICY, policy);
    }
    response
}

/// Says of anything behind a share link that it is for one reader.
pub fn keep_private(response: &mut Response) {
    let headers = response.headers_mut();
    for (name, value) in [
        (HeaderName::from_static("x-robots-tag"), "noindex, nofollow"),
        (CACHE_CONTROL, "no-store"),
        (REFERRER_POLICY, "no-referrer"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
}

/// A link that does not open, or a question that has no answer.
pub fn sorry(status: StatusCode, why: &str, brand: &Brand) -> Response {
    let name = brand.name.as_deref().unwrap_or("");
    let mut out = head("Not available", brand, name);
    let _ = writeln!(
        out,
        "<h1>Not available</h1><p>{}</p></main></body></html>",
        text(why)
    );
    reply(status, out, brand)
}

/// The page. Links in it are relative to its own address, which ends in `token`.
pub fn page(shared: &Shared, brand: &Brand, token: &str) -> Response {
    // A verified domain of the customer's own says best whose page it is.
    let domain = shared
        .domain
        .as_ref()
        .filter(|domain| domain.verified)
        .and_then(|domain| domain.preview_domain.as_deref());
    let name = brand
        .name
        .as_deref()
        .or(domain)
        .unwrap_or(&shared.organization);
    let mut out = head(&shared.workspace, brand, name);
    // Writing into a String cannot fail.
    let _ = write!(out, "<h1><bdi>{}</bdi></h1>", text(&shared.workspace));
    if let Some(usage) = &shared.usage {
        draw_usage(&mut out, usage, token);
    }
    if shared.shows.contains(&Part::Statements) {
        draw_statements(&mut out, &shared.statements, token);
    }
    if let Some(domain) = &shared.domain {
        draw_domain(&mut out, domain);
    }
    let _ = writeln!(
        out,
        "</main><footer><p>This page can be seen by whoever has its address, until {}.</p></footer></body></html>",
        shared.expires_at.rfc3339()
    );
    reply(StatusCode::OK, out, brand)
}

fn draw_usage(out: &mut String, usage: &Usage, token: &str) {
    let series = &usage.series;
    let used = series.total_credits_micros;
    let _ = write!(
        out,
        "<section><h2>Usage in {}</h2><p class=\"sum\"><strong>{}</strong> credits <span>{}</span></p>",
        month(&usage.period),
        amount(used),
        count(series.total_compute_hours, "hour")
    );
    // The present month is compared with as much of the one before.
    let so_far = match usage.next {
        Some(_) => "",
        None => ", up to the same day",
    };
    let _ = match used - usage.before_micros {
        0 => write!(out, "<p>As much as in the month before{so_far}.</p>"),
        more => write!(
            out,
            "<p>{} credits {} than in the month before{so_far}.</p>",
            amount(more.abs()),
            if more > 0 { "more" } else { "less" }
        ),
    };
    let most = series.series.iter().map(|day| day.credits_micros).max();
    let most = most.unwrap_or(0).max(1);
    let _ = write!(
        out,
        "<svg role=\"img\" aria-label=\"Credits by day; the table below has the numbers\" viewBox=\"0 0 {} 100\" \
         preserveAspectRatio=\"none\">",
        series.series.len() * 10
    );
    for (n, day) in series.series.iter().enumerate() {
        let height = i128::from(day.credits_micros.max(0)) * 100 / i128::from(most);
        let _ = write!(
            out,
            "<rect x=\"{}\" y=\"{}\" width=\"8\" height=\"{height}\"><title>{}: {}</title></rect>",
            n * 10 + 1,
            100 - height,
            day_name(usage, n),
            amount(day.credits_micros)
        );
    }
    out.push_str(
        "</svg><details><summary>By day</summary><table><thead><tr><th scope=\"col\">Day</th>\
         <th scope=\"col\">Credits</th><th scope=\"col\">Hours</th></tr></thead><tbody>",
    );
    for (n, day) in series.series.iter().enumerate() {
        let _ = write!(
            out,
            "<tr><th scope=\"row\">{}</th><td>{}</td><td>{}</td></tr>",
            day_name(usage, n),
            amount(day.credits_micros),
            day.compute_hours
        );
    }
    let _ = write!(
        out,
        "</tbody></table><p>Days of the time zone {}.</p></details><nav>",
        text(&series.time_zone)
    );
    for (other, arrow) in [(&usage.previous, "←"), (&usage.next, "→")] {
        if let Some(other) = other {
            let _ = write!(
                out,
                "<a href=\"{token}?period={other}\">{arrow} {}</a> ",
                month(other)
            );
        }
    }
    out.push_str("</nav></section>");
}

/// The day of a bucket: they begin with the first of the month.
fn day_name(usage: &Usage, n: usize) -> String {
    format!("{}-{:02}", usage.period, n + 1)
}

fn draw_statements(out: &mut String, statements: &[Summary], token: &str) {
    out.push_str("<section><h2>Statements</h2>");
    if statements.is_empty() {
        out.push_str("<p>None yet.</p></section>");
        return;
    }
    out.push_str(
        "<table><thead><tr><th scope=\"col\">Month</th><th scope=\"col\">No.</th><th scope=\"col\">Credits</th>\
         <th scope=\"col\">Total</th><th scope=\"col\"></th></tr></thead><tbody>",
    );
    for statement in statements {
        let total = match (&statement.total, &statement.currency) {
            (Some(total), Some(currency)) => format!("{total} {currency}"),
            _ => String::new(),
        };
        let number = statement.number;
        let _ = write!(
            out,
            "<tr><th scope=\"row\">{}</th><td>{number}</td><td>{}</td><td>{}</td><td><a \
             href=\"{token}/statements/{number}\">show</a> <a href=\"{token}/statements/{number}?format=pdf\">PDF</a></td></tr>",
            month(&statement.period),
            amount(statement.credits_micros + statement.corrections_micros),
            text(&total)
        );
    }
    out.push_str("</tbody></table></section>");
}

fn draw_domain(out: &mut String, domain: &DomainStatus) {
    let Some(own) = &domain.preview_domain else {
        let _ = write!(
            out,
            "<section><h2>Domain</h2><p>Previews are shown under <bdi>{}</bdi>.</p></section>",
            text(&domain.effective_domain)
        );
        return;
    };
    let state = if domain.verified {
        "is set up"
    } else {
        "waits for its DNS records"
    };
    let _ = write!(
        out,
        "<section><h2>Domain</h2><p><bdi>{}</bdi> {state}.</p>",
        text(own)
    );
    if !domain.verified {
        out.push_str(
            "<table><thead><tr><th scope=\"col\">Type</th><th scope=\"col\">Name</th><th scope=\"col\">Value</th></tr>\
             </thead><tbody>",
        );
        for record in &domain.records {
            let _ = write!(
                out,
                "<tr><th scope=\"row\">{}</th><td><code>{}</code></td><td><code>{}</code></td></tr>",
                text(&record.kind),
                text(&record.name),
                text(&record.expected)
            );
        }
        out.push_str("</tbody></table>");
    }
    out.push_str("</section>");
}
