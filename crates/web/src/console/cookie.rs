//! The console's session: an access token in a cookie that scripts cannot read.
//!
//! A browser sends cookies with requests that other sites cause as well. Three things keep those out:
//! the cookie is for this site alone (`SameSite=Strict`); what the browser says of a request's origin
//! must not be another site; and whatever changes something carries a header that pages of other
//! origins may not send, since the server's CORS answer does not name it.

use axum::http::{HeaderMap, HeaderValue, Method, header};

/// Sent by the console's scripts with every request of theirs.
pub(crate) const HEADER: &str = "x-console";
const NAME: &str = "cloudchamber_session";

/// The token of the session, if the request has one and comes from the console's own pages.
pub(crate) fn token(method: &Method, headers: &HeaderMap) -> Option<String> {
    let is_safe = method.is_safe() || headers.contains_key(HEADER);
    if !is_safe || is_from_elsewhere(headers) {
        return None;
    }
    let cookies = headers.get_all(header::COOKIE).iter().filter_map(|value| value.to_str().ok());
    let mut pairs =
        cookies.flat_map(|line| line.split(';')).filter_map(|pair| pair.split_once('='));
    let (_, token) = pairs.find(|(name, _)| name.trim() == NAME)?;
    Some(token.trim().to_owned()).filter(|token| !token.is_empty())
}

/// Whether the browser says that another site caused the request. Old browsers, and all of them over
/// plain HTTP from another machine, say nothing.
pub(crate) fn is_from_elsewhere(headers: &HeaderMap) -> bool {
    let told = headers.get("sec-fetch-site");
    told.is_some_and(|site| site != "same-origin" && site != "none")
}

/// The header that begins a session of `life_s` seconds.
pub(crate) fn begin(token: &str, life_s: u64, headers: &HeaderMap) -> Option<HeaderValue> {
    cookie(token, life_s, headers)
}

/// The header that ends it.
pub(crate) fn end(headers: &HeaderMap) -> Option<HeaderValue> {
    cookie("", 0, headers)
}

fn cookie(value: &str, life_s: u64, headers: &HeaderMap) -> Option<HeaderValue> {
    let secure = if is_over_tls(headers) { "; Secure" } else { "" };
    let text =
        format!("{NAME}={value}; Path=/; Max-Age={life_s}; HttpOnly; SameSite=Strict{secure}");
    HeaderValue::from_str(&text).ok()
}

/// Browsers tell the page's origin with every request that is not a GET, behind a proxy as well.
fn is_over_tls(headers: &HeaderMap) -> bool {
    let origin = headers.get(header::ORIGIN).and_then(|origin| origin.to_str().ok());
    origin.is_some_and(|origin| origin.starts_with("https://"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        let pairs = pairs.iter().map(|(name, value)| {
            (header::HeaderName::from_static(name), HeaderValue::from_static(value))
        });
        pairs.collect()
    }

    const COOKIE: (&str, &str) = ("cookie", "a=b; cloudchamber_session=t0; c=d");

    #[test]
    fn the_session_is_found_among_other_cookies() {
        assert_eq!(token(&Method::GET, &headers(&[COOKIE])).as_deref(), Some("t0"));
        assert_eq!(token(&Method::GET, &headers(&[("cookie", "x=y")])), None);
        assert_eq!(token(&Method::GET, &headers(&[("cookie", "cloudchamber_session=")])), None);
    }

    #[test]
    fn a_change_needs_the_header_that_other_origins_may_not_send() {
        assert_eq!(token(&Method::POST, &headers(&[COOKIE])), None);
        assert_eq!(token(&Method::DELETE, &headers(&[COOKIE])), None);
        let own = headers(&[COOKIE, (HEADER, "1")]);
        assert_eq!(token(&Method::POST, &own).as_deref(), Some("t0"));
    }

    #[test]
    fn what_another_site_causes_has_no_session() {
        for site in ["cross-site", "same-site", "unheard-of"] {
            let told = headers(&[COOKIE, (HEADER, "1"), ("sec-fetch-site", site)]);
            assert_eq!(token(&Method::GET, &told), None, "{site}");
        }
        let own = headers(&[COOKIE, ("sec-fetch-site", "same-origin")]);
        assert!(token(&Method::GET, &own).is_some());
    }

    #[test]
    fn the_cookie_is_secure_on_tls_and_never_for_scripts() {
        let text = |origin| {
            let value = begin("t0", 60, &headers(&[("origin", origin)])).expect("a value");
            value.to_str().expect("text").to_owned()
        };
        let plain = "cloudchamber_session=t0; Path=/; Max-Age=60; HttpOnly; SameSite=Strict";
        assert_eq!(text("http://a.example"), plain);
        assert_eq!(text("https://a.example"), format!("{plain}; Secure"));
    }
}
