//! Webhooks for those who may look and not change: without what proves their author to the target.

use serde_json::{Map, Value, json};

/// In place of a credential.
const HIDDEN: &str = "***";
/// Headers that prove nothing; any other may hold a key.
const OPEN_HEADERS: [&str; 3] = ["accept", "content-type", "user-agent"];

/// Hides the credentials of a webhook, and of the requests shown with it; or of one such request.
pub(crate) fn hide(shown: &mut Map<String, Value>) {
    if let Some(password) = shown.get_mut("auth").and_then(|auth| auth.get_mut("password")) {
        *password = json!(HIDDEN);
    }
    if let Some(headers) = shown.get_mut("headers").and_then(Value::as_object_mut) {
        hide_headers(headers);
    }
    if let Some(Value::String(url)) = shown.get_mut("url") {
        *url = without_user(url);
    }
    for list in ["logs", "errors"] {
        let entries = shown.get_mut(list).and_then(Value::as_array_mut);
        entries.into_iter().flatten().for_each(hide_request);
    }
}

/// Hides the credentials of the `request` of an object.
pub(crate) fn hide_request(entry: &mut Value) {
    if let Some(request) = entry.get_mut("request").and_then(Value::as_object_mut) {
        hide(request);
    }
}

fn hide_headers(headers: &mut Map<String, Value>) {
    for (name, value) in headers {
        let name = name.trim().to_ascii_lowercase();
        if !OPEN_HEADERS.contains(&name.as_str()) {
            *value = json!(HIDDEN);
        }
    }
}

/// A URL without user and password. It may be a template, whose variables hold any character: with one
/// in its first part rather too much is hidden.
fn without_user(url: &str) -> String {
    let start = url.find("://").map_or(0, |at| at + 3);
    let (scheme, rest) = url.split_at(start);
    let end = rest.find(['/', '\\', '?', '#']).filter(|end| !rest[..*end].contains("{{"));
    match rest[..end.unwrap_or(rest.len())].rfind('@') {
        None => url.to_owned(),
        Some(at) => format!("{scheme}{HIDDEN}{}", &rest[at..]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_shown_without_user_and_password() {
        for (url, shown) in [
            ("http://h.example/a@b?c@d", "http://h.example/a@b?c@d"),
            ("https://u:p@h.example:81/a", "https://***@h.example:81/a"),
            ("https://key@h.example", "https://***@h.example"),
            ("https://u:{{#x}}p{{/x}}@h.example/", "https://***@h.example/"),
            ("https://h.example/{{{x}}}", "https://h.example/{{{x}}}"),
        ] {
            assert_eq!(without_user(url), shown);
        }
    }

    #[test]
    fn requests_that_were_sent_are_shown_without_credentials_too() {
        let request = json!({"url": "http://u:…@h/", "headers": {"x-key": "k", "Accept": "a/b"}});
        let mut shown = json!({"logs": [{"request": request}], "auth": {"password": "p"}});
        hide(shown.as_object_mut().expect("an object"));
        let request = json!({"url": "http://***@h/", "headers": {"x-key": "***", "Accept": "a/b"}});
        assert_eq!(shown, json!({"logs": [{"request": request}], "auth": {"password": "***"}}));
    }
}
